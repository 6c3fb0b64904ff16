package engine

// shard reads one shard's section.
func (x *restorer) shard(s *shard, d *decoder) error {
	chunks, err := x.records(d)
	if err != nil {
		return err
	}
	s.chunks.Store(&chunks)
	if err := x.chains(s, chunks); err != nil {
		return err
	}
	total := uint64(len(chunks)) * chunkSize
	if err := s.readPlaces(d, total); err != nil {
		return err
	}
	if err := x.sides(s, d, total); err != nil {
		return err
	}
	if err := x.windows(s, d); err != nil {
		return err
	}
	return x.homes(s, d)
}

// readPlaces enters the prints of heads and aliases.
func (s *shard) readPlaces(d *decoder, total uint64) error {
	if d.count(1) != len(s.places.parts) {
		return errShort
	}
	for i := range s.places.parts {
		n := d.count(9)
		part := roomyPart(n)
		for range n {
			print, v := d.u64(), d.uvarint()
			if d.bad {
				return errShort
			}
			if val, ok := s.readPlace(print, v, total); ok {
				part.put(print, val)
			}
		}
		if n > 0 {
			s.places.parts[i].Store(part)
		}
	}
	return d.err()
}

// readPlace refuses what has a print already.
func (s *shard) readPlace(print, v, total uint64) (uint32, bool) {
	switch {
	case print <= slotGone:
		return 0, false
	case v>>63 != 0:
		return s.aliases.add(print, v&^(1<<63)) | aliasBit, true
	case v >= total:
		return 0, false
	}
	r := s.at(uint32(v))
	if r.none() || !r.is(flagHead) || r.print != 0 {
		return 0, false
	}
	r.setPrint(print)
	return uint32(v), true
}

func (x *restorer) records(d *decoder) ([]*chunk, error) {
	n := d.count(1)
	if n > 1<<26/chunkSize {
		return nil, errShort
	}
	chunks := make([]*chunk, n)
	for k := range chunks {
		kind := d.byte()
		if kind == 0 {
			continue
		}
		c := &chunk{recs: new(records), bump: d.u32()}
		if kind > 2 || c.bump > chunkSize || uint64(len(d.b)) < uint64(c.bump)*32 {
			return nil, errShort
		}
		for i := range uint32(chunkSize) {
			if i >= c.bump {
				c.recs.idents[i].meta = 1 << 32
				continue
			}
			c.recs.readings[i] = reading{v: d.float(), t: int64(d.u64())}
			c.recs.idents[i] = ident{meta: d.u64(), group: d.u32(), next: d.u32()}
		}
		if kind == 2 {
			c.readFirsts(d)
		}
		chunks[k] = c
	}
	return chunks, d.err()
}

func (c *chunk) readFirsts(d *decoder) {
	c.first = &firsts{v: new([chunkSize]float64), far: new([chunkSize]uint32), base: int64(d.u64())}
	for i := range c.bump {
		c.first.far[i], c.first.v[i] = d.u32(), d.float()
		if c.first.far[i] != 0 {
			c.first.n++
		}
	}
	if !plausible(c.first.base) {
		d.bad, d.b = true, nil
	}
	c.first.narrow()
	if c.first.n == 0 {
		c.first = nil
	}
}

// chains checks the records of every series, puts them under our rules, and frees
// the records of none. Each is reached once, so that no chain is a circle.
func (x *restorer) chains(s *shard, chunks []*chunk) error {
	reached := make([]bool, len(chunks)*chunkSize)
	for n, c := range chunks {
		if c == nil {
			continue
		}
		for i := range c.bump {
			if !c.recs.idents[i].is(flagHead) {
				continue
			}
			s.count.series++
			for id := uint32(n)*chunkSize + i; ; {
				if int(id) >= len(reached) || reached[id] || chunks[id/chunkSize] == nil || id%chunkSize >= chunks[id/chunkSize].bump {
					return errShort
				}
				reached[id] = true
				r := s.at(id)
				if err := x.adoptRecord(r); err != nil {
					return err
				}
				if r.next == 0 {
					break
				}
				id = r.next - 1
				if int(id) < len(reached) && !s.at(id).none() && s.at(id).is(flagHead) {
					return errShort
				}
			}
		}
	}
	for n, c := range chunks {
		if c == nil {
			continue
		}
		for i := range c.bump {
			if reached[n*chunkSize+int(i)] {
				c.live++
				continue
			}
			r := c.recs.at(i)
			*r.ident = ident{meta: uint64(max(1, r.gen())) << 32, next: c.free}
			*r.reading = reading{t: never}
			c.dropFirst(i)
			c.free = i + 1
		}
	}
	return nil
}

func (x *restorer) adoptRecord(r record) error {
	if r.t != never && !plausible(r.t) || r.gen() == 0 {
		return errShort
	}
	src := r.source()
	if src&soloBit != 0 && src != soloBit || src&soloBit == 0 && x.e.src.all.at(src) == nil {
		return errShort
	}
	meta := r.meta
	if x.added && r.is(flagHead) {
		meta |= flagRelearn
	}
	r.meta = meta
	if r.slot() == 0 {
		return nil
	}
	rs := x.slots[r.slot()]
	if rs == nil || rs.slot == 0 {
		*r.ident = ident{meta: r.meta &^ (flagGap | flagSure | flagBorn | 0xff<<40), next: r.next}
		*r.reading = reading{t: never}
		return nil
	}
	if !rs.groups.known(r.ordinal()) {
		return errShort
	}
	rs.groups.all[r.ordinal()].refs++
	r.group = groupOf(rs.slot, r.ordinal())
	return nil
}

func (x *restorer) sides(s *shard, d *decoder, total uint64) error {
	known := func(id uint32) bool { return uint64(id) < total && !s.at(id).none() && s.at(id).slot() != 0 }
	for range d.count(37) {
		g := gapSegment{id: d.u32(), kind: gapKind(d.byte()), fromV: d.float(), toV: d.float(), from: int64(d.u64()), to: int64(d.u64())}
		if g.kind == 0 || g.kind > gapOpen || !plausible(g.to) || g.from >= g.to || g.from != never && !plausible(g.from) {
			return errShort
		}
		if unknown := g.from == never; unknown != (g.kind == gapBegin || g.kind == gapBorn) {
			return errShort
		}
		if known(g.id) {
			s.remember(s.at(g.id), g)
		}
	}
	for range d.count(5) {
		id := d.u32()
		var list []kept
		for range d.count(11) {
			list = append(list, d.kept())
		}
		if known(id) && len(list) > 0 && len(list) <= maxAside {
			s.setAsides(id, list)
		}
	}
	for range d.count(15) {
		id, k := d.u32(), d.kept()
		if known(id) {
			s.hold(id, k)
		}
	}
	for range d.count(5) {
		id, h := d.u32(), d.histogram()
		if h != nil && known(id) {
			s.setHist(id, h)
		}
	}
	for range d.count(5) {
		if id, t := d.u32(), d.varint(); known(id) && plausible(t) {
			s.odd[id] = t
		}
	}
	return d.err()
}

func (d *decoder) kept() kept {
	k := kept{t: d.varint(), st: d.varint(), v: d.float(), rep: d.byte()}
	if !plausible(k.t) || !plausible(k.st) {
		d.bad, d.b = true, nil
	}
	return k
}

func (x *restorer) windows(s *shard, d *decoder) error {
	for range d.count(2) {
		slot := d.uvarint()
		n := d.count(5)
		if slot > maxSlot || x.slots[uint32(slot)] == nil {
			return errShort
		}
		rs := x.slots[uint32(slot)]
		for range n {
			w := &window{end: d.varint(), late: d.byte() == 1, begun: d.varint(), touched: d.varint(), dirty: true}
			if !plausible(w.end) || !plausible(w.begun) || !plausible(w.touched) || rs.slot != 0 && w.end != rs.end(w.end) {
				return errShort
			}
			rs.readColumns(d, w.end, w)
			lack(w.cols, x.lacked[rs])
			w.rates = rs.readRates(d)
			if rs.slot == 0 {
				continue
			}
			s.rules[rs.slot].open[w.end] = w
		}
	}
	return d.err()
}

// connect counts again what the series make of sources, as the shards were copied
// one after the other.
func (x *restorer) connect() {
	all := &x.e.src.all
	for _, s := range x.e.shards {
		s.eachHead(func(id uint32) {
			r := s.at(id)
			n := r.source()
			if n == 0 || n&soloBit != 0 {
				return
			}
			src := all.at(n)
			src.series++
			if !r.is(flagStale) {
				src.live++
			}
			for q := r; ; q = s.at(q.next - 1) {
				if q.slot() != 0 {
					src.rules |= 1 << (q.slot() % 64)
				}
				if q.next == 0 {
					return
				}
			}
		})
	}
	used := map[uint32]bool{}
	for i := range x.e.src.index.parts {
		if seg := x.e.src.index.parts[i].Load(); seg != nil {
			seg.each(func(_ uint64, val uint32, _ func()) {
				if val&soloBit == 0 {
					used[val] = true
				}
			})
		}
	}
	end := all.end()
	for n := uint32(1); n < end; n++ {
		src := all.at(n)
		src.round = src.live
		if !used[n] && src.series == 0 {
			all.drop(n)
		}
	}
}
