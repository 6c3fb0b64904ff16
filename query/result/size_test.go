package result

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
)

const (
	startMs = 1_700_000_000_000
	islands = 3
	hour    = 3_600_000
	// endMs is the end of the hour that is asked for; five minutes are before it.
	endMs = startMs + 300_000 + hour
)

// island is a store with an hour of a fleet's series of the names asked for.
func island(tb testing.TB, seed uint64, names ...string) *tsdb.DB {
	tb.Helper()
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = 0
	db, err := tsdb.Open(tb.TempDir(), nil, nil, opts, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	db.DisableCompactions()
	f := fleet.New(seed, startMs)
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	refs := map[*fleet.Target][]storage.SeriesRef{}
	for range (hour + 300_000) / fleet.IntervalMs {
		f.Round()
		app := db.Appender(context.Background())
		for _, target := range f.Targets {
			if refs[target] == nil {
				refs[target] = make([]storage.SeriesRef, len(target.Labels))
			}
			for i, v := range target.Values {
				if !wanted[target.Labels[i].Get(labels.MetricName)] {
					continue
				}
				if refs[target][i], err = app.Append(refs[target][i], target.Labels[i], target.T, v); err != nil {
					tb.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			tb.Fatal(err)
		}
	}
	return db
}

// ask gives the result of a question on one island, for a range of an hour or,
// with step 0, for its end.
func ask(tb testing.TB, db *tsdb.DB, question string, step time.Duration) *Result {
	tb.Helper()
	eng := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e8, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	defer eng.Close()
	grid := Grid{Start: endMs - hour, Step: step.Milliseconds(), Count: 0}
	if step > 0 {
		grid.Count = int(hour/grid.Step) + 1
	} else {
		grid = Grid{Start: endMs, Count: 1}
	}
	q, err := eng.NewRangeQuery(context.Background(), db, nil, question, time.UnixMilli(grid.Start), time.UnixMilli(endMs), max(step, time.Second))
	if err != nil {
		tb.Fatal(err)
	}
	res := q.Exec(context.Background())
	if res.Err != nil {
		tb.Fatal(res.Err)
	}
	m, err := res.Matrix()
	if err != nil {
		tb.Fatal(err)
	}
	return &Result{Grid: grid, Series: m}
}

// questions are those whose cost is stated, with what three islands may send, in
// KiB.
var questions = []struct {
	name, question string
	step           time.Duration
	most           float64
}{
	{"sum of rates, 60 s", `sum by (job) (rate(http_requests_total[5m]))`, time.Minute, 7},
	{"sum of rates, 15 s", `sum by (job) (rate(http_requests_total[5m]))`, 15 * time.Second, 26},
	{"sum of rates, instant", `sum by (job) (rate(http_requests_total[5m]))`, 0, 0.7},
	{"topk of rates, 60 s", `topk(10, rate(http_requests_total[5m]))`, time.Minute, 13},
	{"quantile, 60 s", `sum by (le) (rate(http_request_duration_seconds_bucket[5m]))`, time.Minute, 14},
	{"quantile, instant", `sum by (le) (rate(http_request_duration_seconds_bucket[5m]))`, 0, 0.7},
	{"72 raw counters, 60 s", `node_cpu_seconds_total{mode=~"idle|user|system",cpu=~"[01]"}`, time.Minute, 65},
	{"72 raw counters, 15 s", `node_cpu_seconds_total{mode=~"idle|user|system",cpu=~"[01]"}`, 15 * time.Second, 224},
	{"gauges, 60 s", `go_goroutines`, time.Minute, 9.2},
	{"count, 60 s", `count(up)`, time.Minute, 0.3},
	{"each rate, 60 s", `rate(http_requests_total[5m])`, time.Minute, 1322},
	{"each rate, 15 s", `rate(http_requests_total[5m])`, 15 * time.Second, 4414},
}

// TestSizes holds results to their sizes, and to giving back every bit.
func TestSizes(t *testing.T) {
	codec := newCodec(t)
	db := island(t, 1, "http_requests_total", "http_request_duration_seconds_bucket", "node_cpu_seconds_total", "go_goroutines", "up")
	for _, q := range questions {
		r := ask(t, db, q.question, q.step)
		b := encode(t, codec, r)
		same(t, codec, b, r)
		points := 0
		for _, s := range r.Series {
			points += len(s.Floats)
		}
		size := islands * float64(len(b)) / 1024
		t.Logf("%-22s %8.2f KiB, %6d points, %5.2f bytes a point", q.name, size, islands*points, float64(len(b))/float64(points))
		if size > q.most {
			t.Errorf("%s: %.2f KiB for %d islands, want at most %g", q.question, size, islands, q.most)
		}
	}
	chunkSizes(t, codec, &Result{Chunks: chunksOf(t, db)})
}

func newCodec(tb testing.TB) *Codec {
	tb.Helper()
	c, err := New(DefaultLimits())
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func encode(tb testing.TB, c *Codec, r *Result) []byte {
	tb.Helper()
	b, err := c.Encode(nil, r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// same fails unless b decodes to r, bit by bit.
func same(tb testing.TB, c *Codec, b []byte, r *Result) {
	tb.Helper()
	got, err := c.Decode(b)
	if err != nil {
		tb.Fatal(err)
	}
	if w, g := print(r), print(got); !bytes.Equal(w, g) {
		tb.Fatalf("decoding gave another result of %d bytes printed, want %d: first difference at %d", len(g), len(w), diff(w, g))
	}
}

func diff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// print writes all of a result in the simplest way.
func print(r *Result) []byte {
	var b []byte
	num := func(v ...uint64) {
		for _, v := range v {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
	}
	num(uint64(r.Grid.Start), uint64(r.Grid.Step), uint64(r.Grid.Count))
	for _, s := range r.Series {
		b = append(b, s.Metric.String()...)
		if s.DropName {
			b = append(b, "drop"...)
		}
		for _, p := range s.Floats {
			num(uint64(p.T), math.Float64bits(p.F))
		}
		for _, p := range s.Histograms {
			num(uint64(p.T))
			b = printHistogram(b, p.H)
		}
	}
	for _, s := range r.Chunks {
		b = append(b, s.Labels.String()...)
		for _, m := range s.Chunks {
			num(uint64(m.Chunk.Encoding()), uint64(m.MinTime), uint64(m.MaxTime), uint64(len(m.Chunk.Bytes())))
			b = append(b, m.Chunk.Bytes()...)
		}
	}
	for _, notes := range [][]string{r.Warnings, r.Infos} {
		num(uint64(len(notes)))
		for _, s := range notes {
			b = append(append(b, s...), 0)
		}
	}
	return b
}

func printHistogram(b []byte, h *histogram.FloatHistogram) []byte {
	num := func(v float64) { b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v)) }
	b = append(b, byte(h.CounterResetHint), byte(h.Schema))
	num(h.Count)
	num(h.ZeroCount)
	num(h.ZeroThreshold)
	num(h.Sum)
	for _, spans := range [][]histogram.Span{h.PositiveSpans, h.NegativeSpans} {
		for _, s := range spans {
			num(float64(s.Offset))
			num(float64(s.Length))
		}
		b = append(b, '|')
	}
	for _, values := range [][]float64{h.PositiveBuckets, h.NegativeBuckets, h.CustomValues} {
		for _, v := range values {
			num(v)
		}
		b = append(b, '|')
	}
	return b
}

// chunkSizes compares chunks in a result with chunks compressed as they are.
func chunkSizes(t *testing.T, codec *Codec, r *Result) {
	t.Helper()
	b := encode(t, codec, r)
	same(t, codec, b, r)
	var all []byte
	for _, s := range r.Chunks {
		for _, m := range s.Chunks {
			all = append(all, m.Chunk.Bytes()...)
		}
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	packed := len(enc.EncodeAll(all, nil))
	t.Logf("%d series: chunks %d KiB, compressed %d KiB; result with labels %d KiB", len(r.Chunks), len(all)>>10, packed>>10, len(b)>>10)
	if len(b) > packed*11/10 {
		t.Errorf("the result has %d bytes, want at most a tenth more than its chunks compressed: %d", len(b), packed)
	}
}

func chunksOf(tb testing.TB, db *tsdb.DB) []ChunkSeries {
	tb.Helper()
	q, err := db.ChunkQuerier(startMs, endMs)
	if err != nil {
		tb.Fatal(err)
	}
	defer q.Close()
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	var out []ChunkSeries
	for set.Next() {
		s := ChunkSeries{Labels: set.At().Labels()}
		it := set.At().Iterator(nil)
		for it.Next() {
			s.Chunks = append(s.Chunks, it.At())
		}
		out = append(out, s)
	}
	if err := set.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}
