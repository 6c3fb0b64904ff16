package fleet

import (
	"math"
	"testing"

	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// TestShape holds the fleet to what its package doc says.
func TestShape(t *testing.T) {
	f := New(1, 1_700_000_000_000)
	series, full, samples, same, chunks := 0, 0, 0, 0, 0
	for _, target := range f.Targets {
		series += len(target.Labels)
		apps := make([]chunkenc.Appender, len(target.Labels))
		xor := make([]*chunkenc.XORChunk, len(target.Labels))
		mantissas := make([]bool, len(target.Labels))
		for i := range apps {
			xor[i] = chunkenc.NewXORChunk()
			apps[i], _ = xor[i].Appender()
		}
		last := make([]float64, len(target.Labels))
		for n := range 120 {
			f.Scrape(target)
			for i, v := range target.Values {
				apps[i].Append(0, target.T, v)
				mode, _ := plane.Decimal(v, 0)
				mantissas[i] = mantissas[i] || mode == plane.Bits
				if samples++; n > 0 && math.Float64bits(v) == math.Float64bits(last[i]) {
					same++
				}
			}
			copy(last, target.Values)
		}
		for i := range xor {
			chunks += len(xor[i].Bytes())
			if mantissas[i] {
				full++
			}
		}
	}
	unchanged, mantissa := float64(same)/float64(samples), float64(full)/float64(series)
	t.Logf("%d series, %.1f %% unchanged, %.1f %% full mantissas, %.2f bytes a sample as XOR chunks", series, 100*unchanged, 100*mantissa, float64(chunks)/float64(samples))
	if size := float64(chunks) / float64(samples); size < 2.3 || size > 2.6 {
		t.Errorf("%.2f bytes a sample as XOR chunks, want about 2.45", size)
	}
	if series != Series {
		t.Errorf("%d series, want %d", series, Series)
	}
	if unchanged < 0.36 || unchanged > 0.44 {
		t.Errorf("%.3f of the samples are unchanged, want about 0.40", unchanged)
	}
	if mantissa < 0.05 || mantissa > 0.07 {
		t.Errorf("%.3f of the series have full mantissas, want about 0.06", mantissa)
	}
}
