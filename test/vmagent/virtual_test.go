package vmagent

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/flow"
)

// TestRecorded: of the same stream and file comes what vmagent makes, but for what
// deliberate lists.
func TestRecorded(t *testing.T) {
	compare(t, read(t, recorded), play(t))
}

// play runs the stream through the room of aggregation in virtual time.
func play(t *testing.T) record {
	t.Helper()
	text, err := os.ReadFile("testdata/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rule.Load("rules.yml", text)
	if err != nil {
		t.Fatal(err)
	}
	out := record{}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now() // a whole minute in the bubble
		store := &results{t: t, begin: begin, out: out}
		a, err := aggregate.New(aggregate.Options{Config: aggregate.Default(), Rules: set, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		door := a.Appendable(discard{})
		for _, tick := range stream() {
			time.Sleep(time.Until(begin.Add(tick[0].at + 100*time.Millisecond)))
			app := door.AppenderV2(flow.WithSender(ctx, 1))
			for _, p := range tick {
				if _, err := app.Append(0, p.series, 0, begin.Add(p.at).UnixMilli(), p.value, nil, nil, storage.AOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := app.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return out
}

// results is the store that the outputs go to.
type results struct {
	t     *testing.T
	begin time.Time
	out   record
}

func (r *results) AppenderV2(context.Context) storage.AppenderV2 { return r }

func (r *results) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	if err := r.out.add(ls, int(time.UnixMilli(t).Sub(r.begin).Seconds()), v); err != nil {
		r.t.Error(err)
	}
	return 0, nil
}

func (*results) Commit() error   { return nil }
func (*results) Rollback() error { return nil }

// discard is where the raw samples go.
type discard struct{}

func (discard) AppenderV2(context.Context) storage.AppenderV2 { return discard{} }

func (discard) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}
func (discard) Commit() error   { return nil }
func (discard) Rollback() error { return nil }
