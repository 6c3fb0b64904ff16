package receive

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

func (c *cache) sizes() (entries int, bytes int64) {
	for i := range c.shards {
		entries += len(c.shards[i].m)
		bytes += c.shards[i].bytes
	}
	return entries, bytes
}

func names(format string, from, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(format, from+i))
	}
	return out
}

func TestCacheHits(t *testing.T) {
	for contentType, make := range map[string]func(t0 int64) marshaler{
		typeV1: func(t0 int64) marshaler { return v1(t0, "a", "b") },
		typeV2: func(t0 int64) marshaler { return v2(t0, "a", "b") },
	} {
		h := newReceiver(t, &faulty{next: openDB(t, 0)}, nil)
		t0 := now()
		for i := range int64(3) {
			mustPost(t, h, contentType, encode(t, make(t0+i)), http.StatusNoContent)
		}
		if hits, misses := counter(t, h.metrics.cache.hits), counter(t, h.metrics.cache.misses); hits != 4 || misses != 2 {
			t.Errorf("%s: %v hits and %v misses, want 4 and 2", contentType, hits, misses)
		}
	}
}

// A sender that orders labels its own way hits as well.
func TestCacheHitsUnsorted(t *testing.T) {
	db := openDB(t, 0)
	h := newReceiver(t, &faulty{next: db}, nil)
	t0 := now()
	for i := range int64(3) {
		r := v1(t0+i, "a")
		l := r.Timeseries[0].Labels
		l[0], l[1] = l[1], l[0]
		mustPost(t, h, typeV1, encode(t, r), http.StatusNoContent)
	}
	if hits := counter(t, h.metrics.cache.hits); hits != 2 {
		t.Errorf("%v hits, want 2", hits)
	}
	if got := dump(t, db); !strings.HasPrefix(got, `{__name__="a", job="j"}:`) || strings.Count(got, "\n") != 1 {
		t.Errorf("stored: %s", got)
	}
}

// Series come and go without end: neither bound may be passed, by count nor bytes.
func TestCacheBounds(t *testing.T) {
	for name, cfg := range map[string]CacheConfig{
		"series": {MaxSeries: 640, MaxBytes: 1 << 30, Idle: Default().RemoteWrite.Cache.Idle},
		"bytes":  {MaxSeries: 1 << 30, MaxBytes: 1 << 20, Idle: Default().RemoteWrite.Cache.Idle},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, 0)
			h := newReceiver(t, &faulty{next: db}, func(c *Config) { c.RemoteWrite.Cache = cfg })
			t0 := now()
			for i := range 20 {
				mustPost(t, h, typeV1, encode(t, v1(t0, names("churn_%d", i*1000, 1000)...)), http.StatusNoContent)
				entries, bytes := h.cache.sizes()
				if entries > cfg.MaxSeries || bytes > int64(cfg.MaxBytes) || entries == 0 {
					t.Fatalf("after %d series: %d entries of %d bytes", (i+1)*1000, entries, bytes)
				}
				if got := counter(t, h.metrics.cache.entries); got != float64(entries) {
					t.Fatalf("metric says %v entries, there are %d", got, entries)
				}
				if got := counter(t, h.metrics.cache.bytes); got != float64(bytes) {
					t.Fatalf("metric says %v bytes, there are %d", got, bytes)
				}
			}
			if counter(t, h.metrics.cache.evictedFull) == 0 {
				t.Error("nothing was counted as evicted")
			}
			if n := db.Head().NumSeries(); n != 20_000 {
				t.Errorf("%d series stored, want 20000", n)
			}
		})
	}
}

func TestCacheDropsIdleSeries(t *testing.T) {
	o := options(openDB(t, 0))
	clock := time.Now()
	h := newRemoteWrite(o, func() time.Time { return clock })
	idle := time.Duration(o.Config.RemoteWrite.Cache.Idle)
	mustPost(t, h, typeV1, encode(t, v1(clock.UnixMilli(), names("s_%d", 0, 1000)...)), http.StatusNoContent)
	for range 6 { // "kept" is written all the time
		clock = clock.Add(idle / 2)
		mustPost(t, h, typeV1, encode(t, v1(clock.UnixMilli(), "kept")), http.StatusNoContent)
	}
	if entries, _ := h.cache.sizes(); entries != 1 {
		t.Errorf("%d entries, want 1", entries)
	}
	if got := counter(t, h.metrics.cache.evictedIdle); got != 1000 {
		t.Errorf("%v counted as idle, want 1000", got)
	}
}

// Two series of one hash must not be taken for each other.
func TestCacheComparesLabels(t *testing.T) {
	db := openDB(t, 0)
	h := newReceiver(t, &faulty{next: db}, nil)
	t0 := now()
	mustPost(t, h, typeV1, encode(t, v1(t0, "victim")), http.StatusNoContent)
	mustPost(t, h, typeV2, encode(t, v2(t0+1, "victim")), http.StatusNoContent)
	var victims []*entry
	for i := range h.cache.shards {
		for _, e := range h.cache.shards[i].m {
			victims = append(victims, e)
		}
	}
	// Put the victim where any other series would look.
	for _, c := range []struct {
		contentType string
		m           marshaler
	}{{typeV1, v1(t0+2, "other")}, {typeV2, v2(t0+3, "other")}} {
		b := newBatch()
		w := &writer{h: h, b: b, v2: c.contentType == typeV2}
		p, _ := c.m.Marshal()
		var hash uint64
		if w.v2 {
			if err := b.decodeV2(p); err != nil {
				t.Fatal(err)
			}
			hash = hashRefs(h.cache.hashSymbols(nil, b.symbols), b.refs)
		} else {
			if err := b.decodeV1(p, nil); err != nil {
				t.Fatal(err)
			}
			hash = h.cache.hashBytes(b.series[0].labels)
		}
		h.cache.put(hash, victims[0], 20)
		mustPost(t, h, c.contentType, encode(t, c.m), http.StatusNoContent)
	}
	if got := dump(t, db); strings.Count(got, "(st 0)=") != 4 || strings.Count(got, "\n") != 2 {
		t.Errorf("stored: %s", got)
	}
}

// The head drops series that are no longer written; a reference to one that comes
// back must not lose its samples.
func TestReferenceDroppedByHead(t *testing.T) {
	db := openDB(t, 0)
	h := newReceiver(t, &faulty{next: db}, nil)
	hour := time.Hour.Milliseconds()
	t0 := now()/hour*hour - 12*hour
	mustPost(t, h, typeV1, encode(t, v1(t0, "gone", "stays")), http.StatusNoContent)
	mustPost(t, h, typeV1, encode(t, v1(t0+10*hour, "other", "stays")), http.StatusNoContent)
	before := refOf(h, "gone")
	if err := db.Head().Truncate(t0 + 9*hour); err != nil {
		t.Fatal(err)
	}
	if n := db.Head().NumSeries(); n != 2 {
		t.Fatalf("%d series in the head, want the first one dropped", n)
	}
	for i := range int64(2) {
		mustPost(t, h, typeV1, encode(t, v1(t0+10*hour+1+i, "gone")), http.StatusNoContent)
	}
	if hits := counter(t, h.metrics.cache.hits); hits != 3 {
		t.Errorf("%v hits, want 3", hits)
	}
	if after := refOf(h, "gone"); after == before || after == 0 {
		t.Errorf("reference %d was kept as %d", before, after)
	}
	if got := dump(t, db); !strings.Contains(got, fmt.Sprintf(`{__name__="gone", job="j"}: %d(st 0)=0 %d(st 0)=0`, t0+10*hour+1, t0+10*hour+2)) {
		t.Errorf("stored: %s", got)
	}
}

func refOf(h *remoteWrite, name string) uint64 {
	for i := range h.cache.shards {
		for _, e := range h.cache.shards[i].m {
			if e.lset.Get("__name__") == name {
				return e.ref.Load()
			}
		}
	}
	return 0
}

// What the documentation of cache says of its memory.
func TestCacheMemoryPerSeries(t *testing.T) {
	const n = 200_000
	c := newCache(Default().RemoteWrite.Cache, &newMetrics(nil).cache, time.Now)
	sets := make([]labels.Labels, n) // shared with the storage: not the cache's
	for i := range sets {
		sets[i] = labels.FromStrings("__name__", "m", "i", fmt.Sprint(i))
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for _, l := range sets {
		c.put(c.hashBytes([]byte(l.Get("i"))), &entry{lset: l}, 0)
	}
	perSeries := float64(heap()-before) / n
	t.Logf("%.1f bytes per series", perSeries)
	if perSeries > entryOverhead*1.1 || perSeries < entryOverhead/2 {
		t.Errorf("%.1f bytes per series, accounted are %d", perSeries, entryOverhead)
	}
	runtime.KeepAlive(sets)
	runtime.KeepAlive(c)
}

// The labels of a known series are the storage's own, not a copy.
func TestCacheSharesLabels(t *testing.T) {
	db := openDB(t, 0)
	one, two := newReceiver(t, &faulty{next: db}, nil), newReceiver(t, &faulty{next: db}, nil)
	mustPost(t, one, typeV1, encode(t, v1(now(), "a")), http.StatusNoContent)
	mustPost(t, two, typeV1, encode(t, v1(now()+1, "a")), http.StatusNoContent)
	if a, b := refOf(one, "a"), refOf(two, "a"); a != b || a == 0 {
		t.Errorf("references %d and %d", a, b)
	}
	var sets []labels.Labels
	for _, h := range []*remoteWrite{one, two} {
		for i := range h.cache.shards {
			for _, e := range h.cache.shards[i].m {
				sets = append(sets, e.lset)
			}
		}
	}
	if len(sets) != 2 || unsafe.StringData(sets[0].Get("job")) != unsafe.StringData(sets[1].Get("job")) {
		t.Error("the second receiver keeps a copy")
	}
}

// lastMetadata reads the metadata records of the write-ahead log.
func lastMetadata(t *testing.T, db *tsdb.DB) (last string) {
	t.Helper()
	segments, err := wlog.NewSegmentsReader(db.Dir() + "/wal")
	if err != nil {
		t.Fatal(err)
	}
	defer segments.Close()
	dec := record.NewDecoder(labels.NewSymbolTable(), nil)
	for r := wlog.NewReader(segments); r.Next(); {
		if dec.Type(r.Record()) != record.Metadata {
			continue
		}
		all, err := dec.Metadata(r.Record(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			last = fmt.Sprintf("%s %s %s", record.ToMetricType(m.Type), m.Help, m.Unit)
		}
	}
	return last
}
