package share

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// A window of 1000 groups from the engine to what takes the results.
func BenchmarkWindow(b *testing.B) {
	const groups = 1000
	set := load(b, "- {interval: 1m, without: [instance, pod], outputs: [total]}\n")
	o := Options{
		Self: "a", Rules: set, Members: func() []string { return []string{"a"} }, Transport: line{}, Start: 1,
		Publish: func(context.Context, []partial.Sample) error { return nil }, Journal: blank{},
	}
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	w := &partial.Window{Rule: set.Rules[0], End: set.Rules[0].Window(time.Now().Add(-time.Hour).UnixMilli())}
	for g := range groups {
		ls := labels.FromStrings("__name__", "http_requests_total", "job", fmt.Sprint("service-", g/10), "code", fmt.Sprint(200+g%10))
		w.Rows = append(w.Rows, partial.Row{Group: ls, Hash: ls.Hash(), Acc: partial.Acc{Increase: partial.Sum2{Hi: float64(g * g)}}})
	}
	s.step(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Push(w); err != nil {
			b.Fatal(err)
		}
		s.step(b.Context())
		w.End += 60_000
	}
	if end := w.End - 60_000; !s.order[0].groups[string(s.order[0].key(w.Rows[0].Group))].in.has(end) {
		b.Errorf("the window of %d is not published", end)
	}
}

// blank is a journal that keeps nothing.
type blank struct{}

func (blank) Append([]byte) error { return nil }
