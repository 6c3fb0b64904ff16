package budget

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// BenchmarkLimit appends to a TSDB with and without the guard in front; one
// operation is one sample of a known series, 500 make a transaction.
func BenchmarkLimit(b *testing.B) {
	for name, limit := range map[string]uint64{"none": 0, "far": 1 << 40} {
		b.Run("direct-"+name, func(b *testing.B) { appendTo(b, openTSDB(b)) })
		b.Run("limit-"+name, func(b *testing.B) {
			db := openTSDB(b)
			appendTo(b, newBudget(b, limitedTo(limit), db.Head().NumSeries).Limit(db))
		})
	}
}

// BenchmarkGuardAlone has nothing behind the guard: its own cost per sample.
func BenchmarkGuardAlone(b *testing.B) {
	b.Run("bare", func(b *testing.B) { appendTo(b, sink{}) })
	b.Run("limit", func(b *testing.B) {
		appendTo(b, newBudget(b, limitedTo(1<<40), func() uint64 { return 1 }).Limit(sink{}))
	})
}

type sink struct{ appendable }

func (s sink) AppenderV2(context.Context) storage.AppenderV2 { return s }

func (sink) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}

func appendTo(b *testing.B, s storage.AppendableV2) {
	b.Helper()
	const batch = 500
	var refs [batch]storage.SeriesRef
	var ls [batch]labels.Labels
	for i := range ls {
		ls[i] = series(i)
	}
	ts := int64(0)
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		ts += 15_000
		app := s.AppenderV2(context.Background())
		for i := range refs {
			var err error
			if refs[i], err = app.Append(refs[i], ls[i], 0, ts, float64(ts), nil, nil, storage.AOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}
