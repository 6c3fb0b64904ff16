package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func contentOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEachStepFails ends a replacement before each of its steps: the old content is
// there until the new one is on disk as a whole.
func TestEachStepFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "state.json")
	if err := Write(path, 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	steps := []string{"create", "write", "sync", "rename", "syncdir"}
	boom := errors.New("boom")
	for i, at := range steps {
		var done []string
		d := disk{before: func(step string) error {
			if step == at {
				return boom
			}
			done = append(done, step)
			return nil
		}}
		err := d.write(path, 0o600, func(w io.Writer) error {
			_, err := w.Write([]byte("new"))
			return err
		})
		want := "old"
		if at == "syncdir" {
			want = "new"
		}
		if !errors.Is(err, boom) || !slices.Equal(done, steps[:i]) || contentOf(t, path) != want {
			t.Errorf("ended at %s: %v after %v, the file holds %q, want %q", at, err, done, contentOf(t, path), want)
		}
		if _, err := os.Stat(path + unfinished); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ended at %s: something is left beside the file: %v", at, err)
		}
	}
	if err := WriteFrom(path, 0o600, func(io.Writer) error { return boom }); !errors.Is(err, boom) || contentOf(t, path) != "new" {
		t.Errorf("content that fails: %v, the file holds %q", err, contentOf(t, path))
	}
	for at, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(at); err != nil || info.Mode() != want {
			t.Errorf("%s is %v, want %v (%v)", at, info.Mode(), want, err)
		}
	}
}

const writerVariable = "ATOLL_TEST_DURABLE"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerVariable); path != "" {
		for i := 0; ; i++ {
			if err := Write(path, 0o600, versionOf(i)); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// versionOf are contents of different lengths that show whether they are whole.
func versionOf(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i%26)}, 1+i%26*4000) }

// TestKill kills a process that replaces a file all the time: what is there is whole.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for round := range 10 {
		writer := exec.Command(os.Args[0])
		writer.Env = append(os.Environ(), writerVariable+"="+path)
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; { // until it has written something since
			info, err := os.Stat(path)
			if err == nil && info.ModTime().After(time.Now().Add(-time.Second)) || time.Now().After(deadline) {
				break
			}
		}
		<-time.After(time.Duration(round) * 3 * time.Millisecond)
		if err := writer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = writer.Wait() // it was killed
		got := []byte(contentOf(t, path))
		if len(got) == 0 || !bytes.Equal(got, versionOf(int(got[0]-'a'))) {
			t.Fatalf("round %d: %d bytes that are no version", round, len(got))
		}
	}
}
