package share

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// Parts come back from disk in the order in which they were pushed, also where an island
// begins from a snapshot that knows less than the disk: one that comes too early says
// that all before it are there.
func TestPartsOnDiskStayInOrder(t *testing.T) {
	set, dir := load(t, ruleText), t.TempDir()
	begin := func(state []byte) *Share {
		s, err := New(Options{
			Self: "a", Rules: set, Members: func() []string { return nil }, Transport: line{}, Start: 1, Dir: dir, MaxPending: 4, // one part in memory
			Publish: func(context.Context, []partial.Sample) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if state != nil {
			if err := s.Restore(bytes.NewReader(state)); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	push := func(s *Share, windows ...int64) {
		for _, k := range windows {
			w := empty(s, 10_000*k)
			w.Rows = []partial.Row{row1("j", float64(k))}
			seal(t, s, w)
		}
	}
	// next are the windows in memory, which are published then.
	next := func(s *Share) (windows []int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refill()
		for _, p := range s.order[0].pending {
			windows = append(windows, p.end/10_000)
			s.forgetPart(p)
		}
		s.order[0].pending = nil
		return windows
	}
	s := begin(nil)
	push(s, 1, 2, 3)
	var state bytes.Buffer
	if err := s.Snapshot(&state); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{1, 2, 3} {
		if got := next(s); !slices.Equal(got, []int64{want}) {
			t.Fatalf("windows %v are in memory, want %d alone", got, want)
		}
	}
	push(s, 4, 5, 6)
	for range 2 { // what goes to disk again is taken back again
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = begin(state.Bytes())
		push(s, 4, 5, 6)
	}
	var got []int64
	for range 10 {
		got = append(got, next(s)...)
	}
	if !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("after a restart windows come in the order %v", got)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}
