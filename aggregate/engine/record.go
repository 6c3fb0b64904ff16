package engine

import "sync/atomic"

// A record is what is known of one series for one rule: 32 bytes without pointers.
// A series that several rules take has several records, chained from its head.
type record struct {
	// v and t are the last sample taken; t is never before the first one.
	v float64
	t int64
	// meta: bits 0-31 source, 32-39 generation, 40-47 step (coded), 48-55 leading
	// replica, 56-63 flags. Written under the shard's lock with atomic stores, as a
	// batch looks at it without.
	meta uint64
	// group: bits 20-31 slot of the rule (0: none any more), 0-19 group's ordinal.
	group uint32
	// next is the index of the series' next record, plus 1.
	next uint32
}

const (
	flagHead    = 1 << (56 + iota) // first record of a series in use
	flagDrop                       // samples are not to be stored
	flagFresh                      // the journal does not know the series yet
	flagStale                      // ended by a stale marker
	flagGap                        // has segments in the gap table
	flagSure                       // step is confirmed
	flagRelearn                    // rules were added since its labels were seen
	flagBorn                       // its first sample counted as a birth (while step is 0)

	ordinalBits = 20
	maxOrdinal  = 1<<ordinalBits - 1
	maxSlot     = 1<<(32-ordinalBits) - 1
)

func (r *record) source() uint32      { return uint32(r.meta) }
func (r *record) gen() uint8          { return uint8(r.meta >> 32) }
func (r *record) step() uint8         { return uint8(r.meta >> 40) }
func (r *record) leader() uint8       { return uint8(r.meta >> 48) }
func (r *record) is(flag uint64) bool { return r.meta&flag != 0 }
func (r *record) set(flag uint64)     { r.store(r.meta | flag) }
func (r *record) clear(flag uint64)   { r.store(r.meta &^ flag) }
func (r *record) setSource(s uint32)  { r.store(r.meta&^0xffffffff | uint64(s)) }
func (r *record) setStep(code uint8)  { r.store(r.meta&^(0xff<<40) | uint64(code)<<40) }
func (r *record) setLeader(rep uint8) { r.store(r.meta&^(0xff<<48) | uint64(rep)<<48) }
func (r *record) slot() uint32        { return r.group >> ordinalBits }
func (r *record) ordinal() uint32     { return r.group & maxOrdinal }
func (r *record) load() uint64        { return atomic.LoadUint64(&r.meta) }
func groupOf(slot, ord uint32) uint32 { return slot<<ordinalBits | ord }
func metaGen(meta uint64) uint8       { return uint8(meta >> 32) }
func metaVerdict(meta uint64) Verdict {
	if meta&flagDrop != 0 {
		return Matched | Drop
	}
	return Matched
}

// store skips the write, and its cost for other readers, where nothing changes.
func (r *record) store(meta uint64) {
	if meta != r.meta {
		atomic.StoreUint64(&r.meta, meta)
	}
}

// Steps are coded as a logarithm with eight parts an octave, 0 for unknown.

func stepCode(ms int64) uint8 {
	if ms < 8 {
		return uint8(max(1, ms))
	}
	e := uint(0)
	for ms>>e >= 16 {
		e++
	}
	return uint8(min(255, 8+uint64(e)*8+uint64(ms>>e)-8))
}

func stepMillis(code uint8) int64 {
	if code < 16 {
		return int64(code)
	}
	return int64(8+code&7) << (code/8 - 1)
}

const chunkSize = 1024

// chunk is 1024 records and, while any of them has one, the first samples of each.
type chunk struct {
	recs  *[chunkSize]record
	first *firsts
	live  int
	bump  uint32 // records from here on were never used
	free  uint32 // list of freed records through next, plus 1
}

// firsts are the first samples of the records of a chunk, kept until the horizon
// so that older ones that arrive later can be joined on.
type firsts struct {
	v    *[chunkSize]float64
	dt   *[chunkSize]uint32 // 0: none; else born bit and milliseconds since base
	base int64
	n    int
}

const (
	firstBorn  = 1 << 31
	firstRange = 1<<31 - 1
)

func (c *chunk) getFirst(i uint32) (t int64, v float64, born, ok bool) {
	if c.first == nil || c.first.dt[i] == 0 {
		return 0, 0, false, false
	}
	d := c.first.dt[i]
	return c.first.base + int64(d&firstRange), c.first.v[i], d&firstBorn != 0, true
}

// setFirst reports whether t fits in (12 days around the chunk's first one).
func (c *chunk) setFirst(i uint32, t int64, v float64, born bool) bool {
	if c.first == nil {
		c.first = &firsts{v: new([chunkSize]float64), dt: new([chunkSize]uint32), base: t - firstRange/2}
	}
	d := t - c.first.base
	if d <= 0 || d > firstRange {
		c.dropFirst(i)
		return false
	}
	if c.first.dt[i] == 0 {
		c.first.n++
	}
	c.first.v[i], c.first.dt[i] = v, uint32(d)
	if born {
		c.first.dt[i] |= firstBorn
	}
	return true
}

func (c *chunk) dropFirst(i uint32) {
	if c.first == nil || c.first.dt[i] == 0 {
		return
	}
	c.first.dt[i] = 0
	if c.first.n--; c.first.n == 0 {
		c.first = nil
	}
}
