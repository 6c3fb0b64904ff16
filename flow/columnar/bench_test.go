//go:build unix

package columnar

import (
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that the process took so far.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStream reports what half an hour of a fleet costs at several batch
// lengths: bytes, and processor time to encode or decode, per sample. The first
// frame, with all labels, counts.
func BenchmarkStream(b *testing.B) {
	for _, c := range []struct {
		name   string
		rounds int
	}{{"15s", 1}, {"1m", 4}, {"5m", 20}} {
		b.Run("encode/"+c.name, func(b *testing.B) { benchmarkEncode(b, c.rounds) })
		b.Run("decode/"+c.name, func(b *testing.B) { benchmarkDecode(b, c.rounds) })
	}
}

// half an hour has so many rounds of scrapes.
const half = 120

func benchmarkEncode(b *testing.B, rounds int) {
	bytes, n, took := 0, 0, time.Duration(0)
	for range b.N {
		r := newRig(b)
		for range half / rounds {
			batch := r.scrape(rounds)
			before := cpu(b)
			frame, err := r.enc.Encode(nil, batch)
			if err != nil {
				b.Fatal(err)
			}
			took += cpu(b) - before
			bytes += len(frame)
			n += len(batch.Samples)
		}
	}
	b.ReportMetric(float64(bytes)/float64(n), "B/sample")
	b.ReportMetric(float64(took.Nanoseconds())/float64(n), "cpu-ns/sample")
}

func benchmarkDecode(b *testing.B, rounds int) {
	r, samples := newRig(b), 0
	var frames [][]byte
	for range half / rounds {
		batch := r.scrape(rounds)
		frame, err := r.enc.Encode(nil, batch)
		if err != nil {
			b.Fatal(err)
		}
		frames = append(frames, frame)
		samples += len(batch.Samples)
	}
	before := cpu(b)
	b.ResetTimer()
	for range b.N {
		dec, err := NewDecoder(DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		var f Frame
		for _, frame := range frames {
			if err := dec.Decode(frame, &f); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N)/float64(samples), "cpu-ns/sample")
}
