package result

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// TestGolden decodes the vectors, which other implementations of the format may
// use too: results in hex, and what they say. Encoders may make other bytes of the
// same result.
func TestGolden(t *testing.T) {
	const results, meaning = "testdata/results.hex", "testdata/results.txt"
	codec := newCodec(t)
	if *update {
		r := rand.New(rand.NewPCG(11, 12))
		var b strings.Builder
		for range 3 {
			fmt.Fprintln(&b, hex.EncodeToString(encode(t, codec, random(r))))
		}
		fmt.Fprintln(&b, hex.EncodeToString(encode(t, codec, &Result{Chunks: someChunks(t)})))
		write(t, results, b.String())
	}
	in, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, line := range strings.Fields(string(in)) {
		data, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		r, err := codec.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		describe(&b, r)
	}
	if *update {
		write(t, meaning, b.String())
	}
	want, err := os.ReadFile(meaning)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the golden results say\n%s\nwant\n%s", got, want)
	}
}

func write(t *testing.T, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
}

func describe(b *strings.Builder, r *Result) {
	fmt.Fprintf(b, "result %+v warnings=%q infos=%q\n", r.Grid, r.Warnings, r.Infos)
	for _, s := range r.Series {
		fmt.Fprintf(b, "series %s dropname=%v\n", s.Metric, s.DropName)
		for _, p := range s.Floats {
			fmt.Fprintf(b, "  t=%d bits=%016x (%v)\n", p.T, math.Float64bits(p.F), p.F)
		}
		for _, p := range s.Histograms {
			fmt.Fprintf(b, "  t=%d floats %+v\n", p.T, *p.H)
		}
	}
	for _, s := range r.Chunks {
		fmt.Fprintf(b, "chunks %s\n", s.Labels)
		for _, m := range s.Chunks {
			fmt.Fprintf(b, "  %s from %d to %d: %x\n", m.Chunk.Encoding(), m.MinTime, m.MaxTime, m.Chunk.Bytes())
		}
	}
}
