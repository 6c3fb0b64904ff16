package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, path string, frames ...[]byte) {
	t.Helper()
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.Append(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func frames(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = bytes.Repeat([]byte(fmt.Sprint(i)), 1+i*i%4000)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	want := append(frames(300), make([]byte, 5<<20), []byte("after a big one"))
	write(t, path, want...)
	var got [][]byte
	n, end, size, err := Scan(path, func(b []byte) error { got = append(got, bytes.Clone(b)); return nil })
	if err != nil || n != uint64(len(want)) || end != size {
		t.Fatalf("scanned %d frames of %d to %d of %d: %v", n, len(want), end, size, err)
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("frame %d of %d bytes came back as %d bytes", i, len(want[i]), len(got[i]))
		}
	}
}

func TestFrameSize(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, n := range []int{0, MaxFrame + 1} {
		if err := w.Append(make([]byte, n)); !errors.Is(err, ErrFrameSize) {
			t.Errorf("%d bytes: %v, want a refusal", n, err)
		}
	}
}

// TestEveryCut cuts a file at every byte: exactly the frames before it are read.
func TestEveryCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	want := [][]byte{[]byte("first"), bytes.Repeat([]byte{0}, 40), []byte("x")}
	write(t, path, want...)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		n, end, _, err := Scan(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect, at := uint64(0), Header
		for _, f := range want {
			if at += FrameHeader + int64(len(f)); at <= int64(cut) {
				expect++
			}
		}
		if n != expect || end > int64(cut) {
			t.Errorf("cut at %d: %d frames to %d, want %d", cut, n, end, expect)
		}
	}
}

// TestEveryFlip flips each byte: no frame is ever read that was not written.
func TestEveryFlip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	want := [][]byte{[]byte("first"), []byte("second"), []byte("third")}
	write(t, path, want...)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x41
		r, n := NewReader(bytes.NewReader(b)), 0
		for {
			content, err := r.Next(int64(len(b)))
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("byte %d: %v, want damage", i, err)
				}
				break
			}
			if !bytes.Equal(content, want[n]) {
				t.Errorf("byte %d: frame %d reads %q", i, n, content)
			}
			n++
		}
		if end := int64(i); r.Offset() > end {
			t.Errorf("byte %d: read on to %d", i, r.Offset())
		}
	}
}

// FuzzReader feeds it foreign bytes: it ends, keeps within them, and what it takes
// for frames encodes to the same bytes again.
func FuzzReader(f *testing.F) {
	good := []byte(Magic)
	for _, c := range frames(4)[1:] {
		good = AppendFrame(good, c)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(Magic))
	f.Add(append([]byte(Magic), make([]byte, 64)...))
	f.Add(binary.LittleEndian.AppendUint32([]byte(Magic), 1<<31))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		again := []byte(Magic)
		for {
			content, err := r.Next(int64(len(b)))
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				if errors.Is(err, io.EOF) && r.Offset() != int64(len(b)) {
					t.Fatalf("at its end at %d of %d", r.Offset(), len(b))
				}
				break
			}
			again = AppendFrame(again, content)
		}
		if n := r.Offset(); n > 0 && !bytes.Equal(again, b[:n]) {
			t.Fatalf("%d bytes were read as frames that encode otherwise", n)
		}
	})
}
