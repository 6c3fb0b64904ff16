package replica

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/trust"
)

// TestFullDisk fills a small file system: writing fails with a clear error, what was
// acknowledged stays readable, and writing goes on once there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount a small file system (needs root): %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	f := bareFleet(t)
	x := f.add("x", "island", func(o *Options) { o.Path = filepath.Join(dir, "replica.db"); o.bolt.noSync = false })
	f.must(x.Put(t.Context(), f.genesis...))
	ballast := filepath.Join(dir, "ballast")
	f.must(os.WriteFile(ballast, make([]byte, 2<<20), 0o600))
	stored := 0
	var err error
	for ; err == nil && stored < 100; stored++ {
		_, err = x.Set(t.Context(), fmt.Sprintf("rules/r%d", stored), bytes.Repeat([]byte("x"), 100<<10), 0)
	}
	stored--
	if !errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("after %d documents: %v; want what happened and what to do", stored, err)
	}
	if !x.warned("replica-write-failed") {
		t.Error("no health warning")
	}
	if got := len(x.List("rules/")); got != stored {
		t.Errorf("%d documents are readable, %d were acknowledged", got, stored)
	}
	f.must(os.Remove(ballast))
	x.set("rules/after", "x")
	if x.warned("replica-write-failed") {
		t.Error("the warning stays after writing goes on")
	}
	f.must(x.Close())
	x.srv.Stop()
	x.open(func(o *Options) { o.Path = filepath.Join(dir, "replica.db") })
	if got := len(x.List("rules/")); got != stored+1 {
		t.Errorf("after a restart %d documents, want %d", got, stored+1)
	}
}

// TestFailedCommit: what could not be written is neither shown nor announced.
func TestFailedCommit(t *testing.T) {
	f := bareFleet(t)
	broken := false
	x := f.add("x", "island", func(o *Options) {
		o.bolt.fail = func() error {
			if broken {
				return errors.New("input/output error")
			}
			return nil
		}
	})
	f.must(x.Put(t.Context(), f.genesis...))
	root := x.Root()
	broken = true
	events, cancel := x.Watch("")
	defer cancel()
	if _, err := x.Set(t.Context(), "rules/a", nil, 0); !errors.Is(err, ErrStorage) {
		t.Errorf("set: %v, want a storage error", err)
	}
	f.must(errOrNil(!bytes.Equal(root, x.Root()), "the root changed"))
	broken = false
	x.set("rules/b", "x")
	if e := <-events; e.Key != "rules/b" {
		t.Errorf("the first event is of %q, want rules/b", e.Key)
	}
}

func errOrNil(bad bool, text string) error {
	if bad {
		return errors.New(text)
	}
	return nil
}

const crashEnv = "ATOLL_TEST_REPLICA_CRASH"

// TestKill kills a process that writes, at moments of its own choosing, again and
// again over one file: every acknowledged version, or a later one, is there.
func TestKill(t *testing.T) {
	if dir := os.Getenv(crashEnv); dir != "" {
		crashingWriter(t, dir)
		return
	}
	dir := t.TempDir()
	acknowledged := map[string]uint64{}
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.v")
		cmd.Env = append(os.Environ(), crashEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		seen := 0
		for lines.Scan() {
			var key string
			var at uint64
			if n, _ := fmt.Sscanf(lines.Text(), "stored %s %d", &key, &at); n != 2 {
				continue
			}
			acknowledged[key] = max(acknowledged[key], at)
			if seen++; seen == 20+37*round {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if seen < 20 {
			t.Fatalf("round %d: the writer acknowledged %d documents and ended by itself", round, seen)
		}
		checkAfterCrash(t, dir, acknowledged)
	}
}

func checkAfterCrash(t *testing.T, dir string, acknowledged map[string]uint64) {
	t.Helper()
	f := bareFleet(t)
	x := f.add("writer", "island", func(o *Options) { o.Path = filepath.Join(dir, "replica.db") })
	defer x.stop()
	for key, at := range acknowledged {
		if d, err := x.Get(key); err != nil || d.GetTime() < at {
			t.Errorf("%s: %v, version %d; version %d was acknowledged", key, err, d.GetTime(), at)
		} else if err := trust.VerifyDocument(f.network, d); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if x.Now() <= 0 || x.warned("replica-file-damaged") {
		t.Error("the file is damaged")
	}
}

func crashingWriter(t *testing.T, dir string) {
	f := bareFleet(t)
	x := f.add("writer", "island", func(o *Options) { o.Path = filepath.Join(dir, "replica.db"); o.bolt.noSync = false })
	if len(x.Keys("network/")) == 0 {
		f.must(x.Put(t.Context(), f.genesis...))
	}
	deadline := time.Now().Add(time.Minute)
	for i := 0; time.Now().Before(deadline); i++ {
		d := x.set(fmt.Sprintf("rules/r%d", i%50), strings.Repeat("x", i%3000))
		fmt.Printf("stored %s %d\n", d.GetKey(), d.GetTime())
	}
}

// TestDamagedDocument: one that cannot be read is set aside with a warning, and
// comes back from another island.
func TestDamagedDocument(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	a.set("rules/a", "x")
	f.settle()
	f.must(a.store.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(a.store.b.documents).Put([]byte("rules/a"), []byte("garbage"))
	}))
	a.stop()
	a.open()
	if !a.warned("replica-file-damaged") || a.value("rules/a") != "" {
		t.Errorf("warned: %v, value %q", a.warned("replica-file-damaged"), a.value("rules/a"))
	}
	a.sync(b)
	if a.value("rules/a") != "x" {
		t.Error("the document did not come back")
	}
}

// TestOpenErrors name what is wrong and what to do.
func TestOpenErrors(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	o := x.options()
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a file in use: %v", err)
	}
	x.stop()
	o.Network = trust.NetworkOf(keyOf(t, "another root").Public())
	if _, err := New(o); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("another network's file: %v", err)
	}
	// The next layout, whatever it will be.
	db, err := bbolt.Open(o.Path, 0o600, nil)
	f.must(err)
	f.must(db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(buckets().meta).Put([]byte("network"), append([]byte{layout + 1}, o.Network.Bytes()...))
	}))
	f.must(db.Close())
	if _, err := New(o); err == nil || errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "another version") {
		t.Errorf("a newer version's file: %v", err)
	}
	full := filepath.Join(t.TempDir(), "x")
	f.must(os.Symlink("/dev/full", full))
	if _, err := openStore(full, o.Network.Bytes(), boltOptions{}); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space") || strings.Contains(err.Error(), "move") {
		t.Errorf("a new file on a full disk: %v", err)
	}
	o.Path = filepath.Join(t.TempDir(), "x")
	f.must(os.WriteFile(o.Path, bytes.Repeat([]byte("no bolt file "), 2000), 0o600))
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("no bolt file: %v", err)
	}
	if _, err := New(Options{Config: Default()}); err == nil {
		t.Error("a replica without anything was made")
	}
}
