package engine

import (
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

// placeParts are as many as the snapshot's format says.
const placeParts = 64

// shard holds the records of the series whose fingerprint begins with its number,
// and all that belongs to them. mu guards everything; the places, the directory of
// chunks and the aliases may also be read without it.
type shard struct {
	e       *Engine
	number  uint32
	places  places
	chunks  atomic.Pointer[[]*chunk]
	aliases aliases
	_       [64]byte // who looks series up does not wait for the lock's line

	mu     guard
	roomy  [lanes]int // no chunk of the lane before this one has a free record
	gens   uint8      // generation that a new chunk begins with
	limbo  []uint32   // dead records, free after the round; under Engine.turn
	sorted bool       // limbo is

	rules []*ruleWindows // by slot
	// holding and asides are how many records have such.
	holding, asides int
	// letting is, by slot, up to where what was held before is being let go; nil: of
	// none. lettings counts how often that was begun.
	letting  []int64
	lettings uint32
	chores   []*chore // in the order in which they began
	imaging  *image   // that is being made; nil: none
	// odd is when a counter was last said to be infinite.
	odd   map[uint32]int64
	usual usual
	away  aways // series that other islands count
	blind bool  // no first sample counts

	now   int64 // arrival of the batch being applied
	count shardCounters
	_     [64]byte
}

func newShard(e *Engine, number uint32) *shard {
	s := &shard{e: e, number: number}
	s.places = newPlaces(placeParts, s.print)
	s.chunks.Store(&[]*chunk{})
	s.clearSides()
	return s
}

func (s *shard) clearSides() {
	s.letting, s.chores, s.imaging = nil, nil, nil
	s.holding, s.asides = 0, 0
	s.odd = map[uint32]int64{}
	s.away.reset()
}

func (e *Engine) shardOf(f fingerprint) *shard { return e.shards[f.Hi>>(64-e.shardBits)] }

func (e *Engine) dense(s *shard, id uint32) uint32 { return id<<e.shardBits | s.number }

func (e *Engine) locate(dense uint32) (*shard, uint32) {
	return e.shards[dense&(1<<e.shardBits-1)], dense >> e.shardBits
}

// at returns none where the chunk is gone. Without the lock only meta and print may be
// read.
func (s *shard) at(id uint32) record {
	chunks := *s.chunks.Load()
	if int(id/chunkSize) >= len(chunks) {
		return record{}
	}
	c := chunks[id/chunkSize]
	if c == nil {
		return record{}
	}
	return c.recs.at(id % chunkSize)
}

// print is what is known of the fingerprint of a place, a series' head or an alias; 0
// where there is none.
func (s *shard) print(val uint32) uint64 {
	if val&aliasBit != 0 {
		return s.aliases.print(val &^ aliasBit)
	}
	if r := s.at(val); !r.none() {
		return r.seen()
	}
	return 0
}

func (s *shard) chunkOf(id uint32) (*chunk, uint32) {
	return (*s.chunks.Load())[id/chunkSize], id % chunkSize
}

// alloc returns a cleared record that has a generation and nothing else, next to the
// one that was last given to the lane where possible.
func (s *shard) alloc(lane uint8) (uint32, record) {
	chunks := *s.chunks.Load()
	n := s.roomy[lane]
	for n < len(chunks) && chunks[n] != nil && (chunks[n].lane != lane || chunks[n].live == chunkSize) {
		n++
	}
	s.roomy[lane] = n
	s.chunkReady(n, nil)
	if n == len(chunks) || chunks[n] == nil {
		chunks = s.addChunk(chunks, n, lane)
	}
	c := chunks[n]
	i := c.bump
	if c.free != 0 {
		i = c.free - 1
		c.free = c.recs.idents[i].next
	} else {
		c.bump++
	}
	c.live++
	r := c.recs.at(i)
	r.v, r.t, r.group, r.next = 0, never, 0, 0
	r.store(uint64(r.gen()) << 32)
	return uint32(n)*chunkSize + i, r
}

func (s *shard) addChunk(chunks []*chunk, n int, lane uint8) []*chunk {
	c := &chunk{recs: new(records), lane: lane}
	s.gens++
	for i := range c.recs.idents {
		c.recs.idents[i].meta = uint64(max(1, s.gens)) << 32
	}
	grown := append([]*chunk(nil), chunks...)
	if n == len(grown) {
		grown = append(grown, nil)
	}
	grown[n] = c
	s.chunks.Store(&grown)
	return grown
}

// release gives a record back; nothing may refer to it any more.
func (s *shard) release(id uint32) {
	c, i := s.chunkOf(id)
	c.dropFirst(i)
	r := c.recs.at(i)
	r.next = c.free
	c.free = i + 1
	c.live--
	n := int(id / chunkSize)
	s.roomy[c.lane] = min(s.roomy[c.lane], n)
	if c.live == 0 {
		shrunk := append([]*chunk(nil), *s.chunks.Load()...)
		shrunk[n] = nil
		for len(shrunk) > 0 && shrunk[len(shrunk)-1] == nil {
			shrunk = shrunk[:len(shrunk)-1]
		}
		s.chunks.Store(&shrunk)
		for lane, roomy := range s.roomy { // an empty place is for any
			s.roomy[lane] = min(roomy, n, len(shrunk))
		}
	}
}

// kill takes a record out of use: its generation changes, its side tables go.
func (s *shard) kill(id uint32, r record) {
	gen := r.gen() + 1
	s.gapsOf(id).drop(id)
	s.setAsides(id, nil)
	s.dropSides(id)
	s.forgetAway(id)
	delete(s.away.based, id)
	c, i := s.chunkOf(id)
	if c.ids != nil {
		c.ids[i] = 0
	}
	r.store(uint64(max(1, gen)) << 32)
	r.setPrint(0)
}

const aliasBit = 1 << 31

// aliases are other fingerprints of a known series: its labels in another order or
// with replica labels.
type aliases struct {
	table atomic.Pointer[aliasTable]
	free  []uint32
}

// aliasTable: packed is an index 32, generation 8, replica 8 bits.
type aliasTable struct{ prints, packed []uint64 }

func (a *aliases) packed(i uint32) uint64 {
	if t := a.table.Load(); t != nil && int(i) < len(t.packed) {
		return atomic.LoadUint64(&t.packed[i])
	}
	return 0
}

func (a *aliases) prints() []uint64 {
	if t := a.table.Load(); t != nil {
		return t.prints
	}
	return nil
}

func (a *aliases) print(i uint32) uint64 {
	if t := a.table.Load(); t != nil && int(i) < len(t.prints) {
		return atomic.LoadUint64(&t.prints[i])
	}
	return 0
}

// add needs the shard's lock. Growing copies, as readers hold the old arrays.
func (a *aliases) add(print, packed uint64) uint32 {
	if len(a.free) == 0 {
		a.grow()
	}
	i := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	t := a.table.Load()
	atomic.StoreUint64(&t.packed[i], packed)
	atomic.StoreUint64(&t.prints[i], print)
	return i
}

func (a *aliases) grow() {
	var was aliasTable
	if t := a.table.Load(); t != nil {
		was = *t
	}
	n := len(was.packed)
	t := &aliasTable{make([]uint64, n+max(16, n/4)), make([]uint64, n+max(16, n/4))}
	copy(t.prints, was.prints)
	copy(t.packed, was.packed)
	for i := len(t.packed); i > n; i-- {
		a.free = append(a.free, uint32(i-1))
	}
	a.table.Store(t)
}

// set makes an alias one of another series.
func (a *aliases) set(i uint32, packed uint64) {
	atomic.StoreUint64(&a.table.Load().packed[i], packed)
}

func (a *aliases) remove(i uint32) {
	t := a.table.Load()
	atomic.StoreUint64(&t.packed[i], 0)
	atomic.StoreUint64(&t.prints[i], 0)
	a.free = append(a.free, i)
}

// place is where in its shard a fingerprint is: a series' head or an alias.
func (s *shard) place(f fingerprint) (uint32, bool) {
	if p := s.places.part(f.Hi, s.e.shardBits).Load(); p != nil {
		return s.places.find(p, printOf(f.Lo))
	}
	return 0, false
}

// find looks a fingerprint up without a lock. The replica in the answer is 0 where
// the labels do not say it.
func (e *Engine) find(f fingerprint) (Ref, uint64, bool) {
	s := e.shardOf(f)
	val, ok := s.place(f)
	if !ok {
		return 0, 0, false
	}
	if val&aliasBit == 0 {
		return e.alive(Ref(e.dense(s, val)))
	}
	packed := s.aliases.packed(val &^ aliasBit)
	ref, meta, ok := e.alive(Ref(packed & 0xffffffff))
	if !ok || packed == 0 || ref.gen() != uint8(packed>>32) {
		return 0, 0, false
	}
	return ref | Ref(packed&(0xff<<40)), meta, true
}

// alive completes an index with the generation of the series that has it now.
func (e *Engine) alive(at Ref) (Ref, uint64, bool) {
	s, id := e.locate(at.Index())
	r := s.at(id)
	if r.none() {
		return 0, 0, false
	}
	meta := r.load()
	if meta&flagHead == 0 {
		return 0, 0, false
	}
	return at | Ref(metaGen(meta))<<32, meta, true
}

// replicas gives senders and values of replica labels a number, 1 to 254.
type replicas struct {
	mu      sync.Mutex
	numbers map[uint64]uint8
	names   []uint64 // by number - 1
}

func (r *replicas) identity(number uint8) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if number == 0 || int(number) > len(r.names) {
		return 0
	}
	return r.names[number-1]
}

// number: those after the 253rd share the last one.
func (r *replicas) number(identity uint64) uint8 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.numbers[identity]; ok {
		return n
	}
	if r.numbers == nil {
		r.numbers = map[uint64]uint8{}
	}
	if len(r.numbers) >= 253 {
		return 254
	}
	n := uint8(len(r.numbers) + 1)
	r.numbers[identity] = n
	r.names = append(r.names, identity)
	return n
}

func senderIdentity(sender uint64) uint64 { return sender ^ 0x9e3779b97f4a7c15 }
func labelIdentity(value string) uint64   { return xxh3.HashString(value) }

// negatives remembers fingerprints that no rule takes: a table of fixed size in
// which newer ones replace older ones.
type negatives struct{ slots atomic.Pointer[[]uint64] }

const negativeSlots = 1 << 18

func (n *negatives) has(f fingerprint) bool {
	slots := n.slots.Load()
	return slots != nil && atomic.LoadUint64(&(*slots)[f.Hi%negativeSlots]) == f.Lo
}

func (n *negatives) add(f fingerprint) {
	slots := n.slots.Load()
	if slots == nil {
		fresh := make([]uint64, negativeSlots)
		slots = &fresh
		n.slots.Store(slots)
	}
	atomic.StoreUint64(&(*slots)[f.Hi%negativeSlots], f.Lo)
}

func (n *negatives) reset() { n.slots.Store(nil) }
