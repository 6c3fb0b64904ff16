package share

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// The state is one frame per thing: a length and that many bytes.
const (
	stateVersion = 1
	mostFrame    = 256 << 20
)

const (
	frameEnd = iota
	frameRule
	frameGroup
	framePart
	frameDone
	frameMember
)

// Snapshot writes what a restart needs: what was counted, the parts in memory that
// are not published, which windows are. It must be of the same cut as the
// engine's: windows that were sealed after it are pushed again after Restore.
func (s *Share) Snapshot(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := bufio.NewWriter(w)
	frame := func(b []byte) { // the writer keeps the first error
		_, _ = out.Write(binary.AppendUvarint(nil, uint64(len(b))))
		_, _ = out.Write(b)
	}
	frame(binary.AppendUvarint([]byte{stateVersion}, s.life))
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		m := s.members[name]
		frame(binary.AppendVarint(binary.AppendVarint(appendText([]byte{frameMember}, name), m.since), m.in))
	}
	for _, rs := range s.order {
		b := binary.LittleEndian.AppendUint64([]byte{frameRule}, rs.rule.Hash)
		for _, v := range []int64{rs.newest, rs.sealed, rs.through} {
			b = binary.AppendVarint(b, v)
		}
		frame(binary.AppendUvarint(b, rs.seq))
		for _, key := range slices.Sorted(maps.Keys(rs.groups)) {
			g := rs.groups[key]
			b := appendGroup([]byte{frameGroup}, rs.cum, &stateGroup{labels: g.labels, counts: g.counts})
			b = binary.AppendUvarint(binary.AppendVarint(b, g.shown), uint64(len(g.recent)))
			for i := range g.recent {
				b = partial.AppendAcc(binary.AppendVarint(b, g.recent[i].end), rs.cum, 0, &g.recent[i].acc)
			}
			frame(b)
		}
		for _, p := range rs.pending {
			frame(append([]byte{framePart}, p.entry()...))
		}
		for _, end := range slices.Sorted(maps.Keys(rs.done)) {
			b := binary.AppendVarint([]byte{frameDone}, end)
			for _, hash := range rs.done[end] {
				b = binary.LittleEndian.AppendUint64(b, hash)
			}
			frame(b)
		}
	}
	frame([]byte{frameEnd})
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the state of shared aggregation: %w", err)
	}
	if s.queue != nil {
		s.acknowledge()
	}
	return nil
}

// Restore reads what Snapshot wrote, and no byte beyond it; what is of rules that
// are gone is left out. It comes before Run, and before windows are pushed.
func (s *Share) Restore(r io.Reader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.restore(r); err != nil {
		return fmt.Errorf("reading the state of shared aggregation: %w", err)
	}
	return nil
}

// exact reads single bytes without reading ahead.
type exact struct{ io.Reader }

func (e exact) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(e.Reader, one[:])
	return one[0], err
}

func nextFrame(r io.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(exact{r})
	if err != nil {
		return nil, err
	}
	if n == 0 || n > mostFrame {
		return nil, errCode
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n))) // grown as the bytes come
	if err == nil && uint64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func (s *Share) restore(r io.Reader) error {
	b, err := nextFrame(r)
	if err != nil {
		return err
	}
	if b[0] != stateVersion {
		return fmt.Errorf("version %d is not %d; begin without it", b[0], stateVersion)
	}
	d := &decoder{b: b[1:]}
	s.life = d.uvarint()
	var rs *ruleState
	for d.err == nil {
		if b, err = nextFrame(r); err != nil {
			return err
		}
		d.b = b[1:]
		switch kind := b[0]; {
		case kind == frameEnd:
			return nil
		case kind == frameRule:
			rs = s.restoreRule(d)
		case kind == frameMember:
			s.members[d.text()] = &member{since: d.varint(), in: d.varint()}
		case kind > frameMember:
			return errCode
		case rs != nil:
			if err := s.restoreFrame(rs, kind, d); err != nil {
				return err
			}
		}
	}
	return d.err
}

func (s *Share) restoreRule(d *decoder) *ruleState {
	rs := s.rules[d.fixed()]
	newest, sealed, through, seq := d.varint(), d.varint(), d.varint(), d.uvarint()
	if rs != nil && d.err == nil {
		rs.newest, rs.sealed, rs.through, rs.published, rs.seq = newest, sealed, through, through, seq
	}
	return rs
}

func (s *Share) restoreFrame(rs *ruleState, kind byte, d *decoder) error {
	switch kind {
	case frameGroup:
		return rs.restoreGroup(d)
	case framePart:
		p := s.fromEntry(d.b)
		if p == nil {
			return errors.Join(d.err, errCode)
		}
		return s.keep(p, false)
	}
	end := d.varint()
	for len(d.b) > 0 && d.err == nil {
		rs.done[end] = append(rs.done[end], d.fixed())
	}
	return d.err
}

func (rs *ruleState) restoreGroup(d *decoder) error {
	x := d.group()
	g := &group{labels: x.labels, slot: slotOf(rs.rule.Hash, x.hash), counts: x.counts, last: never, shown: d.varint()}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		end := d.varint()
		g.recent = append(g.recent, amount{end, d.acc(0)})
	}
	for i := range g.counts {
		g.last = max(g.last, g.counts[i].asOf)
	}
	slices.SortFunc(g.counts, func(a, b count) int { return cmp.Or(a.source.compare(b.source), cmp.Compare(a.asOf, b.asOf)) })
	if d.err == nil {
		rs.groups[string(rs.key(x.labels))] = g
	}
	return d.err
}
