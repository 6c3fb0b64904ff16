package global

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"
)

// BenchmarkQuery compares three islands in one process with one engine over the
// merged data: what taking apart, asking, checking and putting together cost.
func BenchmarkQuery(b *testing.B) {
	f := newFleet(b, newRand(1), 3, false, nil)
	for name, expr := range map[string]string{
		"sum":      `sum by (job) (rate(c1_total[5m]))`,
		"ratio":    `sum by (job) (rate(c1_total[5m])) / sum by (job) (rate(c2_total[5m]))`,
		"quantile": `quantile(0.9, rate(c1_total[5m]))`,
		"raw":      `quantile_over_time(scalar(min(g1)), g1[5m])`,
	} {
		q := question{expr: expr, start: timestamp.Time(900_000), end: timestamp.Time(1_500_000), step: 15 * time.Second}
		b.Run(name+"/islands", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if res, _ := q.ask(b.Context(), f.engine, nil); res.Err != nil {
					b.Fatal(res.Err)
				}
			}
		})
		b.Run(name+"/merged", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if res, _ := q.ask(b.Context(), f.ref, f.merged); res.Err != nil {
					b.Fatal(res.Err)
				}
			}
		})
	}
}
