package aggregate

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// nothing is a store that knows every series and keeps none.
type nothing struct{}

func (nothing) AppenderV2(context.Context) storage.AppenderV2 { return nothing{} }
func (nothing) Append(ref storage.SeriesRef, _ labels.Labels, _, _ int64, _ float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	return max(ref, 1), nil
}
func (nothing) Commit() error   { return nil }
func (nothing) Rollback() error { return nil }

// BenchmarkDoor appends by reference, 1000 samples a transaction; an operation is
// one sample. "direct" is the store without a door.
func BenchmarkDoor(b *testing.B) {
	const each = 1000
	for _, name := range []string{"direct", "free", "kept", "dropped"} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, mixed, nil)
			var d storage.AppendableV2 = nothing{}
			if name != "direct" {
				d = r.Appendable(d)
			}
			var all [each]labels.Labels
			var refs [each]storage.SeriesRef
			for i := range all {
				all[i] = series(name, fmt.Sprint(i))
			}
			b.ReportAllocs()
			t := at(0)
			for n := 0; n < b.N; n += each {
				app := d.AppenderV2(b.Context())
				t += 10_000
				for i := range all {
					ref, err := app.Append(refs[i], all[i], 0, t, 1, nil, nil, storage.AOptions{})
					if err != nil {
						b.Fatal(err)
					}
					refs[i] = ref
				}
				r.now = t
				if err := app.Commit(); err != nil {
					b.Fatal(err)
				}
				if n/each%12 == 11 {
					r.seal(b.Context())
				}
			}
		})
	}
}
