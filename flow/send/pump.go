package send

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// stopGrace is how long a request in flight may take at shutdown; what is
	// cut off is repeated after the start.
	stopGrace = 3 * time.Second
	// syncEvery bounds what a power cut makes the queue repeat.
	syncEvery = 2 * time.Second
	retryOpen = 5 * time.Second
	// maxApart bounds, in ms of sample time, how far one shard may be ahead of
	// another: a Prometheus receiver takes nothing that is more than half a block
	// (one hour) older than its newest sample.
	maxApart = int64(30 * time.Minute / time.Millisecond)
)

// errDisplaced ends the live path: what is owed is now in a gap.
var errDisplaced = errors.New("the queue fell out of the WAL")

// pump is the queue of one remote. One goroutine reads (WAL or store) and owns
// everything that is not marked otherwise; one worker per shard sends.
type pump struct {
	name   string
	key    string
	dir    string
	wal    string
	log    *slog.Logger
	m      *metrics
	reader *wlog.LiveReaderMetrics
	store  storage.Queryable
	exs    storage.ExemplarQueryable
	// retention is how long the store keeps samples; 0 without a limit.
	retention func() time.Duration
	rate      *pace
	spec      atomic.Pointer[spec]
	notify    chan struct{}
	tick      <-chan time.Time
	// idle is how long the reader waits at the end of the WAL without a notification.
	idle time.Duration

	outlook  outlook
	progress chan struct{}

	// mu guards state, cursor and the shards' pending lists.
	mu     sync.Mutex
	state  *state
	cursor *cursor
	synced time.Time
	shards []*shard
	// view is what the last look at the clock found, for metrics and health.
	view view

	wg   sync.WaitGroup
	quit chan struct{}
	cut  context.CancelFunc
	// fail ends the session, which then starts over from what is on disk.
	fail context.CancelCauseFunc

	table *table
	tail  *tail
	// at is the place up to which the WAL has been read.
	at position
	// floor is where reading began: what is before it is not ours.
	floor   position
	samples []record.RefSample
	// checkpoint is the newest one the table was cleaned after.
	checkpoint string
	// skimming is the gap being noted instead of sending; nil on the live path.
	skimming *gap
	// uncertain holds what was in flight when the queue was displaced.
	uncertain *gap
	gaps      []*gap
	late      []item
	slice     int64
	// mark is the timestamp at which the shards were last level; see maxApart.
	mark int64
	// busy is the time spent waiting for full shards since the last look.
	busy      time.Duration
	resharded time.Time
	housekept time.Time
}

// run works until ctx ends. It returns an error only if the cursor cannot be used.
func (p *pump) run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	p.tick = ticker.C
	for ctx.Err() == nil {
		err := p.session(ctx)
		p.stopWorkers(stopGrace)
		if p.tail != nil {
			p.tail.close()
			p.tail = nil
		}
		if err == nil || ctx.Err() != nil {
			break
		}
		p.log.Error("reading for remote write failed, starting over", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryOpen):
		}
	}
	err := p.keepLateForStart()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saveLocked()
	return errors.Join(err, p.cursor.close())
}

// session goes on where the state says: gaps first, then the WAL.
func (p *pump) session(ctx context.Context) (err error) {
	ctx, p.fail = context.WithCancelCause(ctx)
	defer func() {
		if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		p.fail(nil)
	}()
	p.skimming, p.uncertain, p.gaps = nil, nil, nil
	if err := p.loadGaps(); err != nil {
		return err
	}
	if err = p.openAt(p.state.low()); errors.Is(err, errLost) {
		err = p.recoverLost(ctx)
	}
	if err != nil {
		return err
	}
	for {
		for len(p.gaps) > 0 {
			if err := p.fillGap(ctx); err != nil || ctx.Err() != nil {
				return err
			}
		}
		err := p.live(ctx)
		if !errors.Is(err, errDisplaced) {
			return err
		}
	}
}

// openAt loads the series known at place and opens the WAL there.
func (p *pump) openAt(place position) error {
	p.table = newTable(p.spec.Load())
	first, last, err := wlog.Segments(p.wal)
	if err != nil || last < 0 {
		// No WAL yet: all of it is still to come.
		first, last = place.Segment, place.Segment
	}
	if place.Segment < first || place.Segment > last+1 {
		return fmt.Errorf("cursor at segment %d, WAL has %d to %d: %w", place.Segment, first, last, errLost)
	}
	from, err := readCheckpoint(p.wal, p.log, p.reader, func(dec *record.Decoder, rec []byte) { p.learn(dec, rec, place.Segment) })
	if err != nil {
		return err
	}
	if from >= place.Segment {
		return fmt.Errorf("cursor at segment %d, checkpoint covers up to %d: %w", place.Segment, from, errLost)
	}
	for i := max(first, from+1); i < place.Segment && i <= last; i++ {
		if err := readSegment(p.wal, i, p.log, p.reader, func(dec *record.Decoder, rec []byte, _ int64) { p.learn(dec, rec, i) }); err != nil {
			return err
		}
	}
	p.tail, err = openTail(p.wal, place.Segment, p.log, p.reader)
	p.at, p.floor = place, place
	return err
}

// learn takes what a record says about series, and nothing else.
func (p *pump) learn(dec *record.Decoder, rec []byte, segment int) {
	switch dec.Type(rec) {
	case record.Series:
		series, err := dec.Series(rec, nil)
		if err != nil {
			p.log.Warn("ignoring an unreadable series record", "segment", segment, "err", err)
			return
		}
		for _, s := range series {
			p.table.store(s.Ref, s.Labels, segment)
		}
	case record.Metadata:
		all, err := dec.Metadata(rec, nil)
		if err != nil {
			p.log.Warn("ignoring an unreadable metadata record", "segment", segment, "err", err)
			return
		}
		for _, m := range all {
			p.table.describe(m)
		}
	}
}

// live sends what the WAL brings until ctx ends or the queue is displaced.
func (p *pump) live(ctx context.Context) error {
	p.startWorkers(ctx, false)
	defer p.stopWorkers(stopGrace)
	late := p.late
	p.late = nil
	for _, it := range late {
		p.add(ctx, it, true)
	}
	for ctx.Err() == nil {
		rec, end, ok, err := p.tail.next()
		if errors.Is(err, errLost) {
			p.displace()
			if err := p.recoverLost(ctx); err != nil {
				return err
			}
			return errDisplaced
		}
		if err != nil {
			return err
		}
		if ok {
			p.consume(ctx, rec, end)
		}
		if p.skimming == nil {
			p.pause(ctx, ok)
		}
		if p.skimming == nil {
			p.reshard(ctx)
		}
		if p.skimming != nil {
			if err := p.skimToEnd(ctx); err != nil {
				return err
			}
			return errDisplaced
		}
	}
	return nil
}

// pause waits at the end of the WAL, and looks after what is due.
func (p *pump) pause(ctx context.Context, more bool) {
	if more {
		select {
		case <-p.tick:
			p.housekeep(ctx)
		default:
		}
		if time.Since(p.housekept) > p.idle {
			p.flushDue(ctx)
			p.housekept = time.Now()
		}
		return
	}
	p.flushDue(ctx)
	p.housekept = time.Now()
	wait := time.NewTimer(p.idle)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-p.notify:
	case <-wait.C:
	case <-p.tick:
		p.housekeep(ctx)
	}
}

func (p *pump) shardOf(s *series) *shard { return p.shards[s.hash%uint64(len(p.shards))] }

// add puts a sample into its shard's batch, or into the gap if that failed.
func (p *pump) add(ctx context.Context, it item, late bool) {
	// A late sample that was kept while a gap was open has no place any more.
	if len(p.shards) > 0 && it.at != (position{}) && !it.at.after(p.shardOf(it.series).skip) {
		return
	}
	if p.skimming != nil {
		p.owe(it, late)
		return
	}
	if !p.keepTogether(ctx, it.t) {
		if p.skimming != nil {
			p.owe(it, late)
		}
		return
	}
	sh := p.shardOf(it.series)
	f := sh.building
	if f != nil && (f.len() >= p.spec.Load().config.QueueConfig.MaxSamplesPerSend || f.repeats(sh.repeat) && it.at.after(sh.repeat)) {
		if p.push(ctx, sh); p.skimming != nil {
			p.owe(it, late)
			return
		}
		f = nil
	}
	if f == nil {
		f = &flush{low: math.MaxInt64}
		sh.building, sh.since = f, time.Now()
		sh.batch++
	}
	f.low = min(f.low, it.t)
	if it.at.after(f.end) {
		f.end = it.at
	}
	if late {
		f.late = append(f.late, it)
		p.m.late.WithLabelValues(p.name).Inc()
		return
	}
	it.series.batch, it.series.slot = sh.batch, len(f.items)
	f.items = append(f.items, it)
}

// keepTogether waits for all shards where one could get more than maxApart ahead of
// another. It returns false if the sample cannot be added.
func (p *pump) keepTogether(ctx context.Context, t int64) bool {
	if t-p.mark <= maxApart {
		return true
	}
	if p.mark != 0 && !p.drain(ctx) {
		return false
	}
	p.mark = t
	return true
}

// repeats says whether the batch is the one that was in flight before a restart.
func (f *flush) repeats(place position) bool { return !f.end.after(place) }

// push queues the batch being built. While the queue is full it keeps watch; if
// the queue is displaced meanwhile, the batch is in the gap.
func (p *pump) push(ctx context.Context, sh *shard) {
	f := sh.building
	sh.building = nil
	p.mu.Lock()
	sh.pending = append(sh.pending, f)
	p.mu.Unlock()
	select {
	case sh.queue <- f:
		return
	default:
	}
	begin := time.Now()
	defer func() { p.busy += time.Since(begin) }()
	for p.skimming == nil || f.fill {
		select {
		case sh.queue <- f:
			return
		case <-ctx.Done():
			return
		case <-p.tick:
			p.housekeep(ctx)
		}
	}
}

// flushDue queues the batches that waited for batch_send_deadline.
func (p *pump) flushDue(ctx context.Context) {
	deadline := time.Duration(p.spec.Load().config.QueueConfig.BatchSendDeadline)
	for _, sh := range p.shards {
		if sh.building != nil && time.Since(sh.since) >= deadline {
			if p.push(ctx, sh); p.skimming != nil {
				return
			}
		}
	}
}

// drain waits until everything that was read is acknowledged. It returns false if
// ctx ended or the queue was displaced first.
func (p *pump) drain(ctx context.Context) bool {
	for _, sh := range p.shards {
		if sh.building != nil {
			if p.push(ctx, sh); ctx.Err() != nil {
				return false
			}
		}
	}
	for p.pendingSamples() > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-p.progress:
		case <-p.tick:
			p.housekeep(ctx)
		}
		if p.skimming != nil {
			return false
		}
	}
	return true
}

func (p *pump) pendingSamples() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, sh := range p.shards {
		for _, f := range sh.pending {
			n += f.len()
		}
	}
	return n
}

func (p *pump) saveLocked() {
	if err := p.cursor.save(p.state); err != nil {
		p.m.cursorFail.WithLabelValues(p.name).Inc()
		p.log.Warn("saving the remote write cursor did not work", "file", filepath.Base(cursorPath(p.dir, p.key)), "err", err)
	}
}
