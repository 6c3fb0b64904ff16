package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// FuzzMendSegment: whatever a log segment holds, after mending it can be read
// from end to end, and what was readable before its first fault is untouched.
func FuzzMendSegment(f *testing.F) {
	dir := f.TempDir()
	log, err := wlog.New(nil, nil, dir, compression.Snappy)
	if err != nil {
		f.Fatal(err)
	}
	for n := range 3 {
		if err := log.Log(bytes.Repeat([]byte(fmt.Sprint(n)), 50), []byte{byte(n)}); err != nil {
			f.Fatal(err)
		}
	}
	whole, err := os.ReadFile(wlog.SegmentName(dir, 0))
	if err != nil {
		f.Fatal(err)
	}
	if err := log.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(bytes.Clone(whole), "half a record"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		s, err := New(Options{Config: config(dir)})
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "00000000")
		write(t, name, string(b))
		good, _, err := scanSegment(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.mendSegment(name); err != nil {
			t.Fatal(err)
		}
		after, bad, err := scanSegment(name)
		if bad != nil || err != nil || after != good {
			t.Fatalf("readable to %d before and to %d after mending: %v, %v", good, after, bad, err)
		}
		// The reader takes a page cut short for one that ends in zeros.
		padded := append(bytes.Clone(b), make([]byte, 64<<10)...)
		kept, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(padded, kept) || int64(len(kept)) < min(good, int64(len(b))) {
			t.Fatalf("%d bytes were readable, %d of them are left: %v", good, len(kept), err)
		}
	})
}
