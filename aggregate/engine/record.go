package engine

import "sync/atomic"

// A record is what is known of one series for one rule: 40 bytes without pointers. A
// series that several rules take has several records, chained from its head. Of a
// chunk's records what a batch looks for lies apart from what changes with each
// sample, or each core would take the lines of the former from the other for nothing.
type record struct {
	*ident
	*reading
}

// ident is what seldom changes.
type ident struct {
	// print is of a head's fingerprint, 0 for none. Written under the shard's lock,
	// before the head is one, with atomic stores, as meta.
	print uint64
	// meta: bits 0-31 source, 32-39 generation, 40-47 step (coded), 48-55 leading
	// replica, 56-63 flags. Written under the shard's lock with atomic stores, as a
	// batch looks at it without.
	meta uint64
	// group: bits 20-31 slot of the rule (0: none any more), 0-19 group's ordinal.
	group uint32
	// next is the index of the series' next record, plus 1.
	next uint32
}

// reading is the last sample taken; t is never before the first one.
type reading struct {
	v float64
	t int64
}

// records are those of a chunk.
type records struct {
	idents   [chunkSize]ident
	readings [chunkSize]reading
}

func (x *records) at(i uint32) record { return record{&x.idents[i], &x.readings[i]} }

// none tells that there is no record.
func (r record) none() bool { return r.ident == nil }

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

func (r *ident) source() uint32       { return uint32(r.meta) }
func (r *ident) gen() uint8           { return uint8(r.meta >> 32) }
func (r *ident) step() uint8          { return uint8(r.meta >> 40) }
func (r *ident) leader() uint8        { return uint8(r.meta >> 48) }
func (r *ident) is(flag uint64) bool  { return r.meta&flag != 0 }
func (r *ident) set(flag uint64)      { r.store(r.meta | flag) }
func (r *ident) clear(flag uint64)    { r.store(r.meta &^ flag) }
func (r *ident) setSource(s uint32)   { r.store(r.meta&^0xffffffff | uint64(s)) }
func (r *ident) setStep(code uint8)   { r.store(r.meta&^(0xff<<40) | uint64(code)<<40) }
func (r *ident) setLeader(rep uint8)  { r.store(r.meta&^(0xff<<48) | uint64(rep)<<48) }
func (r *ident) slot() uint32         { return r.group >> ordinalBits }
func (r *ident) ordinal() uint32      { return r.group & maxOrdinal }
func (r *ident) load() uint64         { return atomic.LoadUint64(&r.meta) }
func (r *ident) seen() uint64         { return atomic.LoadUint64(&r.print) }
func (r *ident) setPrint(p uint64)    { atomic.StoreUint64(&r.print, p) }
func groupOf(slot, ord uint32) uint32 { return slot<<ordinalBits | ord }
func metaGen(meta uint64) uint8       { return uint8(meta >> 32) }
func metaVerdict(meta uint64) Verdict {
	if meta&flagDrop != 0 {
		return Matched | Drop
	}
	return Matched
}

// store skips the write, and its cost for other readers, where nothing changes.
func (r *ident) store(meta uint64) {
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
	recs  *records
	first *firsts
	gaps  *gaps // nil for none
	sides
	ids   *[chunkSize]uint64 // Series.ID of heads, 0 for none
	aways *side[*away]       // nil for none
	live  int
	bump  uint32 // records from here on were never used
	free  uint32 // list of freed records through next, plus 1
	lane  uint8
}

// firsts are the first samples of the records of a chunk, kept until the horizon
// so that older ones that arrive later can be joined on. Their times, in
// milliseconds since base, take 2 bytes each as long as they lie close together.
type firsts struct {
	v    *[chunkSize]float64
	near *[chunkSize]uint16 // 0: none; else born bit and time
	far  *[chunkSize]uint32 // likewise, instead of near
	base int64
	n    int
}

const (
	nearBorn   = 1 << 15
	nearRange  = 1<<15 - 1
	firstBorn  = 1 << 31
	firstRange = 1<<31 - 1
)

func newFirsts(t int64) *firsts {
	return &firsts{v: new([chunkSize]float64), near: new([chunkSize]uint16), base: t - nearRange/2}
}

// time is 0 for none, else the born bit and the time since base.
func (f *firsts) time(i uint32) uint32 {
	if f.far != nil {
		return f.far[i]
	}
	d := uint32(f.near[i])
	return d&nearBorn<<16 | d&nearRange
}

// widen makes room for times of 12 days on either side.
func (f *firsts) widen() {
	const shift = firstRange / 2
	far := new([chunkSize]uint32)
	for i := range uint32(chunkSize) {
		if d := f.time(i); d != 0 {
			far[i] = d&firstBorn | (d&firstRange + shift)
		}
	}
	f.far, f.near, f.base = far, nil, f.base-shift
}

// narrow takes room back where all times lie close to the base, as in what a
// snapshot of near ones says.
func (f *firsts) narrow() {
	near := new([chunkSize]uint16)
	for i, d := range f.far {
		if d&firstRange > nearRange {
			return
		}
		near[i] = uint16(d>>16&nearBorn | d&nearRange)
	}
	f.near, f.far = near, nil
}

// set reports whether t fits in.
func (f *firsts) set(i uint32, t int64, born bool) bool {
	d := t - f.base
	if f.far == nil {
		if d > 0 && d <= nearRange {
			f.near[i] = uint16(d)
			if born {
				f.near[i] |= nearBorn
			}
			return true
		}
		f.widen()
		d = t - f.base
	}
	if d <= 0 || d > firstRange {
		return false
	}
	f.far[i] = uint32(d)
	if born {
		f.far[i] |= firstBorn
	}
	return true
}

func (f *firsts) bytes() int {
	if f.far != nil {
		return chunkSize * 12
	}
	return chunkSize * 10
}

func (c *chunk) getFirst(i uint32) (t int64, v float64, born, ok bool) {
	if c.first == nil {
		return 0, 0, false, false
	}
	d := c.first.time(i)
	if d == 0 {
		return 0, 0, false, false
	}
	return c.first.base + int64(d&firstRange), c.first.v[i], d&firstBorn != 0, true
}

// setFirst reports whether t fits in (12 days around the chunk's first one).
func (c *chunk) setFirst(i uint32, t int64, v float64, born bool) bool {
	if c.first == nil {
		c.first = newFirsts(t)
	}
	had := c.first.time(i) != 0
	if !c.first.set(i, t, born) {
		c.dropFirst(i)
		return false
	}
	if !had {
		c.first.n++
	}
	c.first.v[i] = v
	return true
}

func (c *chunk) dropFirst(i uint32) {
	if c.first == nil || c.first.time(i) == 0 {
		return
	}
	if c.first.far != nil {
		c.first.far[i] = 0
	} else {
		c.first.near[i] = 0
	}
	if c.first.n--; c.first.n == 0 {
		c.first = nil
	}
}
