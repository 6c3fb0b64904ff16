package engine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// A snapshot is a magic number and sections: kind (1 byte), length (4 bytes,
// little-endian), the bytes, their CRC-32C. The last section is that of the rules.
const (
	snapshotMagic = "ATOLLAG\x01"

	sectionShard = 1
	sectionRules = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot writes the state. atCut (may be nil) is called once while no batch is
// between the journal and the state: every frame before it, and before the call of
// Snapshot, is in the snapshot. Of the frames after it some may be in it as well;
// ReplayFrame does not count them twice. A shard is held up while its part is
// copied, nothing else is.
func (e *Engine) Snapshot(w io.Writer, atCut func() error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.atCut(atCut); err != nil {
		return fmt.Errorf("snapshot of aggregation: cut the journal: %w", err)
	}
	if _, err := io.WriteString(w, snapshotMagic); err != nil {
		return fmt.Errorf("write snapshot of aggregation: %w", err)
	}
	var buf []byte
	for _, s := range e.shards {
		buf = roomFor(buf, s.stateSize())
		s.mu.Lock()
		buf = s.appendState(buf[:0])
		s.mu.Unlock()
		if err := writeSection(w, sectionShard, buf); err != nil {
			return err
		}
	}
	// Groups and sources come last: whatever a shard refers to is in there.
	return writeSection(w, sectionRules, e.appendRules(buf[:0]))
}

// stateSize is about what appendState will write, most of all records and index.
func (s *shard) stateSize() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 1 << 16
	for _, c := range *s.chunks.Load() {
		if c != nil {
			n += chunkSize * (32 + 12)
		}
	}
	for i := range s.index.parts {
		if p := s.index.parts[i].Load(); p != nil {
			n += p.live * (8 + 5)
		}
	}
	return n
}

// roomFor returns a buffer of at least that size, each page of which was touched:
// who copies into it under a lock need not wait for the kernel.
func roomFor(buf []byte, size int) []byte {
	if cap(buf) >= size {
		return buf
	}
	buf = make([]byte, size+size/8)
	for i := 0; i < len(buf); i += 4096 {
		buf[i] = 1
	}
	return buf[:0]
}

// atCut waits for the batches under way, then calls f with none under way.
func (e *Engine) atCut(f func() error) error {
	e.cut.Lock()
	defer e.cut.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

func writeSection(w io.Writer, kind byte, payload []byte) error {
	if uint64(len(payload)) > 1<<32-1 {
		return fmt.Errorf("write snapshot of aggregation: a section of %d bytes, want less than 4GiB; use more shards", len(payload))
	}
	head := append(make([]byte, 0, 5), kind)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(payload)))
	sum := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(payload, castagnoli))
	for _, p := range [][]byte{head, payload, sum} {
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("write snapshot of aggregation: %w", err)
		}
	}
	return nil
}

func (s *shard) appendState(b []byte) []byte {
	b = s.appendRecords(b)
	b = s.appendIndex(b)
	b = s.appendSides(b)
	return s.appendHomes(s.appendWindows(b))
}

// appendRecords copies whole chunks: 32 bytes a record, with first samples.
func (s *shard) appendRecords(b []byte) []byte {
	chunks := *s.chunks.Load()
	b = binary.AppendUvarint(b, uint64(len(chunks)))
	for _, c := range chunks {
		if c == nil {
			b = append(b, 0)
			continue
		}
		kind := byte(1)
		if c.first != nil {
			kind = 2
		}
		b = append(b, kind)
		b = binary.LittleEndian.AppendUint32(b, c.bump)
		b = slices.Grow(b, int(c.bump)*32)
		for i := range c.recs[:c.bump] {
			r := &c.recs[i]
			b = appendFloat(b, r.v)
			b = binary.LittleEndian.AppendUint64(b, uint64(r.t))
			b = binary.LittleEndian.AppendUint64(b, r.meta)
			b = binary.LittleEndian.AppendUint32(b, r.group)
			b = binary.LittleEndian.AppendUint32(b, r.next)
		}
		if kind == 2 {
			b = binary.LittleEndian.AppendUint64(b, uint64(c.first.base))
			for i := range c.bump {
				b = binary.LittleEndian.AppendUint32(b, c.first.time(i))
				b = appendFloat(b, c.first.v[i])
			}
		}
	}
	return b
}

func (x *index) append(b []byte, value func(uint32) uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(x.parts)))
	for i := range x.parts {
		s := x.parts[i].Load()
		if s == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(s.live))
		s.each(func(key uint64, val uint32, _ func()) {
			b = binary.LittleEndian.AppendUint64(b, key)
			b = binary.AppendUvarint(b, value(val))
		})
	}
	return b
}

// appendIndex writes aliases in place: bit 63 marks them.
func (s *shard) appendIndex(b []byte) []byte {
	return s.index.append(b, func(val uint32) uint64 {
		if val&aliasBit != 0 {
			return s.aliases.load(val&^aliasBit) | 1<<63
		}
		return uint64(val)
	})
}

func (s *shard) appendSides(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.gaps.live))
	for id, head := range s.gaps.heads {
		for i := head; i != 0; i = s.gaps.all[i-1].next {
			g := s.gaps.all[i-1]
			b = binary.LittleEndian.AppendUint32(b, id)
			b = append(b, byte(g.kind))
			b = appendFloat(appendFloat(b, g.fromV), g.toV)
			b = binary.LittleEndian.AppendUint64(b, uint64(g.from))
			b = binary.LittleEndian.AppendUint64(b, uint64(g.to))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.aside)))
	for id, list := range s.aside {
		b = binary.LittleEndian.AppendUint32(b, id)
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, k := range list {
			b = appendKept(b, k)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.held)))
	for id, h := range s.held {
		b = appendKept(binary.LittleEndian.AppendUint32(b, id), h.kept)
	}
	b = binary.AppendUvarint(b, uint64(len(s.hists)))
	for id, h := range s.hists {
		b = appendHistogram(binary.LittleEndian.AppendUint32(b, id), h.last)
	}
	b = binary.AppendUvarint(b, uint64(len(s.odd)))
	for id, t := range s.odd {
		b = binary.AppendVarint(binary.LittleEndian.AppendUint32(b, id), t)
	}
	return b
}

func appendKept(b []byte, k kept) []byte {
	b = binary.AppendVarint(binary.AppendVarint(b, k.t), k.st)
	return append(appendFloat(b, k.v), k.rep)
}

func (s *shard) appendWindows(b []byte) []byte {
	n := 0
	for _, rw := range s.rules {
		if rw != nil {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for slot, rw := range s.rules {
		if rw == nil {
			continue
		}
		b = binary.AppendUvarint(b, uint64(slot))
		b = binary.AppendUvarint(b, uint64(len(rw.open)))
		for _, w := range rw.open {
			b = binary.AppendVarint(b, w.end)
			late := byte(0)
			if w.late {
				late = 1
			}
			b = append(b, late)
			b = binary.AppendVarint(binary.AppendVarint(b, w.begun), w.touched)
			b = appendColumns(b, rw.rs, w.end, w.cols)
			b = appendRates(b, w.rates)
		}
	}
	return b
}

func appendColumns(b []byte, rs *ruleState, end int64, cols []*columns) []byte {
	m := merged{cols: cols}
	n := 0
	m.ordinals(func(uint32, *columns, int) { n++ })
	b = binary.AppendUvarint(b, uint64(n))
	m.ordinals(func(ord uint32, c *columns, i int) {
		b = binary.AppendUvarint(b, uint64(ord))
		a := c.acc(i, false)
		b = appendSum2(appendSum2(b, a.Increase), a.IncreaseProm)
		b = binary.AppendUvarint(b, a.Series)
		a.Increase, a.IncreaseProm, a.Series = partial.Sum2{}, partial.Sum2{}, 0
		b = partial.AppendAcc(b, rs.needs, end, &a)
	})
	return b
}

func appendRates(b []byte, chunks []*rateChunk) []byte {
	n := 0
	for _, c := range chunks {
		if c != nil {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for k, c := range chunks {
		if c == nil {
			continue
		}
		b = binary.AppendUvarint(b, uint64(k))
		for i := range c {
			if cell := &c[i]; cell.used {
				b = binary.LittleEndian.AppendUint16(b, uint16(i))
				b = binary.LittleEndian.AppendUint32(b, cell.ord)
				b = appendFloat(appendFloat(b, cell.inc), cell.covered)
			}
		}
		b = binary.LittleEndian.AppendUint16(b, chunkSize)
	}
	return b
}

// appendRules writes what is not the shards': the engine, sources, rules.
func (e *Engine) appendRules(b []byte) []byte {
	set := e.rules.Load()
	b = binary.LittleEndian.AppendUint64(b, e.seed)
	b = binary.AppendUvarint(b, uint64(e.shardBits))
	b = binary.AppendVarint(binary.AppendVarint(b, e.started.Load()), e.newest.Load())
	for _, names := range [][]string{set.set.ReplicaLabels, set.set.SourceLabels} {
		b = binary.AppendUvarint(b, uint64(len(names)))
		for _, n := range names {
			b = appendBytes(b, []byte(n))
		}
	}
	e.replicas.mu.Lock()
	b = binary.AppendUvarint(b, uint64(len(e.replicas.names)))
	for _, id := range e.replicas.names {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	e.replicas.mu.Unlock()
	b = e.src.append(b)
	b = binary.AppendUvarint(b, uint64(len(set.active)))
	for _, rs := range set.active {
		b = rs.append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(e.outbox)))
	for _, w := range e.outbox {
		b = appendBytes(b, partial.AppendWindow(nil, w))
	}
	e.learning.Lock()
	b = binary.LittleEndian.AppendUint64(b, e.homeKey)
	e.learning.Unlock()
	return append(b, flagByte(e.homing.Load()))
}

func (s *sources) append(b []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(s.all.end()))
	var none source
	for i := range s.all.end() {
		p := s.all.at(i)
		if p == nil {
			p = &none
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(p.firstT))
		b = binary.LittleEndian.AppendUint64(b, uint64(p.maxT))
		b = append(b, p.step)
	}
	return s.index.append(b, func(v uint32) uint64 { return uint64(v) })
}

func (rs *ruleState) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, rs.rule.Load().Hash)
	b = binary.AppendUvarint(b, uint64(rs.slot))
	b = binary.LittleEndian.AppendUint64(b, uint64(rs.since))
	b = binary.LittleEndian.AppendUint64(b, uint64(rs.sealed.Load()))
	rs.groups.mu.Lock()
	b = binary.AppendUvarint(b, uint64(len(rs.groups.all)))
	for i := range rs.groups.all {
		g := &rs.groups.all[i]
		kind := byte(0)
		if g.used {
			kind = 1
			if g.extra {
				kind = 2
			}
		}
		b = append(b, kind)
		if g.used {
			b = appendBytes(b, appendLabels(nil, g.labels, nil))
			b = appendBytes(b, []byte(g.tenant))
			b = binary.AppendVarint(b, g.idle)
		}
	}
	rs.groups.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(len(rs.published)))
	for _, end := range slices.Sorted(maps.Keys(rs.published)) {
		b = rs.appendPublication(b, end, rs.published[end])
	}
	b = binary.AppendUvarint(b, uint64(len(rs.carry)))
	for ord, c := range rs.carry {
		b = binary.AppendUvarint(b, uint64(ord))
		b = appendSum2(appendSum2(appendSum2(b, c.increase), c.prom), c.sum)
		b = binary.AppendUvarint(b, uint64(c.windows))
	}
	return b
}

func (rs *ruleState) appendPublication(b []byte, end int64, p *publication) []byte {
	b = binary.AppendVarint(b, end)
	b = binary.AppendUvarint(b, uint64(p.revision))
	flags := byte(0)
	if p.again {
		flags |= 1
	}
	if p.kept != nil {
		flags |= 2
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(p.groups)))
	for _, word := range p.groups {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	if p.kept != nil {
		b = appendColumns(b, rs, end, p.kept.cols)
		b = binary.AppendUvarint(b, uint64(len(p.kept.rates)))
		for _, chunks := range p.kept.rates {
			b = appendRates(b, chunks)
		}
	}
	return b
}
