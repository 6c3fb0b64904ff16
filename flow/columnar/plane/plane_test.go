package plane

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

func TestBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var w bitWriter
		var values []uint64
		var widths []uint
		for range r.IntN(50) {
			k := r.UintN(65)
			v := r.Uint64() & (^uint64(0) >> (64 - k))
			values, widths = append(values, v), append(widths, k)
			w.put(v, k)
		}
		rd := bitReader{buf: w.bytes()}
		for i, want := range values {
			if got, ok := rd.get(widths[i]); !ok || got != want {
				t.Fatalf("value %d of %d bits: %x, %v, want %x", i, widths[i], got, ok, want)
			}
		}
		if !rd.spent() {
			t.Fatal("something is left over")
		}
		if _, ok := rd.get(8); ok {
			t.Fatal("there was more than was written")
		}
	}
}

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		v    float64
		mode Mode
		m    int64
	}{
		{0, 0, 0}, {-7, 0, -7}, {0.1, 1, 1}, {123.45, 2, 12345}, {1e-9, 9, 1}, {1<<53 - 1, 0, 1<<53 - 1}, {1e15, 0, 1e15},
		{math.Copysign(0, -1), Bits, math.MinInt64}, {1 << 53, Bits, int64(math.Float64bits(1 << 53))}, {1e-10, Bits, int64(math.Float64bits(1e-10))},
		{math.Inf(1), Bits, int64(math.Float64bits(math.Inf(1)))}, {math.Pi, Bits, int64(math.Float64bits(math.Pi))},
	} {
		mode, m := Decimal(c.v, 0)
		if mode != c.mode || m != c.m {
			t.Errorf("%v is %d in mode %d, want %d in mode %d", c.v, m, mode, c.m, c.mode)
		}
		if got := Float(m, mode); math.Float64bits(got) != math.Float64bits(c.v) {
			t.Errorf("%v comes back as %v", c.v, got)
		}
	}
}

// TestModes watches the writer go up at once and down after a while.
func TestModes(t *testing.T) {
	var w Writer
	s := NewState()
	for i, c := range []struct {
		v    float64
		mode Mode
	}{{1, 0}, {1.5, 1}, {math.Pi, Bits}, {2, Bits}} {
		if w.Float(&s, c.v); s.Mode() != c.mode {
			t.Errorf("value %d: mode %d, want %d", i, s.Mode(), c.mode)
		}
	}
	for i := range smallerAfter {
		w.Float(&s, float64(10+i))
	}
	if s.Mode() != 0 {
		t.Errorf("mode %d after %d integers, want 0", s.Mode(), smallerAfter)
	}
	w.Float(&s, math.Float64frombits(value.StaleNaN))
	if s.Mode() != 0 || s.Integer() != 10+smallerAfter-1 {
		t.Errorf("a staleness marker changed the state to %d in mode %d", s.Integer(), s.Mode())
	}
}

func packer(t *testing.T) *Packer {
	t.Helper()
	p, err := NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestColumns(t *testing.T) {
	p := packer(t)
	u, err := NewUnpacker(10_000)
	if err != nil {
		t.Fatal(err)
	}
	columns := [][]byte{nil, []byte("short"), bytes.Repeat([]byte("long "), 1000), bytes.Repeat([]byte{7}, 4000), {1}}
	var b []byte
	for _, c := range columns {
		b = p.Append(b, c)
	}
	if len(b) > 120 {
		t.Errorf("the columns take %d bytes", len(b))
	}
	for range 2 {
		u.Reset()
		src, got := b, [][]byte{}
		for range columns {
			var c []byte
			if c, src, err = u.Next(src); err != nil {
				t.Fatal(err)
			}
			got = append(got, c)
		}
		for i, want := range columns { // after all of them: none overwrote another
			if !bytes.Equal(got[i], want) {
				t.Errorf("column %d came back as %q", i, got[i])
			}
		}
	}
	if _, _, err := u.Next(p.Append(nil, make([]byte, 2000))); !errors.Is(err, ErrRoom) {
		t.Errorf("a column too many: %v, want %v", err, ErrRoom)
	}
	u.Reset()
	whole := p.Append(nil, columns[2])
	for i := range whole {
		u.Reset()
		if _, _, err := u.Next(whole[:i]); err == nil {
			t.Errorf("%d of %d bytes were taken for whole", i, len(whole))
		}
	}
	lie := append([]byte(nil), whole...)
	lie[0] -= 2 // one byte less than there is
	u.Reset()
	if _, _, err := u.Next(lie); !errors.Is(err, ErrColumn) {
		t.Errorf("a column longer than it says: %v, want %v", err, ErrColumn)
	}
}

func TestLabels(t *testing.T) {
	sets := []labels.Labels{
		labels.FromStrings("a", "1", "b", "2"), labels.FromStrings("a", "1", "b", "3"), labels.FromStrings("a", "1", "c", "b"),
		labels.EmptyLabels(), labels.FromStrings("a", "1", "b", "3"), labels.FromStrings("a", "1", "b", "3"),
	}
	var w LabelWriter
	w.Reset()
	for _, ls := range sets {
		w.Add(ls)
	}
	b := packer(t).AppendLabels(nil, &w)
	u, err := NewUnpacker(1000)
	if err != nil {
		t.Fatal(err)
	}
	var r LabelReader
	if _, err := u.Labels(b, &r, LabelLimits{Labels: 2, Bytes: 10, Total: 400}); err != nil {
		t.Fatal(err)
	}
	for i, want := range sets {
		if got, err := r.Next(); err != nil || !labels.Equal(got, want) {
			t.Errorf("set %d came back as %s, %v, want %s", i, got, err, want)
		}
	}
	if err := r.Spent(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(); err == nil {
		t.Error("there was a label set more than was written")
	}
}

// TestBadLabels reads label sets that are not what they should be.
func TestBadLabels(t *testing.T) {
	for name, c := range map[string]struct{ texts, refs string }{
		"unsorted":        {"\x01b\x01a\x01v", "\x00\x02\x01\x01\x01\x03"},
		"twice":           {"\x01a\x01v", "\x00\x02\x01\x02\x01\x03"},
		"empty name":      {"\x00\x01v", "\x00\x01\x01\x01"},
		"empty value":     {"\x01a\x00", "\x00\x01\x01\x01"},
		"no value before": {"\x01a", "\x00\x01\x01\x00"},
		"no UTF-8":        {"\x01a\x01\xff", "\x00\x01\x01\x01"},
		"beyond table":    {"\x01a", "\x00\x01\x01\x09"},
		"beyond texts":    {"\x01a\x09v", "\x00\x01\x01\x01"},
		"beyond shapes":   {"", "\x01"},
		"too many":        {"\x01a\x01b\x01c\x01v", "\x00\x03\x01\x01\x01\x01\x01\x01"},
		"too long":        {"\x01a\x0b01234567890", "\x00\x01\x01\x01"},
		"nothing":         {"", ""},
	} {
		r := LabelReader{limits: LabelLimits{Labels: 2, Bytes: 10, Total: 100}, shape: -1, texts: []byte(c.texts), refs: []byte(c.refs), builder: labels.NewScratchBuilder(4)}
		if ls, err := r.Next(); err == nil {
			t.Errorf("%s: %s, want an error", name, ls)
		}
	}
	var w LabelWriter
	w.Reset()
	for i := range 100 {
		w.Add(labels.FromStrings("a", strings.Repeat("x", 8), fmt.Sprint("b", i), "y"))
	}
	r := LabelReader{limits: LabelLimits{Labels: 2, Bytes: 20, Total: 1000}, shape: -1, texts: w.texts, refs: w.refs, builder: labels.NewScratchBuilder(4)}
	for range 100 {
		if _, err := r.Next(); err != nil {
			return
		}
	}
	t.Error("100 label sets of 10 bytes in shapes of their own were taken for 1000 bytes")
}
