package result

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// scraped are series of two targets in chunks of some samples each. Those of odd
// targets have start timestamps, which only their chunks can tell.
func scraped(tb testing.TB, r *rand.Rand, series, count int) (out []ChunkSeries) {
	tb.Helper()
	for n := range series {
		s, t := ChunkSeries{Labels: labels.FromStrings("n", fmt.Sprint(n))}, int64(5000*(n%2))
		times := rand.New(rand.NewPCG(uint64(n%2), 1)) // the same for all of a target
		for range count {
			encoding := []chunkenc.Encoding{chunkenc.EncXOR, chunkenc.EncXOR2}[n%2]
			c, err := chunkenc.NewEmptyChunk(encoding)
			if err != nil {
				tb.Fatal(err)
			}
			app, err := c.Appender()
			if err != nil {
				tb.Fatal(err)
			}
			m := chunks.Meta{Chunk: c, MinTime: t + 1}
			for range 1 + times.IntN(20) {
				t += 15_000 + times.Int64N(2)*times.Int64N(7)
				app.Append(int64(n%2)*1000, t, []float64{float64(t) / 7, float64(r.IntN(5)), math.Float64frombits(value.StaleNaN), math.NaN(), math.Inf(1), math.Copysign(0, -1)}[r.IntN(6)])
			}
			m.MaxTime = t
			s.Chunks = append(s.Chunks, m)
		}
		out = append(out, s)
	}
	return out
}

// TestSamples: chunks that travel as samples are the same chunks again, others beside
// them are untouched.
func TestSamples(t *testing.T) {
	codec, r := newCodec(t), rand.New(rand.NewPCG(3, 3))
	for n := range 50 {
		res := &Result{Chunks: append(scraped(t, r, n%8, n%5), someChunks(t)...)}
		same(t, codec, encode(t, codec, res), res)
	}
}

// TestBadSamples changes every byte of such a result: it is refused, or taken for one
// that can be encoded again, and its chunks are within their times.
func TestBadSamples(t *testing.T) {
	codec, big := newCodec(t), newCodec(t)
	good := plain(t, &Result{Chunks: scraped(t, rand.New(rand.NewPCG(4, 4)), 4, 2)})
	taken := 0
	for i := 3; i < len(good)-sumBytes; i++ {
		for _, change := range []byte{1, 2, 0x40, 0x80, 0xff} {
			bad := append([]byte(nil), good...)
			bad[i] ^= change
			got, err := codec.Decode(fix(bad))
			if err != nil {
				continue
			}
			taken++
			for _, s := range got.Chunks {
				for _, m := range s.Chunks {
					if err := walk(m.Chunk, m.Chunk.NumSamples(), m.MinTime, m.MaxTime); err != nil {
						t.Fatalf("byte %d by %x: %v", i, change, err)
					}
				}
			}
			same(t, big, encode(t, big, got), got)
		}
	}
	if taken == 0 {
		t.Error("no change was to values alone: nothing was tried")
	}
}

// TestManySamples: what is small on its way and large as chunks counts by its samples.
func TestManySamples(t *testing.T) {
	codec := newCodec(t)
	c := chunkenc.NewXORChunk()
	app, err := c.Appender()
	if err != nil {
		t.Fatal(err)
	}
	const samples = 1000
	for i := range int64(samples) {
		app.Append(0, i, 1)
	}
	res := &Result{}
	for n := range 100 {
		res.Chunks = append(res.Chunks, ChunkSeries{Labels: labels.FromStrings("n", fmt.Sprint(n)), Chunks: []chunks.Meta{{Chunk: c, MaxTime: samples - 1}}})
	}
	b := encode(t, codec, res)
	if _, err := codec.DecodeWithin(b, 100*samples*pointBytes); err != nil {
		t.Error(err)
	}
	if _, err := codec.DecodeWithin(b, 100*samples*pointBytes-1); err == nil {
		t.Errorf("%d bytes became %d samples beyond the memory", len(b), 100*samples)
	}
}
