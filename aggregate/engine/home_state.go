package engine

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// homeImage is what an image has of a chunk about homes. The IDs are copied with the
// records. The rest takes longer, as it lies here and there: a batch copies it of the
// series alone that it is about to change.
type homeImage struct {
	named bool
	ids   [chunkSize]uint64
	all   bool            // the rest is there
	saved map[uint32]bool // or that of these series
	aways []awayImage
	based []basedImage
}

type awayImage struct {
	away
	id               uint32
	offered, watched bool
}

type basedImage struct {
	id uint32
	kept
}

func (x *homeImage) begin() {
	x.named, x.all, x.aways, x.based = false, false, x.aways[:0], x.based[:0]
	clear(x.saved)
}

// takeHome copies what a series has whose records are there already.
func (m *image) takeHome(s *shard, id uint32) {
	n := int(id / chunkSize)
	if n >= m.n || m.chunks[n].all || !m.chunks[n].had(id) {
		return
	}
	x := m.chunks[n]
	if x.saved == nil {
		x.saved = map[uint32]bool{}
	}
	if !x.saved[id] {
		x.saved[id] = true
		x.addAway(s, id, s.awayOf(id))
		x.addBased(s, id)
	}
}

// takeHomes is takeHome for what is left of a chunk.
func (m *image) takeHomes(s *shard, n int) {
	if n >= m.n || m.chunks[n].all {
		return
	}
	x := m.chunks[n]
	x.all = true
	chunks := *s.chunks.Load()
	if n >= len(chunks) || chunks[n] == nil {
		return
	}
	left := func(id uint32) bool { return !x.saved[id] && x.had(id) }
	chunks[n].aways.each(func(i uint32, a **away) {
		if id := uint32(n)*chunkSize + i; left(id) {
			x.addAway(s, id, *a)
		}
	})
	for i := uint32(0); i < chunks[n].bump && len(s.away.based) > 0; i++ {
		if id := uint32(n)*chunkSize + i; left(id) {
			x.addBased(s, id)
		}
	}
}

// sort puts series in their order, whichever changed first.
func (x *homeImage) sort() {
	slices.SortFunc(x.aways, func(a, b awayImage) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(x.based, func(a, b basedImage) int { return cmp.Compare(a.id, b.id) })
}

// had reports whether a series was there.
func (x *chunkImage) had(id uint32) bool {
	i := int(id % chunkSize)
	return x.there && x.named && i < x.n && x.recs.idents[i].is(flagHead)
}

func (x *homeImage) addAway(s *shard, id uint32, a *away) {
	if a != nil {
		x.aways = append(x.aways, awayImage{*a, id, s.away.offered[id] != nil, s.away.fresh[id] == nil})
	}
}

func (x *homeImage) addBased(s *shard, id uint32) {
	if k, ok := s.away.based[id]; ok {
		x.based = append(x.based, basedImage{id, k})
	}
}

// appendHomes writes the IDs of series and what is kept for others.
func (m *image) appendHomes(b []byte) []byte {
	aways, based := 0, 0
	m.each(func(n int, c *chunkImage) {
		aways, based = aways+len(c.aways), based+len(c.based)
		if !c.named {
			return
		}
		b = binary.AppendUvarint(b, uint64(n)+1)
		for _, id := range c.ids[:c.n] {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	})
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(m.heard)))
	for home, h := range m.heard {
		b = binary.LittleEndian.AppendUint64(b, home)
		b = binary.AppendVarint(b, h.at)
		b = binary.LittleEndian.AppendUint64(b, uint64(h.through))
		b = binary.LittleEndian.AppendUint64(b, uint64(h.due))
		b = binary.LittleEndian.AppendUint64(b, uint64(h.newest))
	}
	b = binary.AppendUvarint(b, uint64(aways))
	m.each(func(_ int, c *chunkImage) {
		for i := range c.aways {
			b = c.aways[i].append(b)
		}
	})
	b = binary.AppendUvarint(b, uint64(based))
	m.each(func(_ int, c *chunkImage) {
		for _, x := range c.based {
			b = appendKept(binary.LittleEndian.AppendUint32(b, x.id), x.kept)
		}
	})
	return b
}

func (a *awayImage) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, a.id)
	b = binary.LittleEndian.AppendUint64(b, a.home)
	b = binary.LittleEndian.AppendUint32(b, a.there)
	b = append(b, a.step, flagByte(a.offered, a.ended, a.watched))
	b = binary.AppendVarint(binary.AppendVarint(b, a.since), a.until)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.lastT))
	b = appendFloat(b, a.lastV)
	b = binary.AppendUvarint(b, uint64(len(a.list)))
	for _, k := range a.list {
		b = appendKept(b, k)
	}
	return b
}

// homes reads that; snapshots of older versions have none.
func (x *restorer) homes(s *shard, d *decoder) error {
	if len(d.b) == 0 {
		return nil
	}
	chunks := *s.chunks.Load()
	for !d.bad {
		n := d.uvarint()
		if n == 0 {
			break
		}
		if n > uint64(len(chunks)) || chunks[n-1] == nil {
			return errShort
		}
		c := chunks[n-1]
		c.ids = new([chunkSize]uint64)
		for i := range c.bump {
			c.ids[i] = d.u64()
			if !c.recs.idents[i].is(flagHead) || x.e.homeKey == 0 {
				c.ids[i] = 0
			}
		}
	}
	said := map[uint64]heard{}
	for range d.count(33) {
		home := d.u64()
		h := heard{at: d.varint(), through: int64(d.u64()), due: int64(d.u64()), newest: int64(d.u64()), ours: never}
		if !plausible(h.at) {
			return errShort
		}
		said[home] = h
	}
	for range d.count(35) {
		if err := x.away(s, d, said); err != nil {
			return err
		}
	}
	for range d.count(15) {
		id, k := d.u32(), d.kept()
		if r := s.at(id); !r.none() && r.is(flagHead) {
			s.away.based[id] = k
		}
	}
	if d.err() == nil && x.e.homeKey == 0 {
		s.eachHead(func(id uint32) { s.abandon(id, s.at(id)) })
	}
	return d.err()
}

func (x *restorer) away(s *shard, d *decoder, said map[uint64]heard) error {
	id, home, there, step, flags := d.u32(), d.u64(), d.u32(), d.byte(), d.byte()
	in := away{newest: never, step: step, ended: flags&2 != 0, since: d.varint(), until: d.varint(), lastT: int64(d.u64()), lastV: d.float()}
	for range d.count(11) {
		k := d.kept()
		in.list = append(in.list, k)
		in.newest = max(in.newest, k.t)
	}
	if d.bad || len(in.list) > maxKept || in.lastT != never && !plausible(in.lastT) {
		return errShort
	}
	r := s.at(id)
	if r.none() || !r.is(flagHead) || s.idOf(id) == 0 || s.awayOf(id) != nil {
		return nil
	}
	a := s.waitFor(id, r)
	a.step, a.ended, a.since, a.until, a.lastT, a.lastV, a.newest, a.list = in.step, in.ended, in.since, in.until, in.lastT, in.lastV, in.newest, in.list
	if home == 0 {
		return nil
	}
	s.follow(id, r, home, there, said[home].at)
	h := s.away.heard[home]
	h.through, h.due, h.newest = said[home].through, said[home].due, said[home].newest
	if flags&1 != 0 {
		s.away.offered[id] = a
	}
	if flags&4 != 0 {
		delete(s.away.fresh, id)
	}
	return nil
}
