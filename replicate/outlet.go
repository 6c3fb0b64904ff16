package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow/columnar"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

const (
	// queueSamples bounds what waits for the next frame; some 100 bytes each.
	queueSamples = 1 << 18
	// windowBytes bounds the frames that were not acknowledged.
	windowBytes = 8 << 20
	// ackTimeout is how long a sent frame may go unanswered.
	ackTimeout = time.Minute
	// frameSamples is how many samples go into a frame.
	frameSamples = 1 << 16
	// sweepEvery is how often series that ended leave the dictionary, and
	// sweepAfter how long after their last sample.
	sweepEvery = 10 * time.Minute
	sweepAfter = 30 * time.Minute
	// mostSeries bounds the dictionary of a stream.
	mostSeries = 1 << 20
	retryMin   = time.Second
	retryMax   = 30 * time.Second
)

// streamLimits hold for frames of either side. A message of the mesh has 16 MiB.
func streamLimits(series int) columnar.Limits {
	l := columnar.DefaultLimits()
	l.FrameBytes, l.ColumnBytes, l.Samples, l.Series = 8<<20, 32<<20, 1<<18, series
	return l
}

// Pushes is the sender's end of a stream. Ending its context ends both methods.
type Pushes interface {
	Send(*replicatepb.Push) error
	Recv() (*replicatepb.Reply, error)
}

// Store is what samples are read from.
type Store interface {
	Querier(mint, maxt int64) (storage.Querier, error)
}

// outlet sends one stream to one member.
type outlet struct {
	stream   Stream
	match    selectors
	to       Member
	store    Store
	dial     func(context.Context, Member) (Pushes, error)
	external func() labels.Labels
	late     func() time.Duration // the store's out-of-order window
	purse    *purse
	m        *outletMetrics
	log      *slog.Logger
	in       *intake
	flight   *flight
	wake     chan struct{}

	// These belong to the goroutine of run.
	enc   *columnar.Encoder
	refs  refs
	sent  []int64 // by Ref: time of the newest sample that was encoded
	batch []columnar.Sample
	slice int64 // of time that is read at once, ms
	mark  int   // transactions of the queue that the store was read after
	swept time.Time
	since int64 // from which time on the store was read when the intake was opened

	state atomic.Pointer[outletState]
}

// outletState is what an outlet is doing.
type outletState struct {
	doing string
	since time.Time
	err   error
}

// What outlets do.
const (
	doingConnect = "connecting"
	doingFill    = "filling the gap"
	doingLive    = "live"
	doingPause   = "over the daily budget"
)

func (o *outlet) now(doing string, err error) {
	since := time.Now()
	if old := o.state.Load(); old != nil && old.doing == doing {
		since = old.since
		if err == nil {
			err = old.err
		}
	}
	o.state.Store(&outletState{doing, since, err})
}

// run sends until ctx ends.
func (o *outlet) run(ctx context.Context) {
	wait := retryMin
	for {
		o.now(doingConnect, nil)
		began := time.Now()
		err := o.session(ctx)
		o.in.close(never)
		o.m.connected.Set(0)
		if ctx.Err() != nil {
			return
		}
		o.m.cuts.Inc()
		o.log.Info("replication stream ended", "stream", o.stream.Name, "to", o.to.Name, "error", err)
		o.now(doingConnect, err)
		if time.Since(began) > retryMax {
			wait = retryMin
		}
		pause := wait/2 + rand.N(wait) //nolint:gosec // spread, not secret
		select {
		case <-time.After(pause):
		case <-o.wake:
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, retryMax)
	}
}

// session sends over one link until it breaks.
func (o *outlet) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slow := time.AfterFunc(ackTimeout, func() { cancel(fmt.Errorf("no answer within %s", ackTimeout)) })
	defer slow.Stop()
	link, err := o.dial(ctx, o.to)
	if err != nil {
		return err
	}
	if err := link.Send(&replicatepb.Push{Open: o.open()}); err != nil {
		return explain(ctx, link, err)
	}
	reply, err := link.Recv()
	if err != nil {
		return cause(ctx, err)
	}
	slow.Stop()
	w := reply.GetWelcome()
	if w == nil {
		return errors.New("the receiver's first message is no welcome")
	}
	l := &line{o: o, link: link, haves: make(chan []byte, 1)}
	var beside sync.WaitGroup
	beside.Go(func() { cancel(l.hear(ctx)) })
	beside.Go(func() { l.watch(ctx, cancel) })
	o.m.connected.Set(1)
	err = l.stream(ctx, w)
	cancel(err)
	beside.Wait()
	return cause(ctx, err)
}

// cause is why ctx ended, or err.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// explain asks the link why it took nothing.
func explain(ctx context.Context, link Pushes, err error) error {
	if _, why := link.Recv(); why != nil {
		err = why
	}
	return cause(ctx, err)
}

func (o *outlet) open() *replicatepb.Open {
	m := &replicatepb.Open{
		Stream: o.stream.Name, Match: o.stream.Match,
		Keep: time.Duration(o.stream.Keep).Milliseconds(), OutOfOrder: o.late().Milliseconds(),
	}
	if o.enc != nil {
		m.Epoch, m.Seq = o.enc.Position()
		if epoch, seq, ok := o.flight.oldest(); ok {
			m.Epoch, m.Seq = epoch, seq
		}
	}
	o.external().Range(func(l labels.Label) {
		m.External = append(m.External, &replicatepb.Label{Name: l.Name, Value: l.Value})
	})
	return m
}

// line is an outlet while it has a link.
type line struct {
	o     *outlet
	link  Pushes
	haves chan []byte
}

// hear takes what the receiver says.
func (l *line) hear(ctx context.Context) error {
	for {
		reply, err := l.link.Recv()
		if err != nil {
			return err
		}
		if a := reply.GetAck(); a != nil {
			l.o.m.acknowledged.Add(float64(l.o.flight.landed(a.GetEpoch(), a.GetSeq())))
			l.o.m.newest.Set(float64(l.o.flight.newest()) / 1000)
		}
		if h := reply.GetHave(); h != nil {
			select {
			case l.haves <- h.GetNewest():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// watch ends the session when a frame is not answered.
func (l *line) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(ackTimeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if at := l.o.flight.waiting(); !at.IsZero() && time.Since(at) > ackTimeout {
				cancel(fmt.Errorf("a frame was not acknowledged within %s", ackTimeout))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// stream goes on where the receiver is, and then follows the store.
func (l *line) stream(ctx context.Context, w *replicatepb.Welcome) error {
	from, err := l.resume(ctx, w)
	if err != nil {
		return err
	}
	for {
		l.o.now(doingFill, nil)
		if err := l.catchUp(ctx, from); err != nil {
			return err
		}
		l.o.now(doingLive, nil)
		if err := l.live(ctx); err != nil {
			return err
		}
		l.o.m.overflows.Inc() // the queue was full
		from = l.o.in.look()
	}
}

// resume makes both sides' state equal and returns the time from which on the
// store has samples that the receiver has not.
func (l *line) resume(ctx context.Context, w *replicatepb.Welcome) (from int64, err error) {
	o := l.o
	epoch, oldest, ok := o.flight.oldest()
	if o.enc != nil && w.GetResume() {
		next, seq := o.enc.Position()
		if !ok {
			epoch, oldest = next, seq
		}
		if w.GetEpoch() == epoch && epoch == next && w.GetSeq() >= oldest && w.GetSeq() <= seq {
			o.flight.landed(epoch, w.GetSeq())
			o.flight.grounded()
			for _, one := range o.flight.all() {
				if err := l.send(ctx, one); err != nil {
					return 0, err
				}
			}
			return o.in.look(), nil
		}
	}
	return l.anew(ctx, w)
}

// anew begins an epoch, with what the receiver has.
func (l *line) anew(ctx context.Context, w *replicatepb.Welcome) (from int64, err error) {
	o := l.o
	o.m.resets.Inc()
	epoch := max(uint64(time.Now().UnixNano()), w.GetEpoch()+1)
	series := int(min(max(w.GetSeries(), 1), mostSeries))
	if o.enc, err = columnar.New(columnar.Options{Epoch: epoch, Limits: streamLimits(series)}); err != nil {
		return 0, err
	}
	o.refs, o.sent, o.swept = refs{}, nil, time.Now()
	o.flight.begin(epoch)
	o.in.look() // what was missed is after the copy's newest sample, or not wanted
	now := time.Now().UnixMilli()
	newest := w.GetNewest()
	if newest <= 0 {
		return now - o.stream.history().Milliseconds(), nil
	}
	newest = min(newest, now+future.Milliseconds())
	from = o.bound(newest - lookBack(o.late()))
	if err := l.catalog(ctx, from); err != nil {
		o.enc = nil // who went on from here would not know what the receiver has
		return 0, err
	}
	return from, nil
}

// lookBack is how much older than the newest sample of a copy one can be that is
// missing there, in milliseconds: see the package's doc.
func lookBack(late time.Duration) int64 {
	return max(time.Hour, late).Milliseconds() + 2*mostSlice
}

// bound is from, but nothing that the receiver would throw away at once.
func (o *outlet) bound(from int64) int64 {
	if keep := time.Duration(o.stream.Keep).Milliseconds(); keep > 0 && from != never {
		return max(from, time.Now().UnixMilli()-keep)
	}
	return from
}

// send pays for a frame and sends it.
func (l *line) send(ctx context.Context, one flying) error {
	o := l.o
	n := len(one.push.GetFrame())
	doing := ""
	if !o.purse.over(time.Now()).IsZero() {
		doing = o.state.Load().doing
		o.now(doingPause, nil)
	}
	began := time.Now()
	if err := o.purse.spend(ctx, n); err != nil {
		return err
	}
	o.m.waited.Add(time.Since(began).Seconds())
	if doing != "" {
		o.now(doing, nil)
	}
	o.flight.sent(one.seq, time.Now())
	if err := l.link.Send(one.push); err != nil {
		return cause(ctx, err)
	}
	o.m.bytes.Add(float64(n))
	return nil
}

// push encodes the batch into frames and sends them. Samples over a limit are left
// out and counted.
func (l *line) push(ctx context.Context, b columnar.Batch, overlap, catalog bool) error {
	o := l.o
	if len(b.Samples)+len(b.Metadata) == 0 {
		return nil
	}
	if err := o.flight.wait(ctx); err != nil {
		return err
	}
	_, seq := o.enc.Position()
	frame, err := o.enc.Encode(nil, b)
	if err != nil {
		return l.split(ctx, b, overlap, catalog, err)
	}
	one := flying{seq: seq, push: &replicatepb.Push{Frame: frame, Overlap: overlap, Catalog: catalog}, samples: len(b.Samples), newest: math.MinInt64}
	for i := range b.Samples {
		s := &b.Samples[i]
		o.sent[s.Ref] = max(o.sent[s.Ref], s.T)
		one.newest = max(one.newest, s.T)
	}
	o.flight.add(one)
	o.m.samples.Add(float64(len(b.Samples)))
	return l.send(ctx, one)
}

// split halves a batch that was too large for a frame.
func (l *line) split(ctx context.Context, b columnar.Batch, overlap, catalog bool, err error) error {
	if n := len(b.Samples); n > 1 {
		if err := l.push(ctx, columnar.Batch{Samples: b.Samples[:n/2]}, overlap, catalog); err != nil {
			return err
		}
		return l.push(ctx, columnar.Batch{Samples: b.Samples[n/2:]}, overlap, catalog)
	}
	if len(b.Samples) == 1 {
		l.o.m.left.Inc()
		l.o.log.Debug("sample left out of the stream", "stream", l.o.stream.Name, "error", err)
		return nil
	}
	return err
}

// ref is the stream's number of a series; false if it does not fit in.
func (o *outlet) ref(ls labels.Labels) (columnar.Ref, bool) {
	ref, err := o.enc.Series(ls)
	if err != nil {
		o.m.left.Inc()
		o.log.Debug("series left out of the stream", "stream", o.stream.Name, "series", ls, "error", err)
		return 0, false
	}
	for int(ref) >= len(o.sent) {
		o.sent = append(o.sent, math.MinInt64)
	}
	return ref, true
}

// sweep forgets series that ended.
func (o *outlet) sweep() {
	if time.Since(o.swept) < sweepEvery {
		return
	}
	o.swept = time.Now()
	gone := o.enc.Sweep(o.swept.Add(-sweepAfter).UnixMilli())
	for _, ref := range gone {
		o.sent[ref] = math.MinInt64
	}
	if len(gone) > 0 || o.refs.n > 2*o.enc.Len()+1<<16 {
		o.refs = refs{}
	}
}
