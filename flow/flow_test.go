package flow

import (
	"strings"
	"testing"

	yaml2 "go.yaml.in/yaml/v2"
	yaml3 "go.yaml.in/yaml/v3"
)

func TestParseBytes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Bytes
		bad  string
	}{
		{in: "0", want: 0},
		{in: "1048576", want: 1 << 20},
		{in: "512MB", want: 512 << 20},
		{in: "512MiB", want: 512 << 20},
		{in: "1GiB", want: 1 << 30},
		{in: "1.5GiB", want: 3 << 29},
		{in: "1GiB512MiB", want: 3 << 29},
		{in: " 10KB ", want: 10 << 10},
		{in: "0B", want: 0},
		{in: "-1", bad: "must not be negative"},
		{in: "-5MB", bad: "must not be negative"},
		{in: "8EiB", bad: "below 8EiB"},
		{in: "99999999999999999999", bad: "must be a number"},
		{in: "", bad: "must be a number"},
		{in: "lots", bad: "must be a number"},
		{in: "5 parsecs", bad: "must be a number"},
	} {
		got, err := ParseBytes(c.in)
		if c.bad == "" && (err != nil || got != c.want) {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
		if c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("ParseBytes(%q) = %d, %v; want an error with %q", c.in, got, err, c.bad)
		}
	}
}

func TestBytesInYAML(t *testing.T) {
	type doc struct {
		A, B, C Bytes
	}
	const in = "a: 512MB\nb: 4096\nc: 1GiB\n"
	want := doc{A: 512 << 20, B: 4096, C: 1 << 30}
	for name, lib := range map[string]struct {
		unmarshal func([]byte, any) error
		marshal   func(any) ([]byte, error)
	}{
		"v2": {yaml2.Unmarshal, yaml2.Marshal},
		"v3": {yaml3.Unmarshal, yaml3.Marshal},
	} {
		var got doc
		if err := lib.unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
		}
		text, err := lib.marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again doc
		if err := lib.unmarshal(text, &again); err != nil || again != want {
			t.Errorf("%s: %q read back as %v, %v", name, text, again, err)
		}
		if err := lib.unmarshal([]byte("a: lots\n"), &got); err == nil {
			t.Errorf("%s: took %q for a size", name, "lots")
		}
	}
}

func TestBytesShort(t *testing.T) {
	for in, want := range map[Bytes]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB",
		97959936: "93.4 MiB", 200 << 20: "200 MiB", 123456 << 20: "121 GiB",
	} {
		if got := in.Short(); got != want {
			t.Errorf("Bytes(%d).Short() = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"0", "512MB", "1.5GiB", "1GiB512MiB", "-5MB", "8EiB", ".5KB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBytes(s)
		if err != nil {
			return
		}
		if b < 0 {
			t.Fatalf("ParseBytes(%q) = %d", s, b)
		}
		if again, err := ParseBytes(b.String()); err != nil || again != b {
			t.Fatalf("%q = %d, written as %q, read back as %d, %v", s, b, b.String(), again, err)
		}
	})
}

func TestStrict(t *testing.T) {
	if IsStrict(t.Context()) {
		t.Error("a plain context is strict")
	}
	if !IsStrict(Strict(t.Context())) {
		t.Error("Strict does not make a context strict")
	}
}
