package aggregate

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/flow"
)

// heap is a sink.
type heap struct {
	got []string
	err error
}

func (h *heap) Write(samples []partial.Sample) error {
	for _, s := range samples {
		h.got = append(h.got, fmt.Sprintf("%s=%g", s.Labels.Get("__name__"), s.V))
	}
	return h.err
}

func newOutlet(t *testing.T, store storage.AppendableV2, most int) (*outlet, *heap) {
	t.Helper()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &heap{}
	return &outlet{store: store, sinks: h, m: m, log: slog.New(slog.DiscardHandler), most: most, trouble: declareTrouble(nil)}, h
}

func result(name string, second int64, v float64) partial.Sample {
	return partial.Sample{Labels: labels.FromStrings("__name__", name), T: at(second), V: v}
}

func TestPublishWaitsForTheStore(t *testing.T) {
	later := fmt.Errorf("disk full: %w", flow.ErrUnavailable)
	for _, tc := range []struct {
		name           string
		append, commit error
	}{{"no sample is taken", later, nil}, {"commit is refused", nil, errTest}} {
		m := newMemory()
		o, sunk := newOutlet(t, m, 3)
		m.set(tc.append, tc.commit)
		for i := range int64(5) {
			if err := o.publish(t.Context(), []partial.Sample{result("a", i, float64(i))}); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, tc.name+": stored", m.all(), map[string]string{})
		equal(t, tc.name+": pending", testutil.ToFloat64(o.m.pending), 3)
		equal(t, tc.name+": given up", testutil.ToFloat64(o.m.refused.WithLabelValues("pending")), 2)
		m.set(nil, nil)
		o.flush(t.Context())
		equal(t, tc.name+": stored", m.all(), map[string]string{`{__name__="a"}`: "2 3 4"})
		equal(t, tc.name+": pending", testutil.ToFloat64(o.m.pending), 0)
		equal(t, tc.name+": sunk", sunk.got, []string{"a=0", "a=1", "a=2", "a=3", "a=4"})
		equal(t, tc.name+": published", testutil.ToFloat64(o.m.published), 5)
	}
}

// One sample that no store takes does not hold up the others.
func TestPublishRefusedForGood(t *testing.T) {
	m := newMemory()
	o, sunk := newOutlet(t, m, 100)
	m.append = func(ls labels.Labels) error {
		return map[string]error{
			"duplicate": storage.ErrDuplicateSampleForTimestamp, "out_of_order": storage.ErrOutOfOrderSample,
			"bounds": storage.ErrOutOfBounds, "old": storage.ErrTooOldSample,
			"limit": fmt.Errorf("series: %w", flow.ErrOverLimit), "invalid": errTest,
		}[ls.Get("__name__")]
	}
	var all []partial.Sample
	for _, name := range []string{"duplicate", "good", "out_of_order", "bounds", "old", "limit", "invalid", "better"} {
		all = append(all, result(name, 1, 1))
	}
	sunk.err = errTest
	if err := o.publish(t.Context(), all); !errors.Is(err, errTest) {
		t.Errorf("the sinks' error is %v", err)
	}
	equal(t, "stored", m.all(), map[string]string{`{__name__="good"}`: "1", `{__name__="better"}`: "1"})
	for reason, want := range map[string]float64{"duplicate": 1, "out_of_order": 3, "limit": 1, "invalid": 1, "pending": 0} {
		equal(t, reason, testutil.ToFloat64(o.m.refused.WithLabelValues(reason)), want)
	}
	equal(t, "waiting", len(o.waiting), 0)
	equal(t, "sunk", len(sunk.got), len(all))
}

// The errors that a real store answers with.
func TestPublishToADatabase(t *testing.T) {
	db := openDB(t)
	o, _ := newOutlet(t, db, 100)
	for _, some := range [][]partial.Sample{
		{result("a", 60, 1), result("a", 120, 2)},
		{result("a", 120, 2)},                                         // the same again: after a restart
		{result("a", 120, 3), result("a", 60, 1)},                     // another value; earlier
		{{T: at(60), V: 1}, result("a", 180, 4), result("b", 180, 5)}, // without labels
	} {
		if err := o.publish(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "stored", dump(t, db), map[string]string{`{__name__="a"}`: "60=1 120=2 180=4", `{__name__="b"}`: "180=5"})
	for reason, want := range map[string]float64{"duplicate": 1, "out_of_order": 1, "invalid": 1} {
		equal(t, reason, testutil.ToFloat64(o.m.refused.WithLabelValues(reason)), want)
	}
}
