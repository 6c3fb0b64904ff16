package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue/segment"
	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, bound flow.Bytes, list *health.List) *Journal {
	t.Helper()
	j, err := Open(Options{Dir: dir, MaxBytes: bound, Health: list})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// machine is a state that a journal protects: it counts frames, which must come
// in order and without a hole.
type machine struct{ n uint64 }

func frame(i uint64) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, i), bytes.Repeat([]byte{byte(i)}, int(i%500))...)
}

func (m *machine) apply(b []byte) error {
	if i := binary.LittleEndian.Uint64(b); i != m.n || !bytes.Equal(b, frame(i)) {
		return fmt.Errorf("frame %d came where %d should", i, m.n)
	}
	m.n++
	return nil
}

func (m *machine) save(w io.Writer) error {
	_, err := w.Write(binary.LittleEndian.AppendUint64(nil, m.n))
	return err
}

func (m *machine) load(r io.Reader) error { return binary.Read(r, binary.LittleEndian, &m.n) }

func (m *machine) recover(t *testing.T, j *Journal) {
	t.Helper()
	seq, err := j.LoadCheckpoint(m.load)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(seq, m.apply); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) add(t *testing.T, j *Journal, n int) {
	t.Helper()
	for range n {
		if err := j.Append(frame(m.n)); err != nil {
			t.Fatal(err)
		}
		m.n++
	}
}

func (m *machine) checkpoint(t *testing.T, j *Journal) {
	t.Helper()
	seq, err := j.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	saved := *m
	m.add(t, j, 3) // what comes while the checkpoint is being written
	if err := j.WriteCheckpoint(seq, saved.save); err != nil {
		t.Fatal(err)
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCheckpointAndReplay(t *testing.T) {
	dir := t.TempDir()
	want := machine{}
	for round := range 5 {
		j := open(t, dir, 0, nil)
		got := machine{}
		got.recover(t, j)
		if got != want {
			t.Fatalf("round %d: %d frames came back, want %d", round, got.n, want.n)
		}
		want.add(t, j, 100)
		if round%2 == 0 {
			want.checkpoint(t, j)
			if n := len(segments(t, dir)); n != 1 {
				t.Errorf("%d segments after a checkpoint, want the one behind it", n)
			}
		}
		want.add(t, j, 10)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if err := j.Append(frame(0)); !errors.Is(err, ErrClosed) {
			t.Errorf("append to a closed journal: %v", err)
		}
	}
}

// TestCheckpointAlone: segments that follow a checkpoint without any get numbers
// behind it, or a replay would not see them.
func TestCheckpointAlone(t *testing.T) {
	dir := t.TempDir()
	want := machine{}
	j := open(t, dir, 0, nil)
	want.add(t, j, 10)
	seq, err := j.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.WriteCheckpoint(seq, want.save); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	j = open(t, dir, 0, nil)
	want.add(t, j, 5)
	_ = j.Close()
	got := machine{}
	got.recover(t, open(t, dir, 0, nil))
	if got != want {
		t.Errorf("%d frames came back, want %d", got.n, want.n)
	}
}

func TestFailedCheckpointChangesNothing(t *testing.T) {
	dir := t.TempDir()
	list := health.New(nil)
	j := open(t, dir, 0, list)
	want := machine{}
	want.add(t, j, 50)
	want.checkpoint(t, j)
	want.add(t, j, 50)
	seq, err := j.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := j.WriteCheckpoint(seq, func(w io.Writer) error { _, _ = w.Write(make([]byte, 1<<20)); return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if w := list.Active(); len(w) != 1 || w[0].Code != "aggregate-journal" || !strings.Contains(w[0].Text, "no checkpoint was written") {
		t.Errorf("warnings: %+v", w)
	}
	got := machine{}
	got.recover(t, j)
	if got != want {
		t.Errorf("%d frames came back, want %d", got.n, want.n)
	}
	want.checkpoint(t, j)
	if w := list.Active(); len(w) != 0 {
		t.Errorf("warnings: %+v", w)
	}
}

func TestBound(t *testing.T) {
	list := health.New(nil)
	j := open(t, t.TempDir(), 100<<10, list)
	want := machine{}
	var err error
	for err == nil {
		if err = j.Append(frame(want.n)); err == nil {
			want.n++
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if size, bound := j.Size(); size > bound || size < bound-1000 {
		t.Errorf("%d bytes of %d", size, bound)
	}
	if w := list.Active(); len(w) != 1 || !strings.Contains(w[0].Text, "1 frames were not written") {
		t.Errorf("warnings: %+v", w)
	}
	seq, err := j.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.WriteCheckpoint(seq, want.save); err != nil {
		t.Fatal(err)
	}
	want.add(t, j, 100)
	if w := list.Active(); len(w) != 0 {
		t.Errorf("warnings: %+v", w)
	}
	got := machine{}
	got.recover(t, j)
	if got != want {
		t.Errorf("%d frames came back, want %d", got.n, want.n)
	}
}

func TestDamage(t *testing.T) {
	t.Run("torn", func(t *testing.T) {
		dir := t.TempDir()
		j := open(t, dir, 0, nil)
		want := machine{}
		want.add(t, j, 100)
		_ = j.Close()
		name := segments(t, dir)[0]
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, info.Size()-1); err != nil {
			t.Fatal(err)
		}
		want.n--
		for range 2 {
			j = open(t, dir, 0, nil)
			got := machine{}
			got.recover(t, j)
			if got != want {
				t.Fatalf("%d frames came back, want %d", got.n, want.n)
			}
			want.add(t, j, 10)
			_ = j.Close()
		}
	})
	t.Run("middle", func(t *testing.T) {
		dir := t.TempDir()
		for range 3 {
			j := open(t, dir, 0, nil)
			m := machine{}
			m.add(t, j, 100)
			_ = j.Close()
		}
		name := segments(t, dir)[1]
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := open(t, dir, 0, nil).Replay(0, func([]byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		if n <= 200 || n >= 300 {
			t.Errorf("%d frames came back: all of two segments and a part of one are whole", n)
		}
	})
	t.Run("checkpoint", func(t *testing.T) {
		dir := t.TempDir()
		list := health.New(nil)
		j := open(t, dir, 0, list)
		m := machine{}
		m.add(t, j, 100)
		m.checkpoint(t, j)
		name := filepath.Join(dir, checkpointName)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 4
			if err := os.WriteFile(name, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			seq, err := j.LoadCheckpoint(func(io.Reader) error { t.Errorf("byte %d: a damaged checkpoint was read", i); return nil })
			if seq != 0 || err != nil {
				t.Errorf("byte %d: %d, %v", i, seq, err)
			}
		}
		if w := list.Active(); len(w) != 1 || !strings.Contains(w[0].Text, "set aside") {
			t.Errorf("warnings: %+v", w)
		}
		n := 0
		if err := j.Replay(0, func([]byte) error { n++; return nil }); err != nil || n != 3 {
			t.Errorf("%d frames are left behind the damaged checkpoint, want 3: %v", n, err)
		}
	})
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, 0, nil)
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("opened twice: %v", err)
	}
}

// TestFullDisk: aggregation goes on without checkpoint and journal, says so, and
// both go on by themselves.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a full disk cannot be tried: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	list := health.New(nil)
	j := open(t, filepath.Join(dir, "j"), 0, list)
	t.Cleanup(func() { _ = j.Close() })
	want := machine{}
	want.add(t, j, 10)
	want.checkpoint(t, j)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		if err = j.Append(frame(want.n)); err == nil {
			want.n++
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		t.Fatal(err)
	}
	seq, err := j.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	large := func(w io.Writer) error {
		if err := want.save(w); err != nil {
			return err
		}
		_, err := w.Write(make([]byte, 512<<10))
		return err
	}
	if err := j.WriteCheckpoint(seq, large); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a checkpoint on a full disk: %v", err)
	}
	if w := list.Active(); len(w) != 1 || !strings.Contains(w[0].Text, "checkpoint: ") || !strings.Contains(w[0].Text, "journal: ") {
		t.Errorf("warnings: %+v", w)
	}
	got := machine{}
	got.recover(t, j)
	if got != want {
		t.Errorf("%d frames came back from the full disk, want %d", got.n, want.n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := j.WriteCheckpoint(seq, large); err != nil {
		t.Fatal(err)
	}
	want.add(t, j, 100)
	if w := list.Active(); len(w) != 0 {
		t.Errorf("warnings: %+v", w)
	}
	got = machine{}
	got.recover(t, j)
	if got != want {
		t.Errorf("%d frames came back, want %d", got.n, want.n)
	}
}

const crashEnv = "ATOLL_TEST_JOURNAL_CRASH"

// TestKill kills a process at moments of its own choosing, again and again over
// one journal: every acknowledged frame comes back, in order, once.
func TestKill(t *testing.T) {
	if dir := os.Getenv(crashEnv); dir != "" {
		crashing(t, dir)
		return
	}
	dir := t.TempDir()
	acknowledged := uint64(0)
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
			var i uint64
			if n, _ := fmt.Sscanf(lines.Text(), "stored %d", &i); n != 1 {
				t.Log(lines.Text())
				continue
			}
			acknowledged = i
			if seen++; seen == 100+211*round {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		if seen < 100+211*round {
			t.Fatalf("round %d: the child ended by itself", round)
		}
		j := open(t, dir, 0, nil)
		got := machine{}
		got.recover(t, j)
		if got.n <= acknowledged {
			t.Fatalf("round %d: %d frames came back; number %d was acknowledged", round, got.n, acknowledged)
		}
		_ = j.Close()
	}
}

func crashing(t *testing.T, dir string) {
	j := open(t, dir, 0, nil)
	m := machine{}
	m.recover(t, j)
	for {
		m.add(t, j, 1)
		fmt.Println("stored", m.n-1)
		if m.n%37 == 0 {
			m.checkpoint(t, j)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	var b bytes.Buffer
	if _, err := writeTo(&b, 7, func(w io.Writer) error { _, err := w.Write([]byte("state")); return err }); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-1])
	f.Add([]byte(checkpointMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, content, err := verify(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, segment.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		if _, err := writeTo(&again, seq, func(w io.Writer) error { _, err := io.Copy(w, content); return err }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), b) {
			t.Fatalf("%d bytes were taken for a checkpoint that is written otherwise", len(b))
		}
	})
}

// FuzzReplay opens a journal whose only segment is foreign: it opens, replays what
// is whole, and takes frames behind it.
func FuzzReplay(f *testing.F) {
	good := []byte(segment.Magic)
	for i := range uint64(4) {
		good = segment.AppendFrame(good, frame(i))
	}
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%016x.journal", 3)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if err := j.Append([]byte("last")); err != nil {
			t.Fatal(err)
		}
		var last []byte
		if err := j.Replay(0, func(b []byte) error { last = bytes.Clone(b); return nil }); err != nil {
			t.Fatal(err)
		}
		if string(last) != "last" {
			t.Fatalf("the last frame is %q", last)
		}
	})
}
