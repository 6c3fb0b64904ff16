package store

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// settleAfter is how long after their time samples come in at the latest if
	// nothing is late: a scrape's, a rule's, a staleness marker's.
	settleAfter = 2 * time.Minute
	// lagMost bounds how much longer is waited because samples came late, and
	// lagHold for how long after the last that did.
	lagMost, lagHold = time.Hour, time.Hour
)

// history knows whether samples of the past may have changed.
type history struct {
	mu      sync.Mutex
	born    uint64 // differs from start to start
	changes uint64
	told    int64         // up to when samples were called settled since the last change
	lag     time.Duration // of the samples that came latest
	lagAt   time.Time
}

func newHistory() *history { return &history{born: rand.Uint64(), told: math.MinInt64} }

// added notes that samples from a time on (milliseconds) are there since now. It
// is called after they are, and before who added them hears of it.
func (h *history) added(since int64, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since > h.told {
		return
	}
	h.changes++
	h.told = math.MinInt64
	if lag := time.Duration(now.UnixMilli()-since) * time.Millisecond; lag <= lagMost && since > math.MinInt64 {
		h.lag, h.lagAt = max(h.lag, lag), now
	}
}

// tell returns the number of changes, and up to when samples are settled.
func (h *history) tell(now time.Time) (changes uint64, settled int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.lagAt) > lagHold {
		h.lag = 0
	}
	settled = now.Add(-max(settleAfter, h.lag*5/4)).UnixMilli()
	h.told = max(h.told, settled)
	return h.changes, settled
}

// History returns a time in milliseconds up to which samples are settled, and a
// number that stays the same as long as none of those comes, goes or changes: by
// late samples, deletion, retention, blocks that are put into the directory, or
// another opening of the store. What is known of them may be used again while it
// does. 0 promises nothing: the store is not open.
func (s *Store) History() (epoch uint64, settled int64) {
	h := s.cur.Load()
	if h == nil {
		return 0, 0
	}
	changes, settled := s.history.tell(time.Now())
	// A block is made of heads and of other blocks; what it was first made of stays
	// the same when blocks are put together.
	var sources []string
	for _, b := range h.db.Blocks() {
		for _, id := range b.Meta().Compaction.Sources {
			sources = append(sources, id.String())
		}
	}
	slices.Sort(sources)
	sum := fnv.New64a()
	_ = binary.Write(sum, binary.LittleEndian, []uint64{s.history.born, changes, h.epoch}) // to a hash: it cannot fail
	_, _ = sum.Write([]byte(strings.Join(slices.Compact(sources), " ")))
	return max(sum.Sum64(), 1), settled
}

// History is the store's, and another one once something else can be read elsewhere.
func (d Deep) History() (epoch uint64, settled int64) {
	epoch, settled = d.Store.History()
	generation := d.older.Generation()
	if epoch == 0 || generation == 0 {
		return epoch, settled
	}
	sum := fnv.New64a()
	_ = binary.Write(sum, binary.LittleEndian, []uint64{epoch, generation}) // to a hash: it cannot fail
	return max(sum.Sum64(), 1), settled
}
