package engine

import "encoding/binary"

// appendHomes writes the IDs of series and what is kept for others.
func (s *shard) appendHomes(b []byte) []byte {
	chunks := *s.chunks.Load()
	for n, c := range chunks {
		if c == nil || c.ids == nil {
			continue
		}
		b = binary.AppendUvarint(b, uint64(n)+1)
		for _, id := range c.ids[:c.bump] {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(s.away.heard)))
	for home, h := range s.away.heard {
		b = binary.LittleEndian.AppendUint64(b, home)
		b = binary.AppendVarint(b, h.at)
		b = binary.LittleEndian.AppendUint64(b, uint64(h.through))
		b = binary.LittleEndian.AppendUint64(b, uint64(h.due))
		b = binary.LittleEndian.AppendUint64(b, uint64(h.newest))
	}
	b = binary.AppendUvarint(b, uint64(len(s.away.all)))
	for id, a := range s.away.all {
		b = binary.LittleEndian.AppendUint32(b, id)
		b = binary.LittleEndian.AppendUint64(b, a.home)
		b = binary.LittleEndian.AppendUint32(b, a.there)
		b = append(b, a.step, flagByte(s.away.offered[id] != nil, a.ended, s.away.fresh[id] == nil))
		b = binary.AppendVarint(binary.AppendVarint(b, a.since), a.until)
		b = binary.LittleEndian.AppendUint64(b, uint64(a.lastT))
		b = appendFloat(b, a.lastV)
		b = binary.AppendUvarint(b, uint64(len(a.list)))
		for _, k := range a.list {
			b = appendKept(b, k)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.away.based)))
	for id, k := range s.away.based {
		b = appendKept(binary.LittleEndian.AppendUint32(b, id), k)
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
			if !c.recs[i].is(flagHead) || x.e.homeKey == 0 {
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
		if r := s.at(id); r != nil && r.is(flagHead) {
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
	if r == nil || !r.is(flagHead) || s.idOf(id) == 0 || s.away.all[id] != nil {
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
