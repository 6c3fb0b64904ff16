package emit

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
)

// BenchmarkStored writes results of 1500 targets to a TSDB with its log, one by one or
// some thirty to a transaction, as 300 probes a second make them.
func BenchmarkStored(b *testing.B) {
	const targets, each = 1500, 30
	for _, together := range []bool{false, true} {
		b.Run(map[bool]string{false: "each", true: "batch"}[together], func(b *testing.B) {
			o := tsdb.DefaultOptions()
			o.WALCompression = compression.Snappy
			db, err := tsdb.Open(b.TempDir(), slog.New(slog.DiscardHandler), nil, o, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			var store storage.AppendableV2 = db
			batch := NewBatch(db, func(err error, _ int) { b.Error(err) })
			if together {
				store = batch
			}
			e := newEmitter(b, store)
			all := make([]*Target, targets)
			for i := range all {
				all[i] = e.Target(labels.FromStrings("job", "web", "instance", fmt.Sprint(i)))
			}
			r, n := sample(18), 0
			write := func() {
				ms := int64(1000 * (1 + n/targets))
				if err := all[n%targets].Append(b.Context(), ms, r); err != nil {
					b.Fatal(err)
				}
				if n++; together && n%each == 0 {
					batch.Flush()
				}
			}
			for range targets { // the series are there
				write()
			}
			before, first := used(), n
			for b.Loop() {
				write()
			}
			b.ReportMetric(float64((used()-before).Nanoseconds())/float64(n-first), "cpu-ns/op")
			batch.Flush()
		})
	}
}

// used is the CPU time of the process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
