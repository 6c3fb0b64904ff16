package store

import (
	"errors"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// TestDeletedTwice reads series with two gaps between all pairs of times, as a
// querier of samples and of chunks, with hints and without, from the head and from
// blocks.
func TestDeletedTwice(t *testing.T) {
	c := config(t.TempDir())
	c.Retention.Time = 0
	r := start(t, c)
	defer r.stop()
	const step, n = 60_000, 60
	for i := int64(0); i < n; i++ {
		mustAppend(t, r, i*step, 2)
	}
	name := labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "m")
	gone := func(i int64) bool { return i >= 10 && i <= 20 || i >= 40 && i <= 50 }
	for _, gap := range [][2]int64{{10, 20}, {40, 50}} {
		if err := r.Delete(t.Context(), gap[0]*step, gap[1]*step, name); err != nil {
			t.Fatal(err)
		}
	}
	check := func(where string) {
		t.Helper()
		for from := int64(0); from < n; from += 5 {
			for to := from; to < n; to += 7 {
				var want []int64
				for i := from; i <= to; i++ {
					if !gone(i) {
						want = append(want, i*step)
					}
				}
				checkTimes(t, where, r, from*step, to*step, nil, name, want)
				checkTimes(t, where, r, 0, n*step, &storage.SelectHints{Start: from * step, End: to * step}, name, want)
			}
		}
	}
	check("head")
	for ts := int64(n * step); ts < 8*hour; ts += 5 * step { // far enough for a block to be cut
		mustAppend(t, r, ts, 1)
	}
	r.compactNow()
	if err := r.Delete(t.Context(), 40*step, 50*step, name); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(t.Context(), 10*step, 20*step, name); err != nil {
		t.Fatal(err)
	}
	if metas, err := r.BlockMetas(); err != nil || len(metas) == 0 {
		t.Fatalf("blocks %v, %v", metas, err)
	}
	check("block")
}

func checkTimes(t *testing.T, where string, r *running, from, to int64, hints *storage.SelectHints, m *labels.Matcher, want []int64) {
	t.Helper()
	q, err := r.Querier(from, to)
	if err != nil {
		t.Fatal(err)
	}
	cq, err := r.ChunkQuerier(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(q.Close(), cq.Close()); err != nil {
			t.Error(err)
		}
	}()
	same := func(what string, got []int64) {
		if !slices.Equal(got, want) {
			t.Errorf("%s of %s, %d to %d, hints %v: %v, want %v", what, where, from, to, hints, got, want)
		}
	}
	var it chunkenc.Iterator
	set := q.Select(t.Context(), true, hints, m)
	for set.Next() {
		var got []int64
		for it = set.At().Iterator(it); it.Next() != chunkenc.ValNone; {
			got = append(got, it.AtT())
		}
		same("samples", got)
	}
	chunks := cq.Select(t.Context(), true, hints, m)
	for chunks.Next() {
		var got []int64
		all := chunks.At().Iterator(nil)
		for all.Next() {
			for it = all.At().Chunk.Iterator(it); it.Next() != chunkenc.ValNone; {
				got = append(got, it.AtT())
			}
		}
		same("chunks", got)
	}
	if err := errors.Join(set.Err(), chunks.Err()); err != nil {
		t.Errorf("%s, %d to %d: %v", where, from, to, err)
	}
}

// panics is a set that upstream cannot read.
type panics struct{ storage.SeriesSet }

func (panics) Next() bool { return []bool{}[len("x")] }

func TestPanicIsAnError(t *testing.T) {
	g := &guarded{SeriesSet: panics{}}
	first := g.Next()
	if again := g.Next(); first || again || g.Err() == nil {
		t.Errorf("a panic: next %t, then %t, err %v", first, again, g.Err())
	}
}

// BenchmarkSelect reads 2,000 series over an hour, with nothing deleted, and with
// one sample of one series deleted.
func BenchmarkSelect(b *testing.B) {
	for _, deleted := range []bool{false, true} {
		name := map[bool]string{false: "whole", true: "deleted"}[deleted]
		s, stop := benchStore(b)
		for ts := int64(0); ts < hour; ts += 15_000 {
			if err := appendFloats(s, ts, 2000); err != nil {
				b.Fatal(err)
			}
		}
		if deleted {
			one := labels.MustNewMatcher(labels.MatchEqual, "i", "7")
			if err := s.Delete(b.Context(), 30_000, 30_000, one); err != nil {
				b.Fatal(err)
			}
		}
		all := labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "m")
		for _, direct := range []bool{true, false} {
			b.Run(name+map[bool]string{true: "/tsdb", false: "/store"}[direct], func(b *testing.B) {
				b.ReportAllocs()
				var it chunkenc.Iterator
				for range b.N {
					var q storage.Querier
					var err error
					if q, err = s.Querier(60_000, hour-60_000); direct {
						_ = q.Close()
						q, err = s.cur.Load().db.Querier(60_000, hour-60_000)
					}
					if err != nil {
						b.Fatal(err)
					}
					n := 0
					set := q.Select(b.Context(), false, &storage.SelectHints{Start: 60_000, End: hour - 60_000}, all)
					for set.Next() {
						it = set.At().Iterator(it)
						for it.Next() != chunkenc.ValNone {
							n++
						}
					}
					if err := errors.Join(set.Err(), q.Close()); err != nil || n < 2000*200 {
						b.Fatal(n, err)
					}
				}
			})
		}
		stop()
	}
}
