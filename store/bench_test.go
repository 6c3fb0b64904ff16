package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// BenchmarkAppend compares appending through the store with appending to a TSDB
// opened with the same options. One operation is one sample of a known series;
// "batch" samples make a transaction.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{10, 500, 5000} {
		b.Run(fmt.Sprintf("tsdb/batch=%d", batch), func(b *testing.B) {
			o := tsdbOptions(config(b.TempDir()))
			db, err := tsdb.Open(b.TempDir(), nil, nil, o, nil)
			if err != nil {
				b.Fatal(err)
			}
			db.DisableCompactions()
			defer db.Close()
			appendBatches(b, db, batch)
		})
		b.Run(fmt.Sprintf("store/batch=%d", batch), func(b *testing.B) {
			s, stop := benchStore(b)
			appendBatches(b, s, batch)
			stop()
		})
	}
}

func benchStore(b *testing.B) (s *Store, stop func()) {
	b.Helper()
	s, err := New(Options{Config: config(b.TempDir())})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func appendBatches(b *testing.B, s storage.AppendableV2, batch int) {
	b.Helper()
	refs, ls := make([]storage.SeriesRef, batch), make([]labels.Labels, batch)
	for i := range ls {
		ls[i] = series(i)
	}
	ts := int64(0)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		ts += 15_000 // beyond a chunk range at once, so that no chunk grows for ever
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
