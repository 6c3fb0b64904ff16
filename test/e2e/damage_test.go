package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fill writes rounds batches, half a second apart in event time, ending now.
func fill(t *testing.T, i *island, rounds int) *writer {
	t.Helper()
	w := newWriter(t, i, 20)
	start := time.Now().Add(-time.Duration(rounds) * 500 * time.Millisecond).UnixMilli()
	for n := range rounds {
		if err := w.send(start + int64(n)*500); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func newest(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	slices.Sort(files)
	return files[len(files)-1]
}

// TestTornWAL cuts the write-ahead log in the middle of a record, as a power cut
// does, and flips bytes in the middle of it, as a bad disk does.
func TestTornWAL(t *testing.T) {
	for name, damage := range map[string]func(content []byte) []byte{
		"cut": func(b []byte) []byte { return b[:len(b)*2/3] },
		"flipped": func(b []byte) []byte {
			for n := range 16 {
				b[len(b)/2+n] ^= 0xff
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIsland(t, quiet)
			i.up()
			fill(t, i, 200)
			i.kill()
			segment := newest(t, filepath.Join(i.dir, "data/tsdb/wal/0*"))
			content, err := os.ReadFile(segment)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(segment, damage(content), 0o644); err != nil {
				t.Fatal(err)
			}
			i.up()
			got, err := i.value(`count(count_over_time(e2e_sample{series="1"}[1h]))`)
			if err != nil || got != 1 {
				t.Errorf("nothing of what stood before the damage is served: %v, %v", got, err)
			}
			if name == "flipped" {
				if text := warning(t, i, "store-log"); !strings.Contains(text, "data/tsdb/wal") {
					t.Errorf("the warning %q does not say where", text)
				}
			}
			if err := newWriter(t, i, 5).send(time.Now().UnixMilli()); err != nil {
				t.Errorf("write after the repair: %v", err)
			}
		})
	}
}

// warning returns the text of the active warning whose code begins with prefix.
func warning(t *testing.T, i *island, prefix string) string {
	t.Helper()
	all := i.warnings()
	for code, text := range all {
		if strings.HasPrefix(code, prefix) {
			return text
		}
	}
	t.Errorf("no warning %s…: active are %v", prefix, all)
	return ""
}

// TestCorruptedBlock ruins the index of a block: the island sets the block
// aside, names it, and serves the rest.
func TestCorruptedBlock(t *testing.T) {
	i := newIsland(t, quiet+"http: {admin_api: true}\n")
	i.up()
	w := fill(t, i, 50)
	i.stop()
	block := plantBlock(t, filepath.Join(i.dir, "data/tsdb"))
	index := filepath.Join(block, "index")
	content, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	for n := range content {
		content[n] ^= 0x5a
	}
	if err := os.WriteFile(index, content, 0o644); err != nil {
		t.Fatal(err)
	}
	i.up()
	w.verify(i)
	if text := warning(t, i, "store-block"); !strings.Contains(text, filepath.Base(block)) {
		t.Errorf("the warning %q does not name the block", text)
	}
	if _, err := os.Stat(filepath.Join(i.dir, "data/tsdb/quarantine", filepath.Base(block))); err != nil {
		t.Errorf("the block was not set aside: %v", err)
	}
}

// TestCorruptedHeadChunk ruins the memory-mapped chunks of the head: what the
// write-ahead log still has is served, and the damage is reported.
func TestCorruptedHeadChunk(t *testing.T) {
	i := newIsland(t, quiet)
	i.up()
	w := fill(t, i, 600) // chunks are mapped at 120 samples
	i.stop()             // a stop maps what is not yet
	file := newest(t, filepath.Join(i.dir, "data/tsdb/chunks_head/0*"))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) < 1024 {
		t.Fatalf("%s has %d bytes: no chunk was mapped", file, len(content))
	}
	for n := 600; n < 700; n++ {
		content[n] ^= 0xff
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	i.up()
	w.verify(i) // the log still holds everything
	warning(t, i, "store-head-chunk")
}

// TestFullDisk fills a small file system under a running island.
func TestFullDisk(t *testing.T) {
	needRoot(t, "mounts a tmpfs")
	dir := t.TempDir()
	mount(t, dir, "size=48m")
	i := newIslandIn(t, dir, quiet+"budget: {disk: {reserve: 8MiB}}\n")
	i.up()
	w := fill(t, i, 50)

	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	var refused error
	ts := time.Now().UnixMilli()
	eventually(t, time.Minute, "refusing writes", func() error {
		ts++
		if refused = w.send(ts); refused == nil {
			return fmt.Errorf("a write was accepted")
		}
		return nil
	})
	if !strings.Contains(refused.Error(), "503") || !strings.Contains(refused.Error(), "reserve") && !strings.Contains(refused.Error(), "space") {
		t.Errorf("refusal %q, want 503 and a text about the disk", refused)
	}
	w.verify(i) // queries go on
	if len(i.warnings()) == 0 {
		t.Error("no health warning while the disk is full")
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "accepting writes again", func() error {
		ts++
		return w.send(ts)
	})
	w.verify(i)
	i.kill()
	i.up()
	w.verify(i)
}
