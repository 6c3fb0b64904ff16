//go:build unix

package replicate

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/flow/columnar"
	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
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

// taken is a link that keeps frames.
type taken struct{ frames []*replicatepb.Push }

func (k *taken) Send(p *replicatepb.Push) error    { k.frames = append(k.frames, p); return nil }
func (k *taken) Recv() (*replicatepb.Reply, error) { return nil, nil }
func bytesOf(frames []*replicatepb.Push) (n int) {
	for _, p := range frames {
		n += len(p.GetFrame())
	}
	return n
}

// benchLine is a sender whose frames go to k.
func benchLine(tb testing.TB, k *taken) *line {
	tb.Helper()
	enc, err := columnar.New(columnar.Options{Epoch: 1, Limits: streamLimits(mostSeries)})
	if err != nil {
		tb.Fatal(err)
	}
	o := &outlet{
		stream: buddyStream(), enc: enc, in: newIntake(queueSamples), flight: newFlight(1 << 40),
		purse: newPurse(Budget{}, spending{}), m: newMetrics(nil).outlet("", ""), log: slog.New(slog.DiscardHandler),
	}
	o.now(doingLive, nil)
	return &line{o: o, link: k}
}

// rounds of scrapes as the tap gives them, from a fleet that goes on.
func tappedRounds(f *fleet.Fleet, n int) [][]tapped {
	var all [][]tapped
	for range n {
		f.Round()
		ref := storage.SeriesRef(1)
		for _, target := range f.Targets {
			batch := make([]tapped, len(target.Labels))
			for k, v := range target.Values {
				batch[k] = tapped{ref: ref, labels: target.Labels[k], t: target.T, v: v}
				ref++
			}
			all = append(all, batch)
		}
	}
	return all
}

// BenchmarkSend reports what half an hour of a fleet costs the sender: bytes and
// processor time per sample, live at 15 s, and after outages from samples that
// were read series by series.
func BenchmarkSend(b *testing.B) {
	b.Run("live", func(b *testing.B) {
		bytes, samples, took := 0, 0, time.Duration(0)
		for range b.N {
			f, k := fleet.New(1, 1_700_000_000_000), &taken{}
			l := benchLine(b, k)
			for range 120 {
				batches := tappedRounds(f, 1)
				before := cpu(b)
				if err := l.forward(context.Background(), batches); err != nil {
					b.Fatal(err)
				}
				took += cpu(b) - before
				samples += fleet.Series
			}
			bytes += bytesOf(k.frames)
		}
		report(b, bytes, samples, took)
	})
	for _, rounds := range []int{4, 40, 240} {
		b.Run("outage/"+strconv.Itoa(rounds*15)+"s", func(b *testing.B) {
			bytes, samples, took := 0, 0, time.Duration(0)
			for range b.N {
				f, k := fleet.New(1, 1_700_000_000_000), &taken{}
				l := benchLine(b, k)
				if err := l.forward(context.Background(), tappedRounds(f, 40)); err != nil {
					b.Fatal(err)
				}
				k.frames = nil
				for left := rounds; left > 0; left -= 40 { // a slice of ten minutes at once
					batch := bySeries(l, tappedRounds(f, min(left, 40)))
					before := cpu(b)
					for len(batch) > 0 {
						n := min(len(batch), frameSamples)
						if err := l.push(context.Background(), columnar.Batch{Samples: batch[:n]}, false, false); err != nil {
							b.Fatal(err)
						}
						batch = batch[n:]
					}
					took += cpu(b) - before
				}
				samples += rounds * fleet.Series
				bytes += bytesOf(k.frames)
			}
			report(b, bytes, samples, took)
		})
	}
}

// bySeries is the order in which a store gives samples.
func bySeries(l *line, batches [][]tapped) []columnar.Sample {
	var out []columnar.Sample
	for target := range fleet.Targets {
		for k := range batches[target] {
			for n := target; n < len(batches); n += fleet.Targets {
				s := batches[n][k]
				out = append(out, columnar.Sample{Ref: columnar.Ref(l.o.refs.get(s.ref)), T: s.t, V: s.v})
			}
		}
	}
	return out
}

func report(b *testing.B, bytes, samples int, took time.Duration) {
	b.Helper()
	b.ReportMetric(float64(bytes)/float64(samples), "B/sample")
	b.ReportMetric(took.Seconds()*1e6/float64(samples), "cpu-s/Msample")
}

// BenchmarkReceive reports how many samples a second of processor time are
// decoded and stored, with the series there already.
func BenchmarkReceive(b *testing.B) {
	f, k := fleet.New(1, time.Now().Add(-40*time.Minute).UnixMilli()), &taken{}
	l := benchLine(b, k)
	for range 160 {
		if err := l.forward(context.Background(), tappedRounds(f, 1)); err != nil {
			b.Fatal(err)
		}
	}
	samples, took := 0, time.Duration(0)
	for range b.N {
		func() {
			d := newDisk(b.TempDir(), copyLateInTests, 0)
			defer os.RemoveAll(d.dir)
			o := tsdb.DefaultOptions()
			o.OutOfOrderTimeWindow = d.late.Milliseconds()
			db, err := tsdb.Open(d.dir, slog.New(slog.DiscardHandler), nil, o, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			d.db.Store(db)
			s, err := newSession(&kept{store: d}, mostSeries, newMetrics(nil).copy(About{}))
			if err != nil {
				b.Fatal(err)
			}
			for n, p := range k.frames {
				before := cpu(b)
				if _, err := s.take(context.Background(), p); err != nil {
					b.Fatal(err)
				}
				if n > 0 { // the first makes the series
					took += cpu(b) - before
					samples += len(s.frame.Samples)
				}
			}
		}()
	}
	b.ReportMetric(float64(samples)/1e6/took.Seconds(), "Msamples/cpu-s")
}

const copyLateInTests = 24 * time.Hour

// BenchmarkTap reports what the tap adds to a commit.
func BenchmarkTap(b *testing.B) {
	in := newIntake(queueSamples)
	batch := make([]tapped, fleet.ServiceSeries)
	ls := labels.FromStrings("__name__", "x")
	in.begin()
	b.ReportAllocs()
	for range b.N {
		one := make([]tapped, 0, len(batch))
		for i := range batch {
			one = append(one, tapped{ref: storage.SeriesRef(i), labels: ls, t: int64(i)})
		}
		in.offer(one, 0)
		in.take()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch)), "ns/sample")
}
