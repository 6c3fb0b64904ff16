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
// ReplayFrame does not count them twice. Batches wait while a chunk of records is
// copied, and for no more.
func (e *Engine) Snapshot(w io.Writer, atCut func() error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.atCut(atCut); err != nil {
		return fmt.Errorf("snapshot of aggregation: cut the journal: %w", err)
	}
	if _, err := io.WriteString(w, snapshotMagic); err != nil {
		return fmt.Errorf("write snapshot of aggregation: %w", err)
	}
	m := &image{}
	var b []byte
	for _, s := range e.shards {
		m.copy(s)
		b = m.append(b[:0], s)
		m.end(s)
		if err := writeSection(w, sectionShard, b); err != nil {
			return err
		}
	}
	// Groups and sources come last: whatever a shard refers to is in there.
	return writeSection(w, sectionRules, e.appendRules(b[:0]))
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
	head := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	sum := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(payload, castagnoli))
	for _, p := range [][]byte{head, payload, sum} {
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("write snapshot of aggregation: %w", err)
		}
	}
	return nil
}

// appendPlaces writes prints with their places, and aliases in place: bit 63 marks
// them. Each part is one of its own, as the shard is not held up for all; nor is it
// while b grows.
func (s *shard) appendPlaces(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.places.parts)))
	var part []byte
	for i := range s.places.parts {
		s.mu.Lock()
		part = s.appendPart(part[:0], s.places.parts[i].Load())
		s.mu.Unlock()
		b = append(b, part...)
	}
	return b
}

func (s *shard) appendPart(b []byte, p *placePart) []byte {
	if p == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(p.live))
	p.each(func(val uint32, _ func()) {
		b = binary.LittleEndian.AppendUint64(b, s.print(val))
		if val&aliasBit != 0 {
			b = binary.AppendUvarint(b, s.aliases.packed(val&^aliasBit)|1<<63)
		} else {
			b = binary.AppendUvarint(b, uint64(val))
		}
	})
	return b
}

func appendKept(b []byte, k kept) []byte {
	b = binary.AppendVarint(binary.AppendVarint(b, k.t), k.st)
	return append(appendFloat(b, k.v), k.rep)
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
		a.Increase, a.IncreaseProm, a.Series, a.Lacks = partial.Sum2{}, partial.Sum2{}, 0, rs.needs&^c.needs
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
	b = append(b, flagByte(e.homing.Load()))
	for _, rs := range set.active {
		b = binary.AppendUvarint(b, uint64(rs.needs))
	}
	return b
}

// append holds the sources up for some of them at a time: what was referred to when it
// begins is there all the while.
func (s *sources) append(b []byte) []byte {
	s.mu.Lock()
	end := s.all.end()
	s.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(end))
	var some []byte
	for from := uint32(0); from < end; from += marksStep {
		s.mu.Lock()
		some = s.all.append(some[:0], from, min(end, from+marksStep))
		s.mu.Unlock()
		b = append(b, some...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.index.parts)))
	for i := range s.index.parts {
		s.mu.Lock()
		some = s.index.parts[i].Load().append(some[:0])
		s.mu.Unlock()
		b = append(b, some...)
	}
	return b
}

func (t *sourceTable) append(b []byte, from, to uint32) []byte {
	var none source
	for i := from; i < to; i++ {
		p := t.at(i)
		if p == nil {
			p = &none
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(p.firstT))
		b = binary.LittleEndian.AppendUint64(b, uint64(p.maxT))
		b = append(b, p.step)
	}
	return b
}

func (s *segment) append(b []byte) []byte {
	if s == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(s.live))
	s.each(func(key uint64, val uint32, _ func()) {
		b = binary.LittleEndian.AppendUint64(b, key)
		b = binary.AppendUvarint(b, uint64(val))
	})
	return b
}

func (rs *ruleState) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, rs.rule.Load().Hash)
	b = binary.AppendUvarint(b, uint64(rs.slot))
	b = binary.LittleEndian.AppendUint64(b, uint64(rs.since))
	b = binary.LittleEndian.AppendUint64(b, uint64(rs.sealed.Load()))
	b = rs.groups.append(b)
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

// append writes those that there are when it begins, some at a time while new series
// wait.
func (g *groups) append(b []byte) []byte {
	g.mu.Lock()
	n := len(g.all)
	g.mu.Unlock()
	b = binary.AppendUvarint(b, uint64(n))
	var some []byte
	for from := 0; from < n; from += groupChunk {
		some = some[:0]
		g.mu.Lock()
		for i := from; i < min(n, from+groupChunk); i++ {
			some = g.all[i].append(some)
		}
		g.mu.Unlock()
		b = append(b, some...)
	}
	return b
}

func (g *group) append(b []byte) []byte {
	switch {
	case !g.used:
		return append(b, 0)
	case g.extra:
		b = append(b, 2)
	default:
		b = append(b, 1)
	}
	b = appendBytes(b, appendLabels(nil, g.labels, nil))
	b = appendBytes(b, []byte(g.tenant))
	return binary.AppendVarint(b, g.idle)
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
