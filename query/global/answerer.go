package global

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// What a request may hold: leaves and selectors, and steps of each leaf.
const (
	maxParts = 1000
	maxSteps = 1 << 24
)

// AnswererOptions are what an answering side is made of.
type AnswererOptions struct {
	// Engine evaluates leaves. It must not wait for slots that asking engines
	// hold: islands that ask each other would wait for each other.
	Engine promql.QueryEngine
	// Storage is the island's own data, without the labels below.
	Storage storage.SampleAndChunkQueryable
	// Exemplars are the island's own; may be nil.
	Exemplars storage.ExemplarQueryable
	// Label is the partition label and Name its value here.
	Label, Name string
	// External are further labels to put on every series.
	External labels.Labels
	// DelayedNames is what Engine is set to.
	DelayedNames bool
	// Limits are this island's own, beside those of requests.
	Limits Limits
	// Parallel is how many leaves of a request are evaluated at once; 4 if 0.
	Parallel int
	// Span returns the times of the oldest and newest sample in milliseconds, 0
	// if there is none. May be nil.
	Span func() (oldest, newest int64)
	// History returns until when samples are settled, in milliseconds, and a
	// number that is another one once any of those has changed, come or gone. May be
	// nil: then nothing is promised.
	History func() (epoch uint64, settled int64)
}

// Answerer answers for one island. It is safe for concurrent use.
type Answerer struct {
	options AnswererOptions
	labels  labels.Labels
}

// NewAnswerer checks the options.
func NewAnswerer(o AnswererOptions) (*Answerer, error) {
	var errs []error
	if o.Engine == nil || o.Storage == nil {
		errs = append(errs, errors.New("BUG: global.AnswererOptions.Engine or Storage is missing"))
	}
	if o.Label == "" || o.Name == "" {
		errs = append(errs, fmt.Errorf("partition label %q with value %q: neither may be empty", o.Label, o.Name))
	}
	if v := o.External.Get(o.Label); v != "" && v != o.Name {
		errs = append(errs, fmt.Errorf("external label %s=%q: this island's is %q: remove it", o.Label, v, o.Name))
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	b := labels.NewBuilder(o.External)
	b.Set(o.Label, o.Name)
	return &Answerer{options: o, labels: b.Labels()}, errors.Join(errs...)
}

// Facts are the island's; MinTime is left to those who know the retention.
func (a *Answerer) Facts() Facts {
	return Facts{Name: a.options.Name, External: a.options.External}
}

// Answer evaluates the request's leaves and collects its raw series.
func (a *Answerer) Answer(ctx context.Context, r *Request) (*Answer, error) {
	if own := a.options.DelayedNames; own != r.Options.DelayedNames {
		return nil, fault(FaultUnsupported, "island %q runs with delayed name removal %v, the asking one with %v: set them alike",
			a.options.Name, own, r.Options.DelayedNames)
	}
	if n := len(r.Leaves) + len(r.Raw); n > maxParts {
		return nil, fault(FaultQuery, "query asks each island for %d things, at most %d are answered: ask for fewer at once", n, maxParts)
	}
	epoch, settled := a.history(r)
	out, err := a.answer(ctx, r, epoch)
	if err != nil || epoch == 0 {
		return out, err
	}
	if now, _ := a.history(r); now == epoch {
		out.Epoch, out.Settled = epoch, settled
		return out, nil
	}
	// The past changed meanwhile: what was known may not fit to the rest.
	if slices.ContainsFunc(out.Leaves, func(l LeafAnswer) bool { return l.Tail }) {
		return a.answer(ctx, r, 0)
	}
	return out, nil
}

// history is a number for the state of everything that answers depend on.
func (a *Answerer) history(r *Request) (epoch uint64, settled int64) {
	if a.options.History == nil || !r.History {
		return 0, 0
	}
	if epoch, settled = a.options.History(); epoch == 0 {
		return 0, 0
	}
	h := fnv.New64a()
	_ = binary.Write(h, binary.LittleEndian, []uint64{epoch, a.labels.Hash()})
	return max(h.Sum64(), 1), settled
}

// answer evaluates what is not known as of an epoch.
func (a *Answerer) answer(ctx context.Context, r *Request, epoch uint64) (*Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &Answer{Leaves: make([]LeafAnswer, len(r.Leaves)), Raw: make([]RawAnswer, len(r.Raw))}
	spent := &meter{limits: r.Limits, own: a.options.Limits}
	slots := make(chan struct{}, a.options.Parallel)
	var wg sync.WaitGroup
	job := func(do func() error) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil { // others ask: it must not end this island
					cancel(fmt.Errorf("island %q: answering panicked: %v", a.options.Name, p))
				}
				<-slots
			}()
			if err := do(); err != nil {
				cancel(err)
			}
		})
	}
	for i := range r.Leaves {
		l := r.Leaves[i]
		if epoch != 0 && l.Epoch == epoch && l.KnownUntil >= l.Start {
			out.Leaves[i].Tail = true
			if l = l.Tail(); l.Start > l.End {
				continue
			}
		}
		job(func() error { return a.leaf(ctx, r, l, &out.Leaves[i], spent) })
	}
	for i := range r.Raw {
		job(func() error { return a.raw(ctx, r.Raw[i], &out.Raw[i], spent) })
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if a.options.Span != nil {
		out.Oldest, out.Newest = a.options.Span()
	}
	out.Stats = spent.stats()
	return out, nil
}

func (a *Answerer) leaf(ctx context.Context, r *Request, l Leaf, out *LeafAnswer, spent *meter) error {
	if span := l.End - l.Start; l.Step < 1 || l.Start > l.End || span < 0 || span/l.Step >= maxSteps {
		return fault(FaultQuery, "%s from %d to %d every %d ms: the step must be at least 1, the end not before the start, and there may be %d steps",
			l.Expr, l.Start, l.End, l.Step, maxSteps)
	}
	starts := r.Options.StartTimestamps
	opts := promql.NewPrometheusQueryOpts(false, time.Duration(r.Options.Lookback)*time.Millisecond, &starts)
	var read atomic.Int64
	data := &attached{store: a.options.Storage, labels: a.labels, touch: func(n int64) { read.Add(n) }}
	q, err := a.options.Engine.NewRangeQuery(ctx, data, opts, l.Expr,
		timestamp.Time(l.Start), timestamp.Time(l.End), time.Duration(l.Step)*time.Millisecond)
	if err != nil {
		// The asking side has parsed it: here something is missing.
		return fault(FaultUnsupported, "island %q cannot prepare %s: %v", a.options.Name, l.Expr, err)
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return &Fault{Kind: blame(res.Err), Text: res.Err.Error()}
	}
	m, err := res.Matrix()
	if err != nil {
		return fault(FaultQuery, "leaf %s: %v", l.Expr, err)
	}
	out.Notes, out.Mixed = notes(res.Warnings)
	out.Read = read.Load()
	out.Rows = make([]promql.Series, len(m))
	for i, s := range m {
		// The points go back to the engine's pools when the query is closed.
		s.Floats, s.Histograms = slices.Clone(s.Floats), slices.Clone(s.Histograms)
		out.Rows[i] = s
		if err := spent.add(1, samples(&s), 0); err != nil {
			return err
		}
	}
	return nil
}

// blame says whose fault an engine's error is.
func blame(err error) FaultKind {
	var (
		timeout  promql.ErrQueryTimeout
		canceled promql.ErrQueryCanceled
		store    promql.ErrStorage
		held     promql.ErrTooManySamples
		series   promql.ErrTooManySeries
		read     promql.ErrTooManySamplesRead
		own      *Fault
	)
	switch {
	case errors.As(err, &own):
		return own.Kind
	case errors.As(err, &held), errors.As(err, &series), errors.As(err, &read), errors.As(err, &timeout),
		errors.As(err, &canceled), errors.As(err, &store), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return FaultIsland
	}
	return FaultQuery
}

// notes turns annotations into texts in a fixed order.
func notes(as annotations.Annotations) (out []Note, mixed bool) {
	for _, err := range as {
		mixed = mixed || errors.Is(err, annotations.MixedFloatsHistogramsWarning) ||
			errors.Is(err, annotations.MixedExponentialCustomHistogramsWarning)
		out = append(out, Note{Text: err.Error(), Info: errors.Is(err, annotations.PromQLInfo)})
	}
	slices.SortFunc(out, func(a, b Note) int { return strings.Compare(a.Text, b.Text) })
	return out, mixed
}

// raw collects encoded samples.
func (a *Answerer) raw(ctx context.Context, r Raw, out *RawAnswer, spent *meter) error {
	q, err := (&attached{store: a.options.Storage, labels: a.labels}).ChunkQuerier(r.MinTime, r.MaxTime)
	if err != nil {
		return fmt.Errorf("island %q: opening its store: %w", a.options.Name, err)
	}
	defer q.Close()
	// The store would trim by encoding anew, and histograms would lose what they
	// know of counter resets.
	hints := &storage.SelectHints{Start: r.MinTime, End: r.MaxTime, DisableTrimming: true}
	set := q.Select(ctx, true, hints, r.Matchers...)
	for set.Next() {
		s := set.At()
		one := RawSeries{Labels: s.Labels()}
		var points, bytes int64
		it := s.Iterator(nil)
		for it.Next() {
			c, n, err := trim(it.At(), r.MinTime, r.MaxTime)
			if err != nil {
				return fmt.Errorf("island %q: reading %s: %w", a.options.Name, one.Labels, err)
			}
			if n == 0 {
				continue
			}
			one.Chunks = append(one.Chunks, c)
			points += n
			bytes += int64(len(c.Data))
		}
		if err := it.Err(); err != nil {
			return fmt.Errorf("island %q: reading %s: %w", a.options.Name, one.Labels, err)
		}
		if len(one.Chunks) == 0 {
			continue
		}
		out.Series = append(out.Series, one)
		if err := spent.add(1, points, bytes); err != nil {
			return err
		}
	}
	out.Notes, _ = notes(set.Warnings())
	if err := set.Err(); err != nil {
		return fmt.Errorf("island %q: selecting: %w", a.options.Name, err)
	}
	return nil
}
