package send

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testState() *state {
	st := &state{Version: stateV1, Name: "n", URL: "http://r", Created: 5, Newest: 9, Gaps: []*gapState{{ID: 3, From: 1, To: 2, Next: 1, End: position{4, 5, 6}}}}
	st.resetShards(2, position{1, 2, 3})
	return st
}

func TestCursorSurvivesTornWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.cursor")
	c, st, err := openCursor(path)
	if err != nil || st != nil {
		t.Fatalf("new cursor = %v, %v", st, err)
	}
	want := testState()
	if err := c.save(want); err != nil {
		t.Fatal(err)
	}
	newer := testState()
	newer.Newest = 10
	if err := c.save(newer); err != nil {
		t.Fatal(err)
	}
	torn := int64(c.seq%2) * slotSize
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	c, st, err = openCursor(path)
	if d := cmp.Diff(newer, st); err != nil || d != "" {
		t.Fatalf("%v\n%s", err, d)
	}
	_ = c.close()

	spoil(t, path, torn+slotHeader+3)
	c, st, err = openCursor(path)
	if d := cmp.Diff(want, st); err != nil || d != "" {
		t.Fatalf("after a torn write: %v\n%s", err, d)
	}
	_ = c.close()

	spoil(t, path, slotSize-torn+slotHeader+3)
	if _, _, err := openCursor(path); !errors.Is(err, errDamaged) {
		t.Errorf("err = %v, want %v", err, errDamaged)
	}
}

func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSpansRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.1.gap")
	want := map[uint64]span{1: {2, 3}, 1 << 63: {-1, 1 << 60}}
	if err := writeSpans(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := readSpans(path)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestRemoveCursorsKeepsWhatIsConfigured(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.cursor", "a.1.gap", "b.cursor", "b.2.gap", "b.2.gap.tmp", "other.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeCursors(dir, map[string]bool{"a": true}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left %v, %v; want a's two files and the one that is not ours", left, err)
	}
}

func FuzzDecodeSlot(f *testing.F) {
	path := filepath.Join(f.TempDir(), "a.cursor")
	c, _, err := openCursor(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := c.save(testState()); err != nil {
		f.Fatal(err)
	}
	_ = c.close()
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[slotSize : slotSize+1024])
	f.Add([]byte(cursorMagic + "\x01\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, st, err := decodeSlot(b)
		if err == nil && st != nil {
			st.low()
		}
	})
}

func FuzzDecodeSpans(f *testing.F) {
	path := filepath.Join(f.TempDir(), "a.1.gap")
	if err := writeSpans(path, map[uint64]span{1: {2, 3}}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(gapMagic + "\xff\xff\xff\xff\xff\xff\xff\xff0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		spans, err := decodeSpans(b)
		if err == nil && len(spans) > len(b)/24 {
			t.Errorf("%d spans from %d bytes", len(spans), len(b))
		}
	})
}
