package columnar

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// TestGolden decodes the vectors, which other implementations of the format may
// use too: frames in hex, and what they say. Encoders may make other frames of the
// same samples.
func TestGolden(t *testing.T) {
	const frames, meaning = "testdata/frames.hex", "testdata/frames.txt"
	if *update {
		var b strings.Builder
		for _, frame := range sampleFrames(t) {
			fmt.Fprintln(&b, hex.EncodeToString(frame))
		}
		write(t, frames, b.String())
	}
	in, err := os.ReadFile(frames)
	if err != nil {
		t.Fatal(err)
	}
	_, d := pair(t, DefaultLimits())
	var f Frame
	var b strings.Builder
	for _, line := range strings.Fields(string(in)) {
		frame, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(frame, &f); err != nil {
			t.Fatal(err)
		}
		describe(&b, &f)
	}
	if *update {
		write(t, meaning, b.String())
	}
	want, err := os.ReadFile(meaning)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the golden frames say\n%s\nwant\n%s", got, want)
	}
}

func write(t *testing.T, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
}

func describe(b *strings.Builder, f *Frame) {
	fmt.Fprintf(b, "frame epoch=%d seq=%d reset=%v drop=%v\n", f.Epoch, f.Seq, f.Reset, f.Drop)
	for _, n := range f.New {
		fmt.Fprintf(b, "new %d %s\n", n.Ref, n.Labels)
	}
	for _, p := range f.Samples {
		fmt.Fprintf(b, "sample %d st=%d t=%d ", p.Ref, p.ST, p.T)
		switch {
		case p.H != nil:
			fmt.Fprintf(b, "integers %+v\n", *p.H)
		case p.FH != nil:
			fmt.Fprintf(b, "floats %+v\n", *p.FH)
		default:
			fmt.Fprintf(b, "bits=%016x (%v)\n", math.Float64bits(p.V), p.V)
		}
	}
	for _, x := range f.Exemplars {
		fmt.Fprintf(b, "exemplar %d %s value=%v t=%d %v\n", x.Ref, x.Labels, x.Value, x.Ts, x.HasTs)
	}
	for _, m := range f.Metadata {
		fmt.Fprintf(b, "metadata %d %q %q %q\n", m.Ref, m.Type, m.Unit, m.Help)
	}
}
