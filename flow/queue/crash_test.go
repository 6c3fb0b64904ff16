package queue

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

const crashEnv = "ATOLL_TEST_QUEUE_CRASH"

// TestKill kills a process that puts, reads and acknowledges, again and again
// over one queue: what was put is there, what was acknowledged is not lost.
func TestKill(t *testing.T) {
	if dir := os.Getenv(crashEnv); dir != "" {
		crashing(t, dir)
		return
	}
	dir := t.TempDir()
	stored, read := -1, -1 // the highest numbers the child spoke of
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), crashEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var what string
			var i int
			if n, _ := fmt.Sscanf(lines.Text(), "%s %d", &what, &i); n != 2 {
				t.Log(lines.Text())
				continue
			}
			if what == "put" {
				stored = i
			} else {
				read = i
			}
			if seen++; seen == 200+333*round {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		if seen < 200+333*round {
			t.Fatalf("round %d: the child ended by itself", round)
		}
	}
	q := open(t, dir, 4<<20, nil)
	got := drain(t, q)
	// The last acknowledgement may have been kept and not spoken of.
	if len(got) == 0 || got[0] > read+2 || got[len(got)-1] < stored {
		t.Fatalf("%d entries are left; %d was put and %d acknowledged", len(got), stored, read)
	}
	wantRange(t, got, got[0], got[0]+len(got))
	if s := q.Stats(); s.DroppedEntries != 0 {
		t.Errorf("%d entries were dropped; the queue is large enough", s.DroppedEntries)
	}
}

// crashing continues the numbering, checks the order, and puts faster than it reads.
func crashing(t *testing.T, dir string) {
	q := open(t, dir, 4<<20, nil)
	want := -1
	for i := int(q.next); ; i++ {
		put(t, q, i, i+1, 20+i%700)
		fmt.Println("put", i)
		if i%5 == 4 {
			continue
		}
		e, _, err := q.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		n := number(t, e)
		if n != int(e.Seq) || want >= 0 && n != want {
			t.Fatalf("entry %d came with number %d, want %d", n, e.Seq, want)
		}
		want = n + 1
		if err := q.Ack(e); err != nil {
			t.Fatal(err)
		}
		fmt.Println("ack", n)
	}
}

// TestFullDisk: a clear error and a warning, no loss of what is in it, and it
// goes on by itself.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a full disk cannot be tried: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	list := health.New(nil)
	f, err := NewFamily("sink", "sink", nil, list)
	if err != nil {
		t.Fatal(err)
	}
	q := open(t, filepath.Join(dir, "q"), 16<<20, f)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	for err = nil; err == nil && n < 10_000; n++ {
		err = q.Put(entry(n, 1000))
	}
	n--
	if !errors.Is(err, flow.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room on the disk") {
		t.Fatalf("after %d entries: %v", n, err)
	}
	w := list.Active()
	if len(w) != 1 || w[0].Code != "sink-queue-disk" || !strings.Contains(w[0].Text, "no space left") {
		t.Fatalf("warnings: %+v", w)
	}
	// The consumer goes on; acknowledging takes no space.
	for i := range 10 {
		e, _, err := q.TryNext()
		if err != nil || number(t, e) != i {
			t.Fatalf("entry %d: %v", i, err)
		}
		if err := q.Ack(e); err != nil {
			t.Fatal(err)
		}
	}
	if s := q.Stats(); s.Refused != 1 || s.Entries != uint64(n-10) {
		t.Errorf("%+v", s)
	}
	// A crash now, with the disk still full: nothing of it is lost.
	if err := q.cursor.file.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, filepath.Join(dir, "q"), 16<<20, f)
	if s := q.Stats(); s.Entries != uint64(n-10) {
		t.Errorf("%d entries are left, want %d", s.Entries, n-10)
	}
	if err := q.Put(entry(n, 1000)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is still full: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	put(t, q, n, n+100, 1000)
	if w := list.Active(); len(w) != 0 {
		t.Errorf("the warning stays: %+v", w)
	}
	wantRange(t, drain(t, q), 10, n+100)
}

// TestFullDiskOfItsOwnMaking: the segment being written takes all space; once
// everything in it is delivered its space is used again.
func TestFullDiskOfItsOwnMaking(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a full disk cannot be tried: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	q := open(t, filepath.Join(dir, "q"), 64<<20, nil)
	next := 0
	for range 3 {
		var err error
		begin := next
		for err == nil && next-begin < 10_000 {
			if err = q.Put(entry(next, 1000)); err == nil {
				next++
			}
		}
		if !errors.Is(err, syscall.ENOSPC) || next == begin {
			t.Fatalf("after %d entries: %v", next-begin, err)
		}
		wantRange(t, drain(t, q), begin, next)
	}
}
