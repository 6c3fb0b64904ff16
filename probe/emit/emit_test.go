package emit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// journal is a store that writes down what it is given.
type journal struct {
	refs    map[string]storage.SeriesRef
	lines   []string
	open    []string
	unknown int // samples that came without a reference
	refuse  error
	quiet   bool
}

func (j *journal) AppenderV2(context.Context) storage.AppenderV2 { return j }

func (j *journal) Append(ref storage.SeriesRef, ls labels.Labels, _, t int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	if j.quiet {
		return 1, nil
	}
	if j.refuse != nil {
		return 0, j.refuse
	}
	if ref == 0 {
		j.unknown++
		if j.refs == nil {
			j.refs = map[string]storage.SeriesRef{}
		}
		if j.refs[ls.String()] == 0 {
			j.refs[ls.String()] = storage.SeriesRef(len(j.refs) + 1)
		}
		ref = j.refs[ls.String()]
	} else if j.refs[ls.String()] != ref {
		return 0, errors.New("a reference of another series")
	}
	text := fmt.Sprint(v)
	if math.Float64bits(v) == value.StaleNaN {
		text = "stale"
	}
	j.open = append(j.open, fmt.Sprintf("%d %s %s", t, ls, text))
	return ref, nil
}

func (j *journal) Commit() error {
	j.lines, j.open = append(j.lines, j.open...), nil
	return nil
}

func (j *journal) Rollback() error { j.open = nil; return nil }

func (j *journal) take() string {
	text := strings.Join(j.lines, "\n")
	j.lines = nil
	return text
}

func newEmitter(t testing.TB, store storage.AppendableV2) *Emitter {
	t.Helper()
	e, err := New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLifeOfATarget(t *testing.T) {
	j := &journal{}
	target := newEmitter(t, j).Target(labels.FromStrings("job", "web", "instance", "https://a/"))
	up := &protocol.Result{Up: true, Took: 2 * time.Second}
	up.Phases[protocol.Connect] = time.Second
	up.Add("probe_http_status_code", 200)
	up.Add("probe_http_duration_seconds", 0.5, "phase", "tls")
	up.Add("probe_tls_info", 1, "job", "theirs")
	must(t, target.Append(t.Context(), 1000, up))
	want := `1000 {__name__="probe_success", instance="https://a/", job="web"} 1
1000 {__name__="probe_duration_seconds", instance="https://a/", job="web"} 2
1000 {__name__="probe_phase_seconds", instance="https://a/", job="web", phase="connect"} 1
1000 {__name__="probe_http_status_code", instance="https://a/", job="web"} 200
1000 {__name__="probe_http_duration_seconds", instance="https://a/", job="web", phase="tls"} 0.5
1000 {__name__="probe_tls_info", exported_job="theirs", instance="https://a/", job="web"} 1`
	if diff := cmp.Diff(want, j.take()); diff != "" {
		t.Errorf("up (-want +got):\n%s", diff)
	}

	down := (&protocol.Result{Took: time.Second}).Fail(protocol.ConnectTimeout, protocol.Connect, "no answer")
	must(t, target.Append(t.Context(), 2000, down))
	want = `2000 {__name__="probe_success", instance="https://a/", job="web"} 0
2000 {__name__="probe_duration_seconds", instance="https://a/", job="web"} 1
2000 {__name__="probe_failure_info", instance="https://a/", job="web", phase="connect", reason="connect_timeout"} 1
2000 {__name__="probe_phase_seconds", instance="https://a/", job="web", phase="connect"} stale
2000 {__name__="probe_http_status_code", instance="https://a/", job="web"} stale
2000 {__name__="probe_http_duration_seconds", instance="https://a/", job="web", phase="tls"} stale
2000 {__name__="probe_tls_info", exported_job="theirs", instance="https://a/", job="web"} stale`
	if diff := cmp.Diff(want, j.take()); diff != "" {
		t.Errorf("down (-want +got):\n%s", diff)
	}

	j.unknown = 0
	must(t, target.Append(t.Context(), 3000, up))
	if got := j.take(); strings.Count(got, "stale") != 1 || !strings.Contains(got, `reason="connect_timeout"} stale`) || strings.Count(got, "\n") != 6 {
		t.Errorf("up again:\n%s", got)
	}
	if j.unknown != 0 {
		t.Errorf("%d samples came without the reference that is known", j.unknown)
	}

	must(t, target.Relabel(t.Context(), 3500, labels.FromStrings("job", "web", "instance", "https://a/", "team", "x")))
	if got := j.take(); strings.Count(got, "stale") != 6 || strings.Contains(got, "team") {
		t.Errorf("other labels:\n%s", got)
	}
	must(t, target.Append(t.Context(), 4000, up))
	if got := j.take(); strings.Count(got, `team="x"`) != 6 {
		t.Errorf("with other labels:\n%s", got)
	}
	must(t, target.Pause(t.Context(), 5000))
	must(t, target.Pause(t.Context(), 6000))
	if got := j.take(); strings.Count(got, "5000 ") != 6 || strings.Contains(got, "6000 ") {
		t.Errorf("paused twice:\n%s", got)
	}
	must(t, target.Append(t.Context(), 7000, up))
	must(t, target.Gone(t.Context(), 8000))
	must(t, target.Append(t.Context(), 9000, up))
	if got := j.take(); strings.Count(got, "8000 ") != 6 || strings.Contains(got, "9000 ") {
		t.Errorf("gone:\n%s", got)
	}
}

// TestChangingLabels: a server that makes labels of something that changes each
// time neither fills memory nor leaves series without an end.
func TestChangingLabels(t *testing.T) {
	j := &journal{}
	e := newEmitter(t, j)
	target := e.Target(labels.FromStrings("job", "web"))
	for i := range 500 {
		r := &protocol.Result{Up: true}
		r.Add("probe_info", 1, "id", fmt.Sprint(i))
		must(t, target.Append(t.Context(), int64(i), r))
	}
	if n := target.Series(); n > 50 {
		t.Errorf("%d series are remembered", n)
	}
	if n := strings.Count(j.take(), "stale"); n != 499 {
		t.Errorf("%d series ended, want 499", n)
	}
	r := &protocol.Result{Up: true}
	for i := range 2 * mostSeries {
		r.Add("probe_many", 1, "id", fmt.Sprint(i))
	}
	r.Add("probe_many", 2, "id", "0")
	must(t, target.Append(t.Context(), 1000, r))
	if n := target.Series(); n > mostSeries {
		t.Errorf("%d series of one target", n)
	}
	if n := testutil.ToFloat64(e.refused.WithLabelValues(tooMany)); n < mostSeries {
		t.Errorf("%v samples are counted as too many", n)
	}
	if n := testutil.ToFloat64(e.refused.WithLabelValues(duplicate)); n != 1 {
		t.Errorf("%v samples are counted as duplicates", n)
	}
}

func TestRefusals(t *testing.T) {
	j := &journal{refuse: storage.ErrOutOfOrderSample}
	e := newEmitter(t, j)
	target := e.Target(labels.FromStrings("job", "web"))
	must(t, target.Append(t.Context(), 1000, &protocol.Result{Up: true}))
	if n := testutil.ToFloat64(e.refused.WithLabelValues(outOfOrder)); n != 2 {
		t.Errorf("%v are counted", n)
	}
	if n := testutil.ToFloat64(e.samples); n != 0 {
		t.Errorf("%v are counted as stored", n)
	}
}

func sample(n int) *protocol.Result {
	r := &protocol.Result{Up: true, Took: time.Second}
	for i := range n {
		r.Add("probe_http_duration_seconds", float64(i), "phase", fmt.Sprint(i))
	}
	return r
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	target := newEmitter(t, &journal{quiet: true}).Target(labels.FromStrings("job", "web"))
	r, ctx, ms := sample(20), t.Context(), int64(0)
	must(t, target.Append(ctx, ms, r))
	if n := testing.AllocsPerRun(100, func() {
		ms += 1000
		_ = target.Append(ctx, ms, r)
	}); n > 0 {
		t.Errorf("%v allocations for a result of %d samples", n, len(r.Samples))
	}
}

func BenchmarkAppend(b *testing.B) {
	target := newEmitter(b, &journal{quiet: true}).Target(labels.FromStrings("job", "web"))
	r, ms := sample(18), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		ms += 1000
		if err := target.Append(b.Context(), ms, r); err != nil {
			b.Fatal(err)
		}
	}
}
