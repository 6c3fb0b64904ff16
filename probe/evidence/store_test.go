package evidence

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func idAt(t time.Time, n int) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(t)) // before the year 10889
	id[15] = byte(n)
	return id.String()
}

func bundle(at time.Time, n, size int) *Manifest {
	noise := make([]byte, size)
	for i, x := 0, uint32(n+1); i < size; i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	return &Manifest{
		Failure: idAt(at, n), Definition: "shop", Target: "https://shop.example.com/", Vantage: "eu-1", Role: Failing,
		At: at, Began: at, Gathered: at.Add(time.Second), Code: "connect_timeout", Words: "no answer",
		Files:   []File{{Name: "trace.json", Content: []byte("{}")}, {Name: "flow.pcapng", Content: noise}},
		Missing: map[string]string{"chain.pem": "no TLS"},
	}
}

func open(t *testing.T, dir string, most int64) *Store {
	t.Helper()
	s, err := New(Options{Dir: dir, MaxBytes: most, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeptOverRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	s := open(t, dir, 1<<20)
	want := bundle(noon, 1, 1000)
	if err := s.Put(want, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(bundle(noon, 1, 10), nil); err == nil {
		t.Error("an ID was taken twice")
	}
	// What a crash leaves, and what is somebody else's.
	for _, name := range []string{idAt(noon, 2) + ".zip.new", "README"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, 1<<20)
	got, err := s.Manifest(want.Failure)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Files {
		content, err := s.File(want.Failure, want.Files[i].Name, 1<<16)
		if err != nil || !bytes.Equal(content, want.Files[i].Content) {
			t.Errorf("%s: %d bytes, %v", want.Files[i].Name, len(content), err)
		}
		want.Files[i].Content = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := s.File(want.Failure, "flow.pcapng", 999); err == nil {
		t.Error("more was read than asked for")
	}
	if n, _ := s.Room(); n != 1 {
		t.Errorf("%d bundles, want 1", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "README")); err != nil {
		t.Error("a foreign file went:", err)
	}
	if _, err := os.Stat(filepath.Join(dir, idAt(noon, 2)+".zip.new")); err == nil {
		t.Error("what a crash left is there")
	}
	for _, id := range []string{idAt(noon, 9), "../" + want.Failure, "", "README"} {
		if _, _, err := s.Archive(id); !errors.Is(err, ErrGone) {
			t.Errorf("%q: %v, want ErrGone", id, err)
		}
	}
}

func TestRoom(t *testing.T) {
	s := open(t, t.TempDir(), 10_000)
	if err := s.Put(bundle(noon, 0, 20_000), nil); err == nil || !strings.Contains(err.Error(), "at most 10000") {
		t.Errorf("a bundle larger than the store: %v", err)
	}
	for n := range 10 {
		if err := s.Put(bundle(noon.Add(time.Duration(n)*time.Minute), n, 2000), nil); err != nil {
			t.Fatal(err)
		}
		if _, size := s.Room(); size > 10_000 {
			t.Fatalf("%d bytes after bundle %d", size, n)
		}
	}
	all := s.List(100, nil)
	if len(all) < 3 || all[0].Failure != idAt(noon.Add(9*time.Minute), 9) || all[len(all)-1].Failure >= all[0].Failure {
		t.Errorf("the newest are not kept, or not first: %d", len(all))
	}
	if got := s.List(1, func(m *Manifest) bool { return m.At.Before(noon.Add(9 * time.Minute)) }); len(got) != 1 || got[0].Failure != idAt(noon.Add(8*time.Minute), 8) {
		t.Errorf("the newest that matches: %v", got)
	}
	// Bundles that were read once are let go like others.
	s.Limit(10_000, time.Hour)
	if err := s.Expire(noon.Add(time.Hour + 8*time.Minute + time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Room(); n != 1 || len(s.List(10, nil)) != 1 {
		t.Errorf("%d bundles are young enough, want 1", n)
	}
	s.Limit(0, time.Hour)
	if err := s.Expire(noon); err != nil {
		t.Fatal(err)
	}
	if n, size := s.Room(); n != 0 || size != 0 {
		t.Errorf("%d bundles, %d bytes in no room", n, size)
	}
}

// TestLost loses the store's directory while it runs: nothing is said to be kept.
func TestLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	s := open(t, dir, 1<<20)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(bundle(noon, 1, 10), nil); err == nil {
		t.Error("kept nowhere")
	}
	if n, size := s.Room(); n != 0 || size != 0 {
		t.Errorf("%d bundles, %d bytes", n, size)
	}
}

func TestRefused(t *testing.T) {
	s := open(t, t.TempDir(), 1<<20)
	for name, change := range map[string]func(*Manifest){
		"no id":     func(m *Manifest) { m.Failure = "x" },
		"lower id":  func(m *Manifest) { m.Failure = strings.ToLower(m.Failure) },
		"reference": func(m *Manifest) { m.Counterpart = &Reference{Vantage: "oslo", Failure: ".."} },
		"long text": func(m *Manifest) { m.Words = strings.Repeat("x", 5000) },
		"failure":   func(m *Manifest) { m.Failure = "../x" },
		"role":      func(m *Manifest) { m.Role = "judge" },
		"path":      func(m *Manifest) { m.Files[0].Name = "../../etc/passwd" },
		"twice":     func(m *Manifest) { m.Files[0].Name = m.Files[1].Name },
		"manifest":  func(m *Manifest) { m.Files[0].Name = manifestName },
		"too many":  func(m *Manifest) { m.Files = make([]File, mostFiles+1) },
		"dot files": func(m *Manifest) { m.Files[0].Name = ".bashrc" },
	} {
		m := bundle(noon, 1, 10)
		change(m)
		if err := s.Put(m, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if n, _ := s.Room(); n != 0 {
		t.Errorf("%d bundles were kept", n)
	}
}

// TestBombs reads no more of an archive than it says.
func TestBombs(t *testing.T) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	part, err := w.Create(manifestName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(part, zeros{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadManifest(bytes.NewReader(out.Bytes()), int64(out.Len())); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a manifest of 64 MiB of nothing: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzReadManifest(f *testing.F) {
	good, err := archive(bundle(noon, 1, 100))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("PK"))
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := ReadManifest(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if strings.ContainsAny(file.Name, "/\\") {
				t.Fatal("a path came through:", fmt.Sprintf("%q", file.Name))
			}
		}
	})
}
