package emit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// The series of every probe.
const (
	Success     = "probe_success"
	Duration    = "probe_duration_seconds"
	PhaseSecond = "probe_phase_seconds"
	Failure     = "probe_failure_info"
)

// mostSeries bounds those of one target: more come from a server that makes labels
// out of something it changes each time.
const mostSeries = 1000

// Emitter writes to one store.
type Emitter struct {
	store   storage.AppendableV2
	samples prometheus.Counter
	refused *prometheus.CounterVec
	// phases are the labels of probe_phase_seconds.
	phases [protocol.Phases][]string
	sets   labelSets
}

// Reasons why samples are not stored.
const (
	outOfOrder = "out_of_order"
	duplicate  = "duplicate"
	tooMany    = "too_many_series"
	other      = "refused"
)

// New returns an Emitter; it starts nothing.
func New(store storage.AppendableV2, reg prometheus.Registerer) (*Emitter, error) {
	e := &Emitter{
		store: store,
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_probe_samples_total", Help: "Samples of probes that were stored, stale markers included.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_samples_refused_total", Help: "Samples of probes that were not stored, by reason: out_of_order and duplicate (the clock went back), too_many_series (of one target), refused (by a limit of the store).",
		}, []string{"reason"}),
	}
	for p := range protocol.Phases {
		e.phases[p] = []string{"phase", p.String()}
	}
	for _, reason := range []string{outOfOrder, duplicate, tooMany, other} {
		e.refused.WithLabelValues(reason)
	}
	if reg == nil {
		return e, nil
	}
	for _, c := range []prometheus.Collector{e.samples, e.refused} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of emitting: %w", err)
		}
	}
	return e, nil
}

// Target returns what writes the results of a target with these labels: job,
// instance, vantage and so on.
func (e *Emitter) Target(base labels.Labels) *Target { return &Target{emitter: e, base: base} }

// Target is the series of one target.
type Target struct {
	emitter *Emitter

	mu   sync.Mutex
	base labels.Labels
	// series are in the order of the last result that brought new ones.
	series []series
	round  uint32
	// failure are the labels of probe_failure_info as they were last.
	failure []string
	gone    bool
}

type series struct {
	name   string
	labels []string
	lset   labels.Labels
	ref    storage.SeriesRef
	// round is the last one in which it had a sample.
	round uint32
}

func (s *series) is(name string, ls []string) bool {
	return s.name == name && slices.Equal(s.labels, ls)
}

// Append stores the samples of a result at time ms, Unix milliseconds. What the
// store refuses one by one is counted; the error is of the transaction as a whole.
func (t *Target) Append(ctx context.Context, ms int64, r *protocol.Result) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil // the end of its series is written
	}
	w := t.begin(ctx, ms)
	up := 0.0
	if r.Up {
		up = 1
	}
	w.add(Success, nil, up)
	w.add(Duration, nil, r.Took.Seconds())
	for p, d := range r.Phases {
		if d != 0 {
			w.add(PhaseSecond, t.emitter.phases[p], d.Seconds())
		}
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		w.add(s.Name, s.Labels, s.Value)
	}
	if code := r.Reason.Code; code != "" {
		if len(t.failure) == 0 || t.failure[1] != string(code) || t.failure[3] != r.Reason.Phase.String() {
			t.failure = []string{"reason", string(code), "phase", r.Reason.Phase.String()}
		}
		w.add(Failure, t.failure, 1)
	}
	w.end(false)
	return w.finish()
}

// Write stores samples at time ms, Unix milliseconds, as Append does those of a
// result.
func (t *Target) Write(ctx context.Context, ms int64, samples []protocol.Sample) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil
	}
	w := t.begin(ctx, ms)
	for _, s := range samples {
		w.add(s.Name, s.Labels, s.Value)
	}
	w.end(false)
	return w.finish()
}

// Relabel ends the series and has the following results go to others.
func (t *Target) Relabel(ctx context.Context, ms int64, base labels.Labels) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if labels.Equal(t.base, base) {
		return nil
	}
	err := t.stop(ctx, ms)
	t.base, t.series = base, nil
	return err
}

// Pause ends the series; further results begin them anew.
func (t *Target) Pause(ctx context.Context, ms int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop(ctx, ms)
}

// Gone ends the series for good: a result that comes after it is dropped.
func (t *Target) Gone(ctx context.Context, ms int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
	return t.stop(ctx, ms)
}

func (t *Target) stop(ctx context.Context, ms int64) error {
	if !slices.ContainsFunc(t.series, func(s series) bool { return s.round == t.round }) {
		return nil
	}
	w := t.begin(ctx, ms)
	w.end(true)
	return w.finish()
}

// Series is how many there are, those that ended included.
func (t *Target) Series() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.series)
}

// writer is one transaction.
type writer struct {
	t      *Target
	app    storage.AppenderV2
	ms     int64
	next   int // where in t.series the next sample is expected
	stored int
}

func (t *Target) begin(ctx context.Context, ms int64) writer {
	t.round++
	return writer{t: t, app: t.emitter.store.AppenderV2(ctx), ms: ms}
}

// add appends one sample.
func (w *writer) add(name string, ls []string, v float64) {
	s := w.find(name, ls)
	if s == nil {
		w.t.emitter.refused.WithLabelValues(tooMany).Inc()
		return
	}
	if s.round == w.t.round {
		w.t.emitter.refused.WithLabelValues(duplicate).Inc()
		return
	}
	s.round = w.t.round
	w.append(s, v)
}

// find looks where the sample was in the result before, then everywhere.
func (w *writer) find(name string, ls []string) *series {
	t := w.t
	if w.next < len(t.series) && t.series[w.next].is(name, ls) {
		w.next++
		return &t.series[w.next-1]
	}
	for i := range t.series {
		if t.series[i].is(name, ls) {
			w.next = i + 1
			return &t.series[i]
		}
	}
	if len(t.series) >= mostSeries {
		return nil
	}
	ls = t.emitter.sets.one(ls)
	t.series = slices.Insert(t.series, w.next, series{name: name, labels: ls, lset: t.labelled(name, ls)})
	w.next++
	return &t.series[w.next-1]
}

// labelled puts a sample's own labels to the target's, which win.
func (t *Target) labelled(name string, ls []string) labels.Labels {
	b := labels.NewBuilder(t.base)
	b.Set(labels.MetricName, name)
	for i := 0; i+1 < len(ls); i += 2 {
		label := ls[i]
		if t.base.Has(label) {
			label = "exported_" + label
		}
		b.Set(label, ls[i+1])
	}
	return b.Labels()
}

func (w *writer) append(s *series, v float64) {
	ref, err := w.app.Append(s.ref, s.lset, 0, w.ms, v, nil, nil, storage.AOptions{})
	if err == nil {
		s.ref = ref
		w.stored++
		return
	}
	reason := other
	switch {
	case errors.Is(err, storage.ErrOutOfOrderSample), errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds):
		reason = outOfOrder
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		reason = duplicate
	}
	w.t.emitter.refused.WithLabelValues(reason).Inc()
}

// end writes stale markers for the series that the round before had and this one
// has not, and forgets those which ended earlier once they are many.
func (w *writer) end(all bool) {
	t := w.t
	ended := 0
	for i := range t.series {
		s := &t.series[i]
		switch {
		case s.round == t.round-1:
			w.append(s, math.Float64frombits(value.StaleNaN))
		case s.round != t.round:
			ended++
		}
	}
	const few = 32 // those of another reason for failing, or of a phase that comes and goes
	if all || ended > few {
		t.series = slices.DeleteFunc(t.series, func(s series) bool { return s.round+1 < t.round || all })
	}
	const spare = 4 // growing doubles the room, of which each of many targets has some
	if cap(t.series) > len(t.series)+spare {
		t.series = append(make([]series, 0, len(t.series)), t.series...)
	}
}

func (w *writer) finish() error {
	if err := w.app.Commit(); err != nil {
		return fmt.Errorf("store the result of a probe: %w", err)
	}
	w.t.emitter.samples.Add(float64(w.stored))
	return nil
}
