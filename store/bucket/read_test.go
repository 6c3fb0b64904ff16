package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/flow"
)

// answer reads everything that matches as "labels": "number of samples, their sum".
func answer(t *testing.T, q storage.Querier, ms ...*labels.Matcher) (map[string]string, error) {
	t.Helper()
	defer q.Close()
	out := map[string]string{}
	set := q.Select(context.Background(), true, nil, ms...)
	for set.Next() {
		n, sum := 0, 0.0
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			_, v := it.At()
			n, sum = n+1, sum+v
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
		out[set.At().Labels().String()] = fmt.Sprint(n, sum)
	}
	return out, set.Err()
}

func local(t *testing.T, dir string, mint, maxt int64, ms ...*labels.Matcher) map[string]string {
	t.Helper()
	metas, err := blocksIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []storage.Querier
	for _, m := range metas {
		b, err := tsdb.OpenBlock(nil, filepath.Join(dir, m.ULID.String()), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		q, err := tsdb.NewBlockQuerier(b, mint, maxt)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, q)
	}
	out, err := answer(t, storage.NewMergeQuerier(all, nil, storage.ChainedSeriesMerge), ms...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	everything = labels.MustNewMatcher(labels.MatchEqual, "__name__", "m")
	some       = labels.MustNewMatcher(labels.MatchRegexp, "i", "000[37]")
)

const most = start + 100*hour

func (s *site) forget(ids ...ulid.ULID) {
	s.t.Helper()
	for _, id := range ids {
		if err := os.RemoveAll(filepath.Join(s.store, id.String())); err != nil {
			s.t.Fatal(err)
		}
	}
}

// What is deleted here is read from there, and only that: also after it was merged
// there, while sources lie beside the result, and beside blocks of others.
func TestReadBack(t *testing.T) {
	eachKind(t, func(t *testing.T, c Config) {
		s := newSite(t)
		one, two, three := s.cut(0), s.cut(1), s.cut(2)
		want, wantSome := local(t, s.store, start, most, everything), local(t, s.store, start+hour, start+3*hour, everything, some)
		b := s.open(c)
		b.settle(t)
		if q, err := b.Querier(start, most); q != nil || err != nil {
			t.Fatalf("the bucket is read although all is here: %v", err)
		}
		check := func(what string) {
			t.Helper()
			q, err := b.Querier(start, most)
			if err != nil || q == nil {
				t.Fatalf("%s: %v, %v", what, q, err)
			}
			got, err := answer(t, q, everything)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		s.forget(one.ULID, two.ULID, three.ULID)
		check("all deleted here")
		q, err := b.Querier(start+hour, start+3*hour)
		if err != nil {
			t.Fatal(err)
		}
		got, err := answer(t, q, everything, some)
		if diff := cmp.Diff(wantSome, got); err != nil || diff != "" {
			t.Errorf("some series: %v %s", err, diff)
		}
		foreign := newSite(t)
		foreign.cut(0)
		foreign.open(c, func(o *Options) { o.Labels = map[string]string{"island": "two"} }).settle(t)
		b = s.open(c)
		b.settle(t)
		check("with another island's block")
		b = s.open(c) // with an empty cache
		b.settle(t)
		compactThere(t, b.cur.Load(), one.ULID, two.ULID)
		check("merged there, without having looked")
		if n := len(b.view.Load().choose(start, most, nil)); n != 2 {
			t.Errorf("%d blocks are read, want 2", n)
		}
	})
}

// Sources that lie beside their merged block are not read, nor downsampled blocks.
func TestChoose(t *testing.T) {
	id := func(n byte) (u ulid.ULID) { u[15] = n; return u }
	meta := func(n byte, mint, maxt int64, sources ...byte) *Meta {
		m := &Meta{BlockMeta: tsdb.BlockMeta{ULID: id(n), MinTime: mint, MaxTime: maxt}}
		for _, s := range sources {
			m.Compaction.Sources = append(m.Compaction.Sources, id(s))
		}
		return m
	}
	v := &view{place: &place{labels: ownLabels}, raw: map[ulid.ULID]*Meta{}, coarse: map[ulid.ULID]*Meta{}, others: map[ulid.ULID]bool{}}
	down := meta(9, 0, 20, 1, 2)
	down.Thanos.Downsample.Resolution = 300_000
	for _, m := range []*Meta{meta(1, 0, 10, 1), meta(2, 10, 20, 2), meta(3, 20, 30, 3), meta(8, 0, 20, 1, 2), meta(7, 0, 30), down} {
		m.Thanos.Labels = map[string]string{"island": "one", "region": "moved"}
		v.add(m)
	}
	for _, c := range []struct {
		mint, maxt int64
		local      map[ulid.ULID]bool
		want       []byte
	}{
		{0, 100, nil, []byte{8, 3}},
		{0, 19, nil, []byte{8}},
		{20, 29, nil, []byte{3}},
		{30, 100, nil, nil},
		{0, 100, map[ulid.ULID]bool{id(3): true}, []byte{8}},
		{0, 100, map[ulid.ULID]bool{id(2): true, id(3): true}, []byte{8}},
		{0, 100, map[ulid.ULID]bool{id(1): true, id(2): true}, []byte{3}},
	} {
		var got []byte
		for _, m := range v.choose(c.mint, c.maxt, c.local) {
			got = append(got, m.ULID[15])
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%d to %d with %v here: %s", c.mint, c.maxt, c.local, diff)
		}
	}
}

func TestLabelsReadBack(t *testing.T) {
	s := newSite(t)
	m := s.cut(0)
	b := s.open(directoryConfig(t))
	b.settle(t)
	s.forget(m.ULID)
	q, err := b.ChunkQuerier(start, most)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	names, _, err := q.LabelNames(context.Background(), nil)
	if diff := cmp.Diff([]string{"__name__", "i"}, names); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	values, _, err := q.LabelValues(context.Background(), "i", nil, some)
	if diff := cmp.Diff([]string{"0003", "0007"}, values); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	open, err := b.Querier(-1<<62, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := open.LabelNames(context.Background(), nil); !errors.Is(err, errOpen) {
		t.Errorf("without a start: %v", err)
	}
}

// Faults of the storage are errors, never a smaller answer, and pass.
func TestReadFaults(t *testing.T) {
	server, s := newServer(t), newSite(t)
	m := cutBlock(t, s.store, 0, 2000)
	want := local(t, s.store, start, most, everything)
	c := server.config(t)
	s.open(c).settle(t)
	s.forget(m.ULID)
	for _, f := range []fault{refused, cut, silent} {
		for n := range 8 {
			c.Timeout = soon
			b := s.open(c)
			b.settle(t)
			first := len(server.requests())
			server.set(func(i int, _ *http.Request) fault {
				if i >= first+n && i < first+n+attempts {
					return f
				}
				return sound
			})
			for try := 0; ; try++ {
				q, err := b.Querier(start, most)
				if err != nil {
					t.Fatal(err)
				}
				got, err := answer(t, q, everything)
				if err == nil {
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("fault %d at %d: %s", f, n, diff)
					}
					break
				}
				if try > 10 {
					t.Fatalf("fault %d at %d does not pass: %v", f, n, err)
				}
			}
			server.set(nil)
		}
	}
}

// A chunk that arrives with other bits is fetched again, and then refused.
func TestDamagedChunks(t *testing.T) {
	s := newSite(t)
	m := s.cut(0)
	c := directoryConfig(t)
	b := s.open(c)
	b.settle(t)
	s.forget(m.ULID)
	path := filepath.Join(c.Directory, "eu/one", m.ULID.String(), "chunks/000001")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	q, err := b.Querier(start, most)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answer(t, q, everything); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a damaged chunk is read: %v", err)
	}
}

// The cache holds what it may: older blocks make room, and a query that needs more
// at once is refused.
func TestCacheIsBounded(t *testing.T) {
	s := newSite(t)
	var ids []ulid.ULID
	for n := range 4 {
		ids = append(ids, cutBlock(t, s.store, n, 3000).ULID)
	}
	b := s.open(directoryConfig(t))
	b.settle(t)
	s.forget(ids...)
	limit := func(n int64) {
		next := *b.cur.Load()
		next.cfg.Cache = flow.Bytes(n)
		v := *b.view.Load()
		v.place = &next
		b.cur.Store(&next)
		b.view.Store(&v)
	}
	read := func(n int64) error {
		q, err := b.Querier(start+n*2*hour, start+(n+1)*2*hour-1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = answer(t, q, everything)
		return err
	}
	if err := read(0); err != nil {
		t.Fatal(err)
	}
	one := b.cache.used
	limit(2*one + one/2)
	for n := range int64(4) {
		if err := read(n); err != nil {
			t.Fatal(err)
		}
	}
	if b.cache.used > 2*one+one/2 || testutil.ToFloat64(b.m.evicted) == 0 {
		t.Errorf("%d bytes are held, %d may be", b.cache.used, 2*one+one/2)
	}
	q, err := b.Querier(start, most)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answer(t, q, everything); !errors.Is(err, errCacheFull) {
		t.Errorf("four blocks at once: %v", err)
	}
	if err := read(1); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	b.cache.close()
	if left, err := os.ReadDir(b.cache.dir); err != nil || len(left) > 0 || b.cache.used != 0 {
		t.Errorf("%v, %d bytes are left: %v", left, b.cache.used, err)
	}
}

// TestGeneration: what is known of old samples holds as long as nobody changes the
// blocks that they are read from.
func TestGeneration(t *testing.T) {
	eachKind(t, func(t *testing.T, c Config) {
		s := newSite(t)
		s.cut(0)
		two, three := s.cut(1), s.cut(2)
		b := s.open(c)
		if g := b.Generation(); g != 0 {
			t.Errorf("before anything is there: %d", g)
		}
		b.settle(t)
		before := b.Generation()
		step := func(what string, same bool) {
			t.Helper()
			if err := b.look(t.Context(), b.cur.Load()); err != nil {
				t.Fatal(err)
			}
			if now := b.Generation(); (now == before) != same {
				t.Errorf("%s: from %d to %d", what, before, now)
			}
			before = b.Generation()
		}
		step("nothing", true)
		foreign := newSite(t)
		foreign.cut(0)
		foreign.open(c, func(o *Options) { o.Labels = map[string]string{"island": "two"} }).settle(t)
		step("another island's block", true)
		compactThere(t, b.cur.Load(), two.ULID, three.ULID)
		step("merged in the middle", false)
		fresh := s.open(c)
		fresh.settle(t)
		if g := fresh.Generation(); g != before {
			t.Errorf("after a restart %d, was %d", g, before)
		}
		s.cut(3)
		b.settle(t)
		step("another block", false)
	})
}
