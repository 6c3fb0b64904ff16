package receive

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// cache remembers, for the label bytes of a series as senders write them, its
// validated labels and the storage's reference for it.
//
// The key is a 64-bit hash under a random seed, so that nobody outside can choose
// keys that collide. A hit is believed only after the labels were compared in
// full; two series with one hash take turns in one slot, so there are no chains
// to grow long. A sender that orders labels differently, or speaks the other
// protocol version, makes an entry of its own.
//
// A reference that the storage has dropped meanwhile is harmless: the storage
// falls back to the labels and returns the new one, which is then kept. The
// storage must never give one reference to two series in the life of a cache,
// also if it is opened again meanwhile.
//
// Memory: 56 to 70 bytes per series on top of the labels themselves (a 32-byte
// entry and its map slot; entryOverhead is accounted). The labels are shared with
// the storage if it learnt of the series through this cache or can hand out its
// own (storage.GetRef); else they take the length of all names and values plus 2
// bytes per label once more.
//
// Full, a shard drops the least recently written of a few entries picked at
// random; sweep drops what was not written for the idle time.
type cache struct {
	seed    maphash.Seed
	shards  [cacheShards]cacheShard
	started time.Time
	now     func() time.Time
	idle    time.Duration
	// per shard
	maxEntries int
	maxBytes   int64
	nextSweep  atomic.Int64 // seconds since started
	metrics    *cacheMetrics
}

const (
	cacheShards   = 64 // a power of two
	entryOverhead = 80 // bytes accounted per entry besides its labels
	evictionPicks = 8
)

type cacheShard struct {
	mu    sync.RWMutex
	m     map[uint64]*entry
	bytes int64
	_     [24]byte // keeps neighbours off one cache line
}

// entry is one series. Its labels never change.
type entry struct {
	lset labels.Labels
	ref  atomic.Uint64 // storage.SeriesRef
	used atomic.Uint32 // seconds since the cache was started
	size uint32        // bytes accounted
}

// newCache returns nil, a cache that misses, if it may not hold anything.
func newCache(cfg CacheConfig, m *cacheMetrics, now func() time.Time) *cache {
	if cfg.MaxSeries < 1 {
		return nil
	}
	c := &cache{
		seed:       maphash.MakeSeed(),
		started:    now(),
		now:        now,
		idle:       time.Duration(cfg.Idle),
		maxEntries: max(1, cfg.MaxSeries/cacheShards),
		maxBytes:   int64(cfg.MaxBytes) / cacheShards,
		metrics:    m,
	}
	c.nextSweep.Store(int64(c.sweepEvery() / time.Second))
	for i := range c.shards {
		c.shards[i].m = map[uint64]*entry{}
	}
	return c
}

// clock is the time in seconds since the cache was started.
func (c *cache) clock() uint32 { return uint32(c.now().Sub(c.started) / time.Second) }

// hashBytes hashes the label fields of a 1.0 series.
func (c *cache) hashBytes(p []byte) uint64 { return maphash.Bytes(c.seed, p) }

// hashSymbols hashes every symbol of a 2.0 request once.
func (c *cache) hashSymbols(into []uint64, symbols []string) []uint64 {
	into = into[:0]
	for _, s := range symbols {
		into = append(into, maphash.String(c.seed, s))
	}
	return into
}

// hashRefs combines the hashes of the symbols of one 2.0 series; refs must be
// valid. Not knowing the seed nobody knows the symbols' hashes, so a plain mix
// that depends on their order is enough.
func hashRefs(hashes []uint64, refs []uint32) uint64 {
	h := uint64(len(refs))
	for _, r := range refs {
		h = bits.RotateLeft64(h^hashes[r], 29) * 0x9e3779b97f4a7c15
	}
	return h
}

func (c *cache) shard(hash uint64) *cacheShard { return &c.shards[hash>>58&(cacheShards-1)] }

// get returns the entry in the hash's slot, whose labels the caller must compare,
// or nil.
func (c *cache) get(hash uint64) *entry {
	s := c.shard(hash)
	s.mu.RLock()
	e := s.m[hash]
	s.mu.RUnlock()
	return e
}

// touch notes that e was written.
func (e *entry) touch(clock uint32) {
	if e.used.Load() != clock { // spares the cache line the write
		e.used.Store(clock)
	}
}

// put makes e the entry of the hash's slot. labelBytes is the length of its
// names and values.
func (c *cache) put(hash uint64, e *entry, labelBytes int) {
	e.size = uint32(entryOverhead + labelBytes + 2*e.lset.Len())
	if int64(e.size) > c.maxBytes {
		return
	}
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.m[hash]; old != nil {
		c.drop(s, hash, old)
	}
	for len(s.m) >= c.maxEntries || s.bytes+int64(e.size) > c.maxBytes {
		c.evict(s)
	}
	s.m[hash] = e
	s.bytes += int64(e.size)
	c.metrics.entries.Inc()
	c.metrics.bytes.Add(float64(e.size))
}

// evict drops the least recently used of a few entries; map order picks them.
func (c *cache) evict(s *cacheShard) {
	var (
		victim *entry
		key    uint64
		picks  int
	)
	for k, e := range s.m {
		if victim == nil || e.used.Load() < victim.used.Load() {
			victim, key = e, k
		}
		if picks++; picks == evictionPicks {
			break
		}
	}
	c.drop(s, key, victim)
	c.metrics.evictedFull.Inc()
}

func (c *cache) drop(s *cacheShard, hash uint64, e *entry) {
	delete(s.m, hash)
	s.bytes -= int64(e.size)
	c.metrics.entries.Dec()
	c.metrics.bytes.Sub(float64(e.size))
}

func (c *cache) sweepEvery() time.Duration { return max(c.idle/10, time.Second) }

// sweep drops idle entries if the last sweep is long enough ago. It has no
// goroutine of its own: whoever serves a request calls it at its end.
func (c *cache) sweep() {
	clock := c.clock()
	due := c.nextSweep.Load()
	if int64(clock) < due || !c.nextSweep.CompareAndSwap(due, int64(clock)+int64(c.sweepEvery()/time.Second)) {
		return
	}
	idle := uint32(c.idle / time.Second)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		before := len(s.m)
		for k, e := range s.m {
			if clock-min(clock, e.used.Load()) > idle {
				c.drop(s, k, e)
				c.metrics.evictedIdle.Inc()
			}
		}
		if before > 64 && len(s.m) < before/4 { // a map never shrinks by itself
			small := make(map[uint64]*entry, len(s.m))
			for k, e := range s.m {
				small[k] = e
			}
			s.m = small
		}
		s.mu.Unlock()
	}
}

func (c *cache) sweepIfAny() {
	if c != nil {
		c.sweep()
	}
}

func (e *entry) seriesRef() storage.SeriesRef { return storage.SeriesRef(e.ref.Load()) }
