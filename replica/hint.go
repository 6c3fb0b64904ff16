package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	maxHint     = 32 << 10 // encoded bytes of a hint
	hintHeads   = 64       // heads in a hint, beyond which it says "more"
	hintInline  = 4 << 10  // encoded bytes of documents carried in a hint
	maxHeard    = 16384
	maxTelling  = 1024
	tellLatest  = 600 * time.Millisecond
	tellSoonest = 100 * time.Millisecond
)

// rumours is what is to be announced, and what was heard announced.
type rumours struct {
	wake chan struct{}
	in   chan rumour

	mu               sync.Mutex
	telling          map[uint64]telling
	more             bool // there was more to tell than telling holds
	heard, heardLong map[uint64]struct{}
}

type rumour struct {
	from trust.Key
	raw  []byte
}

type telling struct {
	e    *entry
	doc  *replicapb.Document // nil where it is too large to go along
	due  time.Time
	soon bool
}

func newRumours() *rumours {
	return &rumours{wake: make(chan struct{}, 1), in: make(chan rumour, 256), telling: map[uint64]telling{}, heard: map[uint64]struct{}{}}
}

// tell queues the announcement of a version that is new here. What was written
// here goes out at once. What a comparison brought is announced after a moment,
// unless somebody else did meanwhile: after a cut heals the first island across
// speaks for its side, and the others keep quiet. What came by hint was announced.
func (u *rumours) tell(e *entry, d *replicapb.Document, source string) {
	if source == sourceHint {
		return
	}
	now := time.Now()
	t := telling{e: e, due: now, soon: source == sourceLocal}
	if !t.soon {
		t.due = now.Add(tellSoonest + rand.N(tellLatest-tellSoonest))
	}
	if e.size <= hintInline {
		t.doc = d
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.heardLocked(e.hash); ok {
		return
	}
	if len(u.telling) >= maxTelling {
		u.more = true
		return
	}
	u.telling[e.hash] = t
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *rumours) heardLocked(hash uint64) (v struct{}, ok bool) {
	if v, ok = u.heard[hash]; !ok {
		v, ok = u.heardLong[hash]
	}
	return v, ok
}

// note remembers that a version was announced by somebody.
func (u *rumours) note(hash uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.noteLocked(hash)
}

func (u *rumours) noteLocked(hash uint64) {
	delete(u.telling, hash)
	if len(u.heard) >= maxHeard/2 {
		u.heard, u.heardLong = map[uint64]struct{}{}, u.heard
	}
	u.heard[hash] = struct{}{}
}

// hint takes out what is due as one hint; nil where nothing is. wait is the time
// until more is due, 0 for nothing queued.
func (u *rumours) hint(now time.Time) (h *replicapb.Hint, wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var due []telling
	for _, t := range u.telling {
		if left := t.due.Sub(now); left <= 0 {
			due = append(due, t)
		} else if wait == 0 || left < wait {
			wait = left
		}
	}
	if len(due) == 0 {
		return nil, wait
	}
	slices.SortFunc(due, func(a, b telling) int { return trust.Order(a.e.key) - trust.Order(b.e.key) })
	h = &replicapb.Hint{More: u.more || len(due) > hintHeads}
	u.more = false
	room := hintInline
	for i, t := range due {
		u.noteLocked(t.e.hash)
		switch {
		case t.doc != nil && int(t.e.size) <= room:
			room -= int(t.e.size)
			h.Documents = append(h.Documents, t.doc)
		case i < hintHeads:
			h.Heads = append(h.Heads, &replicapb.Head{Key: t.e.key, Time: t.e.time, Hash: t.e.hash})
		}
	}
	return h, wait
}

// Heard takes a hint that came by gossip. It never blocks; too many at once are
// dropped, and comparisons make up for it.
func (r *Replica) Heard(from trust.Key, hint []byte) {
	r.m.hints.WithLabelValues("in").Inc()
	if len(hint) > maxHint {
		r.m.hintDrops.WithLabelValues("malformed").Inc()
		return
	}
	select {
	case r.rumours.in <- rumour{from, slices.Clone(hint)}:
	default:
		r.m.hintDrops.WithLabelValues("queue_full").Inc()
	}
}

func parseHint(raw []byte) (*replicapb.Hint, error) {
	if len(raw) > maxHint {
		return nil, fmt.Errorf("hint of %d bytes: at most %d", len(raw), maxHint)
	}
	h := &replicapb.Hint{}
	if err := proto.Unmarshal(raw, h); err != nil {
		return nil, fmt.Errorf("read a hint: %w", err)
	}
	if len(h.GetHeads()) > hintHeads || len(h.GetDocuments()) > hintHeads {
		return nil, fmt.Errorf("hint of %d heads and %d documents: at most %d each", len(h.GetHeads()), len(h.GetDocuments()), hintHeads)
	}
	for _, head := range h.GetHeads() {
		if _, _, err := trust.ParseDocumentKey(head.GetKey()); err != nil {
			return nil, fmt.Errorf("read a hint: %w", err)
		}
	}
	return h, nil
}

// hear acts on a hint: documents in it go the way of all documents; what it names
// and is not held is wanted.
func (r *Replica) hear(from trust.Key, raw []byte) (want []wish, compare bool) {
	h, err := parseHint(raw)
	if err != nil {
		r.m.hintDrops.WithLabelValues("malformed").Inc()
		r.logger.Debug("hint dropped", "from", from, "err", err)
		return nil, false
	}
	compare = h.GetMore()
	for _, it := range r.offer(sourceHint, h.GetDocuments(), false).items {
		if !it.forged {
			r.rumours.note(hashOf(it.doc))
		}
		// The right may follow from a document of trust that did not get here yet.
		compare = compare || errors.Is(it.err, ErrRefused)
	}
	for _, head := range h.GetHeads() {
		r.rumours.note(head.GetHash())
		if w := (wish{from: from, key: head.GetKey(), time: head.GetTime(), hash: head.GetHash()}); !r.granted(w) {
			want = append(want, w)
		}
	}
	return want, compare
}

// wish is a version that a hint named.
type wish struct {
	from  trust.Key
	key   string
	time  uint64
	hash  uint64
	tries int
	due   time.Time
}

// granted reports whether nothing is left to fetch: that version or a newer one is
// held, or it is known not to be taken over.
func (r *Replica) granted(w wish) bool {
	e := r.index.get(w.key)
	return e != nil && (e.hash == w.hash || e.time > w.time) || r.unwanted(w.hash)
}
