package result

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

var odd = []float64{
	0, math.Copysign(0, -1), 1, 0.1, 1e-10, math.Pi, math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0x7ff8dead0000beef),
	math.Float64frombits(value.StaleNaN), 1<<53 + 2, math.MaxFloat64, math.SmallestNonzeroFloat64,
}

// random makes a result of all kinds of values at all kinds of places.
func random(r *rand.Rand) *Result {
	res := &Result{Grid: Grid{Start: r.Int64N(1e13) - 5e12, Step: 1 + r.Int64N(1e6), Count: r.IntN(40)}}
	few := r.IntN(2) == 0 // few distinct values: a table
	for i := range r.IntN(12) {
		s := promql.Series{Metric: labels.FromStrings("a", strings.Repeat("x", i), "b", "y"), DropName: r.IntN(2) == 0}
		if i == 0 {
			s.Metric = labels.EmptyLabels()
		}
		kind, v := r.IntN(4), 0.0
		for place := range res.Grid.Count {
			at := res.Grid.At(place)
			if kind == 1 && place < 5 || kind == 2 && r.IntN(3) == 0 {
				continue
			}
			switch {
			case kind == 3 && place%4 == 1:
				s.Histograms = append(s.Histograms, promql.HPoint{T: at, H: &histogram.FloatHistogram{
					Schema: int32(i % 3), Count: r.Float64(), Sum: odd[r.IntN(len(odd))], CounterResetHint: histogram.CounterResetHint(r.IntN(4)),
					PositiveSpans: []histogram.Span{{Offset: 3, Length: 2}, {Offset: 1, Length: 1}}, PositiveBuckets: []float64{r.Float64(), -1, float64(place)},
				}})
				continue
			case few:
				v = float64(r.IntN(4)) / 285
			case r.IntN(6) == 0:
				v = odd[r.IntN(len(odd))]
			default:
				v += float64(r.IntN(30)) / 10
			}
			s.Floats = append(s.Floats, promql.FPoint{T: at, F: v})
		}
		res.Series = append(res.Series, s)
	}
	for range r.IntN(3) {
		res.Warnings, res.Infos = append(res.Warnings, "careful"), append(res.Infos, "by the way")
	}
	return res
}

// TestRandom gives back every bit of random results.
func TestRandom(t *testing.T) {
	r, codec := rand.New(rand.NewPCG(1, 2)), newCodec(t)
	for range 500 {
		res := random(r)
		same(t, codec, encode(t, codec, res), res)
	}
}

// TestConcurrent uses one codec from several goroutines.
func TestConcurrent(t *testing.T) {
	codec := newCodec(t)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 3))
			for range 50 {
				res := random(r)
				b, err := codec.Encode(nil, res)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := codec.Decode(b); err != nil || !bytes.Equal(print(got), print(res)) {
					t.Errorf("decoding gave another result: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// someChunks are chunks of each encoding.
func someChunks(tb testing.TB) []ChunkSeries {
	tb.Helper()
	h := &histogram.Histogram{Count: 3, Sum: 4, ZeroThreshold: 0.3, PositiveSpans: []histogram.Span{{Offset: -70, Length: 3}, {Offset: 300, Length: 1}}, PositiveBuckets: []int64{1, 0, 0, 0}, NegativeSpans: []histogram.Span{{Length: 1}}, NegativeBuckets: []int64{2}}
	s := ChunkSeries{Labels: labels.FromStrings("a", "b")}
	for i, e := range []chunkenc.Encoding{chunkenc.EncXOR, chunkenc.EncXOR2, chunkenc.EncHistogram, chunkenc.EncHistogramST, chunkenc.EncFloatHistogram, chunkenc.EncFloatHistogramST} {
		c, err := chunkenc.NewEmptyChunk(e)
		if err != nil {
			tb.Fatal(err)
		}
		app, err := c.Appender()
		if err != nil {
			tb.Fatal(err)
		}
		from := int64(1000 * i)
		for k := range int64(5) {
			switch e {
			case chunkenc.EncXOR, chunkenc.EncXOR2:
				app.Append(0, from+k, float64(k)*1.5)
			case chunkenc.EncHistogram, chunkenc.EncHistogramST:
				if _, _, _, err := app.AppendHistogram(nil, 0, from+k, h, true); err != nil {
					tb.Fatal(err)
				}
			default:
				if _, _, _, err := app.AppendFloatHistogram(nil, 0, from+k, h.ToFloat(nil), true); err != nil {
					tb.Fatal(err)
				}
			}
		}
		m := chunks.Meta{Chunk: c, MinTime: from, MaxTime: from + 4}
		if e == chunkenc.EncFloatHistogramST {
			m.MaxTime = math.MaxInt64 // still open
		}
		s.Chunks = append(s.Chunks, m)
	}
	return []ChunkSeries{s, {Labels: labels.FromStrings("no", "chunks")}}
}

// TestChunks gives back chunks of each encoding, beside points.
func TestChunks(t *testing.T) {
	codec := newCodec(t)
	r := random(rand.New(rand.NewPCG(2, 2)))
	r.Chunks = someChunks(t)
	same(t, codec, encode(t, codec, r), r)
}

func tightLimits() Limits {
	return Limits{Bytes: 1 << 13, ColumnBytes: 1 << 14, Series: 16, Points: 512, Labels: 4, LabelBytes: 64, Buckets: 16, AllBuckets: 512, Notes: 4, NoteBytes: 16}
}

// TestEncodeRefuses holds Encode to the limits, and to what can be encoded.
func TestEncodeRefuses(t *testing.T) {
	codec, err := New(tightLimits())
	if err != nil {
		t.Fatal(err)
	}
	grid := Grid{Start: 0, Step: 10, Count: 4}
	one := func(s promql.Series) *Result { return &Result{Grid: grid, Series: []promql.Series{s}} }
	noise := &Result{Grid: Grid{Step: 1, Count: 30}, Series: make([]promql.Series, 16)}
	r := rand.New(rand.NewPCG(9, 9))
	for i := range noise.Series {
		for k := range int64(30) {
			noise.Series[i].Floats = append(noise.Series[i].Floats, promql.FPoint{T: k, F: math.Float64frombits(r.Uint64())})
		}
	}
	tight, err := New(func() Limits { l := tightLimits(); l.Bytes = 1 << 10; return l }())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tight.Encode(nil, noise); !errors.Is(err, ErrLimit) {
		t.Errorf("bytes: %v, want %v", err, ErrLimit)
	}
	for name, c := range map[string]struct {
		r    *Result
		want error
	}{
		"series":     {&Result{Grid: grid, Series: make([]promql.Series, 17)}, ErrLimit},
		"points":     {&Result{Grid: Grid{Step: 1, Count: 513}}, ErrLimit},
		"labels":     {one(promql.Series{Metric: labels.FromStrings("a", "1", "b", "2", "c", "3", "d", "4", "e", "5")}), ErrLimit},
		"long label": {one(promql.Series{Metric: labels.FromStrings("a", strings.Repeat("x", 64))}), ErrLimit},
		"notes":      {&Result{Warnings: make([]string, 5)}, ErrLimit},
		"long note":  {&Result{Infos: []string{strings.Repeat("x", 17)}}, ErrLimit},
		"buckets": {one(promql.Series{Histograms: []promql.HPoint{{H: &histogram.FloatHistogram{
			PositiveSpans: []histogram.Span{{Length: 17}}, PositiveBuckets: make([]float64, 17),
		}}}}), ErrLimit},
		"off the grid":   {one(promql.Series{Floats: []promql.FPoint{{T: 15}}}), ErrGrid},
		"before it":      {one(promql.Series{Floats: []promql.FPoint{{T: -10}}}), ErrGrid},
		"after it":       {one(promql.Series{Floats: []promql.FPoint{{T: 40}}}), ErrGrid},
		"out of order":   {one(promql.Series{Floats: []promql.FPoint{{T: 20}, {T: 10}}}), ErrGrid},
		"no step":        {&Result{Grid: Grid{Count: 2}}, ErrGrid},
		"far away":       {&Result{Grid: Grid{Start: math.MaxInt64, Step: 1, Count: 2}}, ErrGrid},
		"too wide":       {&Result{Grid: Grid{Step: math.MaxInt64 / 2, Count: 2}}, ErrGrid},
		"negative count": {&Result{Grid: Grid{Count: -1}}, ErrLimit},
	} {
		if _, err := codec.Encode(nil, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// fix gives a result the checksum it should have.
func fix(b []byte) []byte {
	n := len(b) - sumBytes
	binary.LittleEndian.PutUint32(b[n:], crc32.Checksum(b[:n], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestBombs decodes results that are small and mean a lot.
func TestBombs(t *testing.T) {
	p, err := plane.NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	of := func(flags byte, count uint64, columns ...[]byte) []byte {
		b := binary.AppendUvarint([]byte{magic, version, flags, 0, 2}, count)
		for _, c := range columns {
			b = append(b, c...)
		}
		return fix(append(b, make([]byte, sumBytes)...))
	}
	empty := []byte{0}
	for name, b := range map[string][]byte{
		"zeros":        of(flagWhole, 1, p.Append(nil, make([]byte, 1<<20))),
		"endless":      of(flagNotes, 1, binary.AppendUvarint(nil, 1<<63|1)),
		"wide grid":    of(0, 1<<40),
		"full series":  of(flagSeries, 512, p.Append(nil, nil), p.Append(nil, make([]byte, 17)), empty, p.Append(nil, []byte{1, 1, 1})),
		"huge table":   of(flagSeries, 1, empty, empty, binary.AppendUvarint(nil, 1<<40)),
		"only a head":  of(flagSeries, 1),
		"trailing":     of(0, 1, []byte{1}),
		"not a series": of(flagHistograms, 1),
	} {
		codec, err := New(tightLimits())
		if err != nil {
			t.Fatal(err)
		}
		if r, err := codec.Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v, want %v", name, r, err, ErrMalformed)
		}
	}
}

// TestHugeLayout decodes a chunk of histograms that claims four billion buckets.
func TestHugeLayout(t *testing.T) {
	data := []byte{0, 1, 0}              // one sample
	bits := "00000000" + "0" + "10001" + // zero threshold, schema 0, one span
		"11111111" + strings.Repeat("0", 32) + strings.Repeat("1", 32) + // of 2^32-1 buckets
		"0" + "0" // offset 0, no negative spans
	for len(bits)%8 != 0 {
		bits += "0"
	}
	for i := 0; i < len(bits); i += 8 {
		b := byte(0)
		for _, c := range bits[i : i+8] {
			b = b<<1 | byte(c-'0')
		}
		data = append(data, b)
	}
	for _, e := range []chunkenc.Encoding{chunkenc.EncHistogram, chunkenc.EncFloatHistogram, chunkenc.EncHistogramST, chunkenc.EncFloatHistogramST} {
		if _, _, err := openChunk(e, data, 0, 10, 10, 100); !errors.Is(err, errChunk) || !strings.Contains(err.Error(), "buckets") {
			t.Errorf("encoding %d: %v, want %v", e, err, errChunk)
		}
	}
}

// TestBadChunks decodes chunks whose data are not what they say.
func TestBadChunks(t *testing.T) {
	for _, m := range someChunks(t)[0].Chunks {
		good := m.Chunk.Bytes()
		if _, n, err := openChunk(m.Chunk.Encoding(), good, m.MinTime, m.MaxTime, 10, 100); err != nil || n != 5 {
			t.Fatalf("encoding %d: %d samples, %v", m.Chunk.Encoding(), n, err)
		}
		for i := range good {
			for _, change := range []byte{1, 0x80, 0xff} {
				bad := append([]byte(nil), good...)
				bad[i] ^= change
				_, _, _ = openChunk(m.Chunk.Encoding(), bad, m.MinTime, m.MaxTime, 10, 100) // any answer will do
			}
			_, _, _ = openChunk(m.Chunk.Encoding(), good[:i], m.MinTime, m.MaxTime, 10, 100)
		}
		if _, _, err := openChunk(m.Chunk.Encoding(), good[:len(good)/2], m.MinTime, m.MaxTime, 10, 100); !errors.Is(err, errChunk) {
			t.Errorf("encoding %d: half of it was taken: %v", m.Chunk.Encoding(), err)
		}
		if _, _, err := openChunk(m.Chunk.Encoding(), good, m.MinTime+1, m.MaxTime, 10, 100); !errors.Is(err, errChunk) {
			t.Errorf("encoding %d: a sample before its chunk: %v", m.Chunk.Encoding(), err)
		}
	}
}

// plain encodes a result without compression, where a fuzzer finds more.
func plain(tb testing.TB, r *Result) []byte {
	tb.Helper()
	e, err := newCodec(tb).encoder()
	if err != nil {
		tb.Fatal(err)
	}
	e.reset()
	flags, err := e.gather(r)
	if err != nil {
		tb.Fatal(err)
	}
	b := binary.AppendVarint([]byte{magic, version, flags}, r.Grid.Start)
	b = binary.AppendUvarint(binary.AppendVarint(b, r.Grid.Step), uint64(r.Grid.Count))
	e.packer.Begin(true)
	return fix(append(e.columns(b, flags), make([]byte, sumBytes)...))
}

// FuzzDecode decodes anything: it does not panic, and what it accepts can be
// encoded and is the same again.
func FuzzDecode(f *testing.F) {
	codec, err := New(tightLimits())
	if err != nil {
		f.Fatal(err)
	}
	big, r := newCodec(f), rand.New(rand.NewPCG(5, 5))
	for range 12 {
		res := random(r)
		res.Warnings, res.Infos = res.Warnings[:min(len(res.Warnings), 2)], nil
		if b, err := codec.Encode(nil, res); err == nil {
			f.Add(b)
			f.Add(plain(f, res))
		}
	}
	f.Add(plain(f, &Result{Chunks: someChunks(f)}))
	b, err := codec.Encode(nil, &Result{Chunks: someChunks(f)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 3+sumBytes {
			return
		}
		got, err := codec.Decode(fix(append([]byte(nil), b...)))
		if err != nil {
			return
		}
		points := 0
		for _, s := range got.Series {
			points += len(s.Floats) + len(s.Histograms)
		}
		if l := tightLimits(); len(got.Series) > l.Series || points > l.Points {
			t.Fatalf("%d series with %d points were taken", len(got.Series), points)
		}
		again, err := big.Encode(nil, got)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		same(t, big, again, got)
	})
}

// BenchmarkResult reports the time to encode and decode, per point.
func BenchmarkResult(b *testing.B) {
	codec, db := newCodec(b), island(b, 1, "http_requests_total", "http_request_duration_seconds_bucket", "node_cpu_seconds_total", "go_goroutines", "up")
	for _, q := range questions {
		r, points := ask(b, db, q.question, q.step), 0
		for _, s := range r.Series {
			points += len(s.Floats)
		}
		benchmark(b, q.name, codec, r, points)
	}
	r, samples := &Result{Chunks: chunksOf(b, db)}, 0
	for _, s := range r.Chunks {
		for _, m := range s.Chunks {
			samples += m.Chunk.NumSamples()
		}
	}
	benchmark(b, "chunks", codec, r, samples)
}

func benchmark(b *testing.B, name string, codec *Codec, r *Result, points int) {
	encoded := encode(b, codec, r)
	b.Run("encode/"+name, func(b *testing.B) {
		var buf []byte
		for b.Loop() {
			var err error
			if buf, err = codec.Encode(buf[:0], r); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(encoded))/float64(points), "B/point")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
	})
	b.Run("decode/"+name, func(b *testing.B) {
		for b.Loop() {
			if _, err := codec.Decode(encoded); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
	})
}
