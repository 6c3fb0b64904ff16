package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// noise is a value that does not compress, so that records span log pages.
func noise(r *running, rnd *rand.Rand, ts int64, n int) {
	r.t.Helper()
	app := r.AppenderV2(r.t.Context())
	for i := range n {
		if _, err := app.Append(0, series(i), 0, ts, rnd.Float64(), nil, nil, storage.AOptions{}); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

func TestImageTakenWhileWriting(t *testing.T) {
	c := config(t.TempDir())
	c.OutOfOrderWindow = model.Duration(1 << 40)
	r := start(t, c)
	rnd := rand.New(rand.NewPCG(1, 2))
	for ts := range int64(50) {
		noise(r, rnd, 1000*ts, 500)
	}
	noise(r, rnd, 500, 500) // out of order
	want := read(t, r)
	image := copyDir(t, c.Path)
	c.Path = image
	again := start(t, c)
	if diff := cmp.Diff(want, read(t, again)); diff != "" {
		t.Errorf("committed samples are missing from the crash image:\n%s", diff[:min(len(diff), 500)])
	}
	if text := again.warning("store-log-repaired"); text != "" {
		t.Errorf("a whole log was reported as damaged: %s", text)
	}
}

// TestTornLog cuts the last segment anywhere: what lies before the cut must all
// be there, and nothing that was never written.
func TestTornLog(t *testing.T) {
	c := config(t.TempDir())
	r := start(t, c)
	rnd := rand.New(rand.NewPCG(3, 4))
	var ends []int64 // size of the segment after each commit
	segment := wlog.SegmentName(filepath.Join(c.Path, "wal"), 0)
	for ts := range int64(40) {
		noise(r, rnd, 1000*ts, 300)
		st, err := os.Stat(segment)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, st.Size())
	}
	want := read(t, r)
	for range 25 {
		at := rnd.Int64N(ends[len(ends)-1])
		c.Path = copyDir(t, r.Dir())
		if err := os.Truncate(wlog.SegmentName(filepath.Join(c.Path, "wal"), 0), at); err != nil {
			t.Fatal(err)
		}
		again := start(t, c)
		got := read(t, again)
		for i, times := range got {
			for ts, v := range times {
				if want[i][ts] != v {
					t.Fatalf("cut at %d: series %s at %d is %v, was %v", at, i, ts, v, want[i][ts])
				}
			}
		}
		whole := 0
		for _, end := range ends {
			if end <= at {
				whole++
			}
		}
		if got.count() != 300*whole {
			t.Errorf("cut at %d: read %d samples, want those of the %d commits before the cut", at, got.count(), whole)
		}
		noise(again, rnd, 100_000, 300) // and it goes on
		again.stop()
	}
}

// TestDamagedLogSegment flips bytes in the middle of the middle segment: only the
// rest of that segment may be missing.
func TestDamagedLogSegment(t *testing.T) {
	c := config(t.TempDir())
	rnd := rand.New(rand.NewPCG(5, 6))
	for part := range int64(3) { // each opening begins a segment
		r := start(t, c)
		for ts := range int64(20) {
			noise(r, rnd, part*100_000+1000*ts, 300)
		}
		r.stop()
	}
	damaged := wlog.SegmentName(filepath.Join(c.Path, "wal"), 1)
	st, err := os.Stat(damaged)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, damaged, st.Size()/2, 8)
	r := start(t, c)
	got := read(t, r)
	if n := got.count(); n < 300*(20+8+20) || n >= 300*60 {
		t.Errorf("read %d samples; want all of the first and third segment and half of the second", n)
	}
	wantText(t, r.warning("store-log-repaired"), damaged, "KiB behind it is lost")
	if lost := r.metric("atoll_store_log_lost_bytes_total"); lost < float64(st.Size())/4 || lost > float64(st.Size()) {
		t.Errorf("atoll_store_log_lost_bytes_total = %v of a segment of %d bytes", lost, st.Size())
	}
	r.stop()
	r = start(t, c)
	if n := read(t, r).count(); n != got.count() {
		t.Errorf("read %d samples after one more start, %d before", n, got.count())
	}
	if text := r.warning("store-log-repaired"); text != "" {
		t.Errorf("the mended log is still called damaged: %s", text)
	}
}

func TestMissingLogSegment(t *testing.T) {
	c := config(t.TempDir())
	for part := range int64(3) {
		r := start(t, c)
		mustAppend(t, r, part*1000, 10)
		r.stop()
	}
	if err := os.Remove(wlog.SegmentName(filepath.Join(c.Path, "wal"), 1)); err != nil {
		t.Fatal(err)
	}
	r := start(t, c)
	if n := read(t, r).count(); n != 20 {
		t.Errorf("read %d samples, want 20", n)
	}
	wantText(t, r.warning("store-log-repaired"), "log segments 1 to 1 are missing")
}

// truncatedLog returns the directory of a stopped store whose log begins with a
// checkpoint, and what it holds.
func truncatedLog(t *testing.T) (Config, samples) {
	t.Helper()
	c := config(t.TempDir())
	c.Retention.Time = 0
	for part := range int64(4) { // a log is cut off by whole segments
		r := start(t, c)
		for ts := part * 2 * hour; ts < (part+1)*2*hour; ts += 60_000 {
			mustAppend(t, r, ts, 50)
		}
		r.compactNow()
		if part < 3 {
			r.stop()
			continue
		}
		want := read(t, r)
		r.stop()
		glob(t, c.Path, "wal", "checkpoint.*")
		return c, want
	}
	panic("unreachable")
}

// TestDamagedCheckpoint: left to itself the TSDB would delete the whole log.
func TestDamagedCheckpoint(t *testing.T) {
	c, want := truncatedLog(t)
	checkpoint := glob(t, c.Path, "wal", "checkpoint.*", "0*")[0]
	flip(t, checkpoint, 20, 4)
	size := func() (sum int64) {
		for _, seg := range glob(t, c.Path, "wal", "0*") {
			st, err := os.Stat(seg)
			if err != nil {
				t.Fatal(err)
			}
			sum += st.Size()
		}
		return sum
	}
	before := size()
	r := start(t, c)
	wantText(t, r.warning("store-log-repaired"), checkpoint)
	if after := size(); after != before {
		t.Errorf("the segments held %d bytes, now %d", before, after)
	}
	got := read(t, r)
	for i := range want {
		if len(got[i]) < len(want[i])/2 {
			t.Errorf("series %s has %d of %d samples left; the blocks alone hold more", i, len(got[i]), len(want[i]))
		}
	}
	mustAppend(t, r, 9*hour, 50)
}

func TestMissingLogBehindACheckpoint(t *testing.T) {
	c, _ := truncatedLog(t)
	for _, seg := range glob(t, c.Path, "wal", "0*") {
		if err := os.Remove(seg); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r := start(t, c)
		if err := appendFloats(r, 9*hour, 50); err != nil && !strings.Contains(err.Error(), "duplicate") {
			t.Fatal(err)
		}
		if n := len(read(t, r)["0"]); n == 0 {
			t.Error("the blocks are not served")
		}
		if _, ok := read(t, r)["0"][9*hour]; !ok {
			t.Error("what was logged after the loss did not survive a restart")
		}
		r.stop()
	}
}

// TestInterruptedRepair: the TSDB moves a damaged segment aside to write it anew;
// a crash in between leaves it under another name.
func TestInterruptedRepair(t *testing.T) {
	c := config(t.TempDir())
	r := start(t, c)
	mustAppend(t, r, 1000, 10)
	r.stop()
	segment := wlog.SegmentName(filepath.Join(c.Path, "wal"), 0)
	if err := os.Rename(segment, segment+".repair"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segment, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	if n := read(t, r).count(); n != 10 {
		t.Errorf("read %d samples, want 10", n)
	}
}

func TestDamagedHeadChunks(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, file string){
		"header": func(t *testing.T, file string) { flip(t, file, 0, 4) },
		"body":   func(t *testing.T, file string) { flip(t, file, 200, 4) },
		"torn": func(t *testing.T, file string) {
			if err := os.Truncate(file, 333); err != nil {
				t.Fatal(err)
			}
		},
		"short": func(t *testing.T, file string) {
			if err := os.Truncate(file, 6); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir())
			r := start(t, c)
			for ts := range int64(400) { // several chunks a series
				mustAppend(t, r, 1000*ts, 20)
			}
			want := read(t, r)
			r.cur.Load().db.ForceHeadMMap()
			r.stop()
			file := glob(t, c.Path, "chunks_head", "0*")[0]
			damage(t, file)
			r = start(t, c)
			if diff := cmp.Diff(want, read(t, r)); diff != "" {
				t.Errorf("not everything was rebuilt from the log:\n%s", diff[:min(len(diff), 500)])
			}
			wantText(t, r.warning("store-head-chunks-repaired"), filepath.Base(file), "rebuilt from the log")
			if r.metric("atoll_store_head_chunk_repairs_total") == 0 {
				t.Error("atoll_store_head_chunk_repairs_total is 0")
			}
		})
	}
}

// withBlocks returns the directory of a stopped store with several blocks.
func withBlocks(t *testing.T) (Config, samples) {
	t.Helper()
	c := config(t.TempDir())
	c.Retention.Time = 0
	r := start(t, c)
	fillBlocks(t, r, 12, 20)
	want := read(t, r)
	r.stop()
	return c, want
}

func TestDamagedBlockIsSetAside(t *testing.T) {
	c, want := withBlocks(t)
	sound := c.Path
	for name, damage := range map[string]func(t *testing.T, block string){
		"index table":  func(t *testing.T, b string) { flip(t, filepath.Join(b, "index"), -30, 8) },
		"index header": func(t *testing.T, b string) { flip(t, filepath.Join(b, "index"), 0, 4) },
		"empty index":  func(t *testing.T, b string) { write(t, filepath.Join(b, "index"), "") },
		"no index":     func(t *testing.T, b string) { remove(t, filepath.Join(b, "index")) },
		"chunk header": func(t *testing.T, b string) { flip(t, glob(t, b, "chunks", "*")[0], 0, 4) },
		"meta garbage": func(t *testing.T, b string) { flip(t, filepath.Join(b, "meta.json"), 0, 9) },
		"meta empty":   func(t *testing.T, b string) { write(t, filepath.Join(b, "meta.json"), "") },
		"no meta":      func(t *testing.T, b string) { remove(t, filepath.Join(b, "meta.json")) },
		"meta of another": func(t *testing.T, b string) {
			text, err := os.ReadFile(filepath.Join(b, "meta.json"))
			if err != nil {
				t.Fatal(err)
			}
			id := []byte(filepath.Base(b))
			write(t, filepath.Join(b, "meta.json"), string(bytes.ReplaceAll(text, id, append([]byte("01"), id[2:24]...))))
		},
		"tombstones": func(t *testing.T, b string) { write(t, filepath.Join(b, "tombstones"), "garbage") },
	} {
		t.Run(name, func(t *testing.T) {
			c.Path = copyDir(t, sound)
			block := glob(t, c.Path, "01*")[0]
			write(t, filepath.Join(c.Path, "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-creation", "index"), "half")
			damage(t, block)
			for range 2 { // the warning lasts over restarts
				r := start(t, c)
				got := read(t, r)
				if n := got.count(); n == 0 || n >= want.count() {
					t.Errorf("read %d of %d samples, want all but the block's", n, want.count())
				}
				if _, err := os.Stat(filepath.Join(c.Path, "quarantine", filepath.Base(block), "chunks")); err != nil {
					t.Errorf("the block was not kept: %v", err)
				}
				wantText(t, r.warning("store-block-quarantined"), filepath.Base(block))
				if !strings.HasPrefix(name, "meta") && name != "no meta" {
					wantText(t, r.warning("store-block-quarantined"), " to 1970-01-01T")
				}
				if r.metric("atoll_store_quarantined_blocks") != 1 {
					t.Error("atoll_store_quarantined_blocks is not 1")
				}
				if strings.Contains(strings.Join(glob(t, c.Path, "*"), " "), ".tmp-for-creation") {
					t.Error("an unfinished block was left behind")
				}
				r.compactNow()
				r.stop()
			}
		})
	}
}

// TestScrub: damage behind the headers is found by the background check; the
// rest of the block is served on, and a query for the damaged part says why not.
func TestScrub(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, block string){
		"chunk": func(t *testing.T, b string) { flip(t, glob(t, b, "chunks", "*")[0], 100, 4) },
		"series": func(t *testing.T, b string) {
			st, err := os.Stat(filepath.Join(b, "index"))
			if err != nil {
				t.Fatal(err)
			}
			flip(t, filepath.Join(b, "index"), st.Size()/2, 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := withBlocks(t)
			block := glob(t, c.Path, "01*")[0]
			damage(t, block)
			c.ScrubRate = 1 << 30
			r := start(t, c, func(s *Store) { s.every.scrubAfter = 0 })
			eventually(t, "the damage is reported", func() bool { return r.warning("store-block-damaged") != "" })
			wantText(t, r.warning("store-block-damaged"), filepath.Base(block), map[string]string{
				"chunk":  "1 series unreadable, the first is {__name__=\"m\", i=\"1\"}: checksum mismatch",
				"series": "invalid checksum",
			}[name])
			if r.metric("atoll_store_damaged_blocks") != 1 {
				t.Error("atoll_store_damaged_blocks is not 1")
			}
			if name == "chunk" {
				_, err := tryRead(r)
				wantText(t, fmt.Sprint(err), "cannot populate chunk", "checksum mismatch")
			}
			q, err := r.Querier(0, 1<<60)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "i", "7"))
			for set.Next() {
			}
			if name == "chunk" && set.Err() != nil {
				t.Errorf("a sound series of the block: %v", set.Err())
			}
		})
	}
}

func TestScrubOfSoundBlocks(t *testing.T) {
	c, want := withBlocks(t)
	c.ScrubRate = 64 << 10
	r := start(t, c, func(s *Store) { s.every.scrubAfter = 0 })
	eventually(t, "blocks are read", func() bool { return r.metric("atoll_store_scrubbed_bytes_total") > 0 })
	if text := r.warning("store-block-damaged"); text != "" {
		t.Errorf("sound blocks are called damaged: %s", text)
	}
	if n := read(t, r).count(); n != want.count() {
		t.Errorf("read %d samples, want %d", n, want.count())
	}
	r.stop() // in the middle of the check, at this rate
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
