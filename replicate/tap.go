package replicate

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// tapped is a sample that was stored.
type tapped struct {
	ref    storage.SeriesRef // of the store: never used for another series
	labels labels.Labels
	t      int64
	v      float64
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
}

// Tap shows the streams what next has stored. It must stand directly before the
// store: series are known by the references that next gives.
func (r *Replicator) Tap(next storage.AppendableV2) storage.AppendableV2 { return tap{r, next} }

type tap struct {
	r    *Replicator
	next storage.AppendableV2
}

func (t tap) AppenderV2(ctx context.Context) storage.AppenderV2 {
	app := t.next.AppenderV2(ctx)
	if len(t.r.cfg.Load().Streams) == 0 {
		return app
	}
	a := &tapAppender{AppenderV2: app, r: t.r}
	a.refs, _ = app.(storage.GetRef)
	a.exemplars, _ = app.(storage.ExemplarAppenderV2)
	return a
}

// tapAppender remembers what a transaction stores.
type tapAppender struct {
	storage.AppenderV2
	r         *Replicator
	refs      storage.GetRef
	exemplars storage.ExemplarAppenderV2
	batch     []tapped
}

func (a *tapAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	got, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if got == 0 { // with a partial error the sample was taken
		return got, err
	}
	one := tapped{ref: got, labels: ls, t: t, v: v}
	if h != nil {
		one.h = h.Copy() // the store may spread its buckets later
	} else if fh != nil {
		one.fh = fh.Copy()
	}
	a.batch = append(a.batch, one)
	return got, err
}

// AppendExemplars passes them on.
func (a *tapAppender) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	if a.exemplars == nil {
		return 0, fmt.Errorf("append exemplars: %T cannot", a.AppenderV2)
	}
	return a.exemplars.AppendExemplars(ref, ls, es)
}

// GetRef finds the reference of a series in the store.
func (a *tapAppender) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if a.refs == nil {
		return 0, labels.EmptyLabels()
	}
	return a.refs.GetRef(ls, hash)
}

func (a *tapAppender) Commit() error {
	if err := a.AppenderV2.Commit(); err != nil || len(a.batch) == 0 {
		return err
	}
	first := oldest([][]tapped{a.batch})
	for _, in := range *a.r.taps.Load() {
		in.offer(a.batch, first)
	}
	return nil
}

// intake is where a stream's samples wait for the next frame. While it is closed,
// or its queue is full, it only notes how far back the store has to be read.
type intake struct {
	most int // samples
	full chan struct{}

	mu      sync.Mutex
	open    bool
	queue   [][]tapped
	samples int
	missed  int64 // time of the oldest sample that is not in the queue; never by default
	newest  int64
}

const never = math.MaxInt64

func newIntake(most int) *intake {
	return &intake{most: most, full: make(chan struct{}, 1), missed: never}
}

// offer takes the samples of a transaction, of which first is the oldest time.
// They are shared and must not be changed.
func (in *intake) offer(batch []tapped, first int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.newest = max(in.newest, batch[len(batch)-1].t)
	if in.open && in.samples+len(batch) > in.most {
		in.shut()
	}
	if !in.open {
		in.missed = min(in.missed, first)
		return
	}
	in.queue = append(in.queue, batch)
	if in.samples += len(batch); in.samples >= in.most/2 {
		select {
		case in.full <- struct{}{}:
		default:
		}
	}
}

// begin opens an empty queue. The store must be read from the returned time on to
// find what was committed before; never if that is nothing.
func (in *intake) begin() (from int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut()
	from, in.missed = in.missed, never
	in.open = true
	return from
}

// look is begin without opening the queue: what comes next is missed again.
func (in *intake) look() (from int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut()
	from, in.missed = in.missed, never
	return from
}

// mark is how many transactions wait.
func (in *intake) mark() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.queue)
}

// take gives what waits, and whether all since begin is there.
func (in *intake) take() (batches [][]tapped, whole bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	batches, in.queue, in.samples = in.queue, nil, 0
	return batches, in.open
}

// close ends queueing; what waits is read from the store the next time, and so is
// what the caller did not send, which begins at from.
func (in *intake) close(from int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut()
	in.missed = min(in.missed, from)
}

func (in *intake) shut() {
	for _, batch := range in.queue {
		for i := range batch {
			in.missed = min(in.missed, batch[i].t)
		}
	}
	in.open, in.queue, in.samples = false, nil, 0
}
