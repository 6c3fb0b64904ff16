package bucket

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/tsdb"
)

func directoryConfig(t testing.TB) Config {
	c := Default()
	c.Type, c.Directory, c.Prefix = Filesystem, t.TempDir(), "eu/one"
	return c
}

func eachKind(t *testing.T, f func(t *testing.T, c Config)) {
	t.Run("filesystem", func(t *testing.T) { f(t, directoryConfig(t)) })
	t.Run("s3", func(t *testing.T) { f(t, newServer(t).config(t)) })
}

func TestUpload(t *testing.T) {
	eachKind(t, func(t *testing.T, c Config) {
		s := newSite(t)
		one, two := s.cut(0), s.cut(1)
		b := s.open(c)
		if b.Uploaded(one) || b.Deletable(one) {
			t.Error("a block may go before it was uploaded")
		}
		b.settle(t)
		exactly(t, b.cur.Load(), one.ULID, two.ULID)
		if !b.Uploaded(one) || !b.Deletable(two) {
			t.Error("a block that was uploaded may not go")
		}
		text := raw(t, b.cur.Load())[one.ULID.String()+"/"+metaFile]
		var m struct {
			tsdb.BlockMeta
			Thanos map[string]any `json:"thanos"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one, m.BlockMeta); diff != "" {
			t.Errorf("meta.json: %s", diff)
		}
		want := map[string]any{"island": "one", "region": "eu"}
		if diff := cmp.Diff(want, m.Thanos["labels"]); diff != "" {
			t.Errorf("labels: %s", diff)
		}
		if diff := cmp.Diff(map[string]any{"resolution": 0.0}, m.Thanos["downsample"]); diff != "" {
			t.Errorf("downsample: %s", diff)
		}
	})
}

func TestMetaIsSentLast(t *testing.T) {
	server, s := newServer(t), newSite(t)
	m := s.cut(0)
	s.open(server.config(t)).settle(t)
	var puts []string
	for _, r := range server.requests() {
		if key, ok := strings.CutPrefix(r, "PUT eu/one/"+m.ULID.String()+"/"); ok {
			puts = append(puts, key)
		}
	}
	if diff := cmp.Diff([]string{"chunks/000001", "index", "meta.json"}, puts); diff != "" {
		t.Error(diff)
	}
}

// Neither a second round, nor a new process, nor one whose notes were lost sends
// anything again, also after the block was merged here or there.
func TestNeverTwice(t *testing.T) {
	server, s := newServer(t), newSite(t)
	one, two := s.cut(0), s.cut(1)
	c := server.config(t)
	first := s.open(c)
	first.settle(t)
	puts := func() (n int) {
		for _, r := range server.requests() {
			if strings.HasPrefix(r, "PUT") {
				n++
			}
		}
		return n
	}
	before := puts()
	again := func(what string) {
		t.Helper()
		b := s.open(c)
		b.settle(t)
		if puts() != before {
			t.Errorf("%s: sent again", what)
		}
		metas, err := s.blocks()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metas {
			if !b.Uploaded(m) {
				t.Errorf("%s: block %s does not count as uploaded", what, m.ULID)
			}
		}
	}
	again("a new process")
	merge(t, s.store, one.ULID, two.ULID)
	again("merged here")
	if err := os.Remove(filepath.Join(s.dir, "uploads.json")); err != nil {
		t.Fatal(err)
	}
	again("merged here, notes lost")
	compactThere(t, first.cur.Load(), one.ULID, two.ULID)
	before = puts()
	again("merged there, sources removed")
	if err := os.Remove(filepath.Join(s.dir, "uploads.json")); err != nil {
		t.Fatal(err)
	}
	again("merged there, notes lost")
}

// compactThere does what Thanos Compact does: merges blocks and removes them.
func compactThere(t *testing.T, p *place, ids ...ulid.ULID) *Meta {
	t.Helper()
	dir := t.TempDir()
	for key, text := range raw(t, p) {
		path := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	m := merge(t, dir, ids...)
	other := &Bucket{o: Options{StoreDir: dir}, now: time.Now}
	files, err := other.files(m.ULID)
	if err != nil {
		t.Fatal(err)
	}
	meta := other.describe(m, ownLabels, files)
	meta.Thanos.Source = "compactor"
	for i := range meta.Thanos.Files {
		meta.Thanos.Files[i].Hash = nil
	}
	ctx := context.Background()
	for _, f := range files {
		if err := p.put(ctx, m.ULID.String()+"/"+f.rel, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.sendMeta(ctx, p, meta, nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		there, err := other.found(ctx, p, id)
		if err != nil {
			t.Fatal(err)
		}
		for rel := range there {
			if err := p.remove(ctx, id.String()+"/"+rel); err != nil {
				t.Fatal(err)
			}
		}
	}
	return meta
}

// A block that the TSDB rewrote without deleted samples is not sent beside the one
// that it was made of.
func TestRewrittenIsNotSentAgain(t *testing.T) {
	s := newSite(t)
	old := s.cut(0)
	c := directoryConfig(t)
	s.open(c).settle(t)
	next := s.cut(0)
	next.Compaction.Parents = []tsdb.BlockDesc{{ULID: old.ULID, MinTime: old.MinTime, MaxTime: old.MaxTime}}
	writeMeta(t, s.store, next)
	if err := os.RemoveAll(filepath.Join(s.store, old.ULID.String())); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b := s.open(c)
		b.settle(t)
		exactly(t, b.cur.Load(), old.ULID)
		if q, err := b.Querier(next.MinTime, next.MaxTime); q != nil || err != nil {
			t.Errorf("the bucket is asked for what was deleted here: %v", err)
		}
	}
}

func writeMeta(t *testing.T, dir string, m tsdb.BlockMeta) {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, m.ULID.String(), metaFile), text, 0o666); err != nil {
		t.Fatal(err)
	}
}

// What was begun is removed when the block is gone, also the parts of an upload
// that has no object yet, and nothing of others.
func TestUnfinishedIsSwept(t *testing.T) {
	server, s := newServer(t), newSite(t)
	foreign := ulid.MustParse("01HF0000000000000000000000")
	m := s.cut(0)
	b := s.open(server.config(t))
	p := b.cur.Load()
	put(t, p, foreign.String()+"/index", "of someone else")
	if _, err := p.objects.(*s3).core.NewMultipartUpload(context.Background(), bucketName, "eu/one/"+m.ULID.String()+"/index", noOptions); err != nil {
		t.Fatal(err)
	}
	server.set(func(_ int, r *http.Request) fault {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, metaFile) {
			return refused
		}
		return sound
	})
	if err := b.once(); err == nil {
		t.Fatal("a round went through without meta.json")
	}
	server.set(nil)
	if err := os.RemoveAll(filepath.Join(s.store, m.ULID.String())); err != nil {
		t.Fatal(err)
	}
	b = s.open(server.config(t))
	b.settle(t)
	got := raw(t, b.cur.Load())
	if len(got) != 1 || got[foreign.String()+"/index"] == nil {
		t.Errorf("left in the bucket: %v", keys(got))
	}
	if n := testutil.ToFloat64(b.m.swept); n != 1 {
		t.Errorf("%v blocks swept, want 1", n)
	}
}

func keys(m map[string][]byte) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Every single request fails in every way: nothing is lost and nothing is double.
func TestEachRequestFails(t *testing.T) {
	for name, f := range map[string]fault{"refused": refused, "forgotten": forgotten, "cut": cut} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the client waits before it tries again
			for n, more := 0, true; more; n++ {
				server, s := newServer(t), newSite(t)
				m := s.cut(0)
				var hit atomic.Bool
				server.set(func(i int, _ *http.Request) fault {
					// All attempts of one request, or the client's retry hides it.
					if i >= n && i < n+attempts {
						hit.Store(true)
						return f
					}
					return sound
				})
				b := s.open(server.config(t))
				b.settle(t)
				server.set(nil)
				exactly(t, b.cur.Load(), m.ULID)
				more = hit.Load()
			}
		})
	}
}

func TestSilentServer(t *testing.T) {
	server, s := newServer(t), newSite(t)
	m := s.cut(0)
	c := server.config(t)
	c.Timeout = soon
	b := s.open(c)
	server.set(func(int, *http.Request) fault { return silent })
	if err := b.once(); err == nil {
		t.Fatal("a round went through without an answer")
	}
	server.set(func(n int, _ *http.Request) fault {
		if n%3 == 0 {
			return silent
		}
		return sound
	})
	b.settle(t)
	server.set(nil)
	exactly(t, b.cur.Load(), m.ULID)
}

func TestSkewedClock(t *testing.T) {
	now := time.Now()
	server := newServer(t, gofakes3.WithTimeSource(gofakes3.FixedTimeSource(now.Add(-time.Hour))))
	s := newSite(t)
	m := s.cut(0)
	b := s.open(server.config(t))
	b.runRound(context.Background())
	if got := warning(b, "bucket-upload-failed"); !strings.Contains(got, "set this machine's clock") {
		t.Errorf("the warning is %q", got)
	}
	if b.Uploaded(m) || b.Deletable(m) {
		t.Error("a block may go that was not uploaded")
	}
}

func warning(b *opened, code string) string {
	for _, a := range b.health.Active() {
		if a.Code == code {
			return a.Text
		}
	}
	return ""
}

// Random schedules of faults, new processes, lost notes, new blocks and merging
// here and there.
func TestSchedules(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		server, s := newServer(t), newSite(t)
		c := server.config(t)
		b := s.open(c)
		var sources []ulid.ULID
		for step := range 30 {
			switch rnd.IntN(6) {
			case 0:
				if len(sources) < 6 {
					sources = append(sources, s.cut(len(sources)).ULID)
				}
			case 1:
				if rnd.IntN(3) == 0 {
					_ = os.Remove(filepath.Join(s.dir, "uploads.json"))
				}
				b = s.open(c)
			case 2:
				mergeSome(t, s, b, rnd)
			case 3:
				mergeSomeThere(t, server, b, rnd)
			default:
				dice := rand.New(rand.NewPCG(seed, uint64(step)))
				server.set(func(int, *http.Request) fault {
					if f := fault(dice.IntN(12)); f <= cut {
						return f
					}
					return sound
				})
				_ = b.once() // what failed is checked at the end
				server.set(nil)
			}
		}
		b.settle(t)
		exactly(t, b.cur.Load(), sources...)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// mergeSome merges two neighbours as the store would: only what is uploaded.
func mergeSome(t *testing.T, s *site, b *opened, rnd *rand.Rand) {
	t.Helper()
	metas, err := s.blocks()
	if err != nil {
		t.Fatal(err)
	}
	metas = slices.DeleteFunc(metas, func(m tsdb.BlockMeta) bool { return !b.Uploaded(m) })
	slices.SortFunc(metas, func(x, y tsdb.BlockMeta) int { return int(x.MinTime/1000 - y.MinTime/1000) })
	if len(metas) > 1 {
		i := rnd.IntN(len(metas) - 1)
		merge(t, s.store, metas[i].ULID, metas[i+1].ULID)
	}
}

func mergeSomeThere(t *testing.T, server *s3server, b *opened, rnd *rand.Rand) {
	t.Helper()
	server.set(nil)
	p := b.cur.Load()
	if err := b.look(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	var metas []*Meta
	for _, m := range b.view.Load().raw {
		if there, err := b.found(context.Background(), p, m.ULID); err == nil && len(there) == len(m.Thanos.Files) {
			metas = append(metas, m)
		}
	}
	slices.SortFunc(metas, func(x, y *Meta) int { return int(x.MinTime/1000 - y.MinTime/1000) })
	if len(metas) > 1 {
		i := rnd.IntN(len(metas) - 1)
		compactThere(t, p, metas[i].ULID, metas[i+1].ULID)
	}
}

func put(t *testing.T, p *place, key, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := digest("f", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.put(context.Background(), key, f); err != nil {
		t.Fatal(err)
	}
}
