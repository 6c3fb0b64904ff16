package queue

import (
	"fmt"
	"testing"
)

// What was put after End is gone, in each place of a segment, also when the queue is
// opened again; what was put before stays, and numbers go on from there.
func TestTruncate(t *testing.T) {
	const each, entries = 1000, 60 // some eight entries a segment
	for _, end := range []uint64{0, 9, 10, 11, 12, 20, 21, 22, 23, 24, 59, 60} {
		o := Options{Dir: t.TempDir(), MaxBytes: LeastBytes}
		q, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		put := func(i int, text string) {
			if err := q.Put(append([]byte(fmt.Sprint(text, i, " ")), make([]byte, each)...)); err != nil {
				t.Fatal(err)
			}
		}
		var acked Entry
		for i := range entries {
			put(i, "old ")
			if i == 9 {
				for range 10 {
					if acked, _, err = q.TryNext(); err != nil {
						t.Fatal(err)
					}
				}
				if err := q.Ack(acked); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, _, err := q.TryNext(); err != nil { // it is read, and put again
			t.Fatal(err)
		}
		if err := q.Truncate(end); err != nil {
			t.Fatal(err)
		}
		from := max(end, 10)
		if got := q.End(); got != from {
			t.Fatalf("after Truncate(%d) the end is %d, want %d", end, got, from)
		}
		put(int(from), "new ")
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if q, err = Open(o); err != nil {
			t.Fatal(err)
		}
		for i := uint64(10); i <= from; i++ {
			e, ok, err := q.TryNext()
			want := fmt.Sprint("old ", i, " ")
			if i == from {
				want = fmt.Sprint("new ", i, " ")
			}
			if err != nil || !ok || e.Seq != i || string(e.Data[:len(want)]) != want {
				t.Fatalf("Truncate(%d): entry %d is %d %.10q %v %v, want %q", end, i, e.Seq, e.Data, ok, err, want)
			}
		}
		if _, ok, _ := q.TryNext(); ok {
			t.Fatalf("Truncate(%d): there is more", end)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
