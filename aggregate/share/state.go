package share

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// The state is one frame per thing: a length and that many bytes.
const (
	stateVersion = 3
	mostFrame    = 256 << 20
)

const (
	frameEnd = iota
	frameRule
	frameGroup
	framePart
	frameMember
	framePlan
	frameWord
	frameLeft
	frameNote
	frameQueue
)

// Snapshot writes what a restart needs: what was counted, the parts in memory,
// which windows are published. It must be of the same cut as the
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
	s.clock()
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		gone := s.now - s.members[name].in
		frame(binary.AppendVarint(appendText([]byte{frameMember}, name), s.wall-gone))
		if s.members[name].done {
			frame(appendText([]byte{frameLeft}, name))
		}
	}
	for _, p := range s.plans {
		frame(p.append([]byte{framePlan}))
	}
	for _, rs := range s.order {
		rs.snapshot(frame)
	}
	if s.decided != nil {
		frame(append([]byte{frameNote}, s.decided.note...))
	}
	if s.rewind(); s.queue != nil {
		frame(binary.AppendUvarint([]byte{frameQueue}, s.queue.End()))
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

func (rs *ruleState) snapshot(frame func([]byte)) {
	b := binary.LittleEndian.AppendUint64([]byte{frameRule}, rs.rule.Hash)
	for _, v := range []int64{rs.newest, rs.sealed, rs.through, rs.lost} {
		b = binary.AppendVarint(b, v)
	}
	frame(binary.AppendUvarint(b, rs.seq))
	for _, x := range rs.words {
		ref := viewRef{x.view.Members, x.view.apart, x.view.plan.ident()}
		frame(binary.AppendVarint(appendText(ref.append([]byte{frameWord}), x.owner), x.through))
	}
	for _, key := range slices.Sorted(maps.Keys(rs.groups)) {
		g := rs.groups[key]
		x := stateGroup{labels: g.labels, counts: g.counts, in: g.in, apart: g.apart}
		b := binary.AppendVarint(binary.AppendVarint(x.append([]byte{frameGroup}, rs.rule), g.last), g.shown)
		b = binary.AppendUvarint(b, uint64(len(g.recent)))
		for i := range g.recent {
			b = partial.AppendAcc(binary.AppendVarint(b, g.recent[i].end), rs.cum, 0, &g.recent[i].acc)
		}
		frame(b)
	}
	for _, p := range rs.pending {
		frame(append([]byte{framePart}, p.entry()...))
	}
}

// Restore reads what Snapshot wrote, and no byte beyond it; what is of rules that
// are gone is left out. It comes before Run, and before windows are pushed.
func (s *Share) Restore(r io.Reader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.restore(r); err != nil {
		return fmt.Errorf("reading the state of shared aggregation: %w", err)
	}
	s.recalls = s.o.Journal != nil
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
	s.life, s.tail = d.uvarint(), math.MaxUint64 // of older versions all stays
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
			name, in := d.text(), d.varint()
			s.members[name] = &member{since: s.now, known: s.now, in: s.now - max(0, s.wall-in)}
		case kind == framePlan:
			if p := d.plan(); p != nil {
				s.learnPlan(p)
			}
		case kind == frameLeft:
			if m := s.members[d.text()]; m != nil {
				m.done = true
			}
		case kind == frameNote:
			if err := s.restoreNote(d.b); err != nil {
				return err
			}
		case kind == frameQueue:
			s.tail = d.uvarint()
		case kind > frameQueue:
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
	newest, sealed, through, lost, seq := d.varint(), d.varint(), d.varint(), d.varint(), d.uvarint()
	if rs != nil && d.err == nil {
		rs.lost = lost
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
	ref := viewRef{d.names(), d.byte() == 1, d.fixed()}
	name, through := d.text(), d.varint()
	if p := s.findPlan(ref.plan); d.err == nil && (p != nil || ref.plan == 0) {
		rs.hearWord(s.views.get(ref.members, ref.apart, p), name, through)
	}
	return d.err
}

func (rs *ruleState) restoreGroup(d *decoder) error {
	x := d.group(rs.rule)
	g := &group{
		labels: x.labels, hash: x.hash, slot: slotOf(rs.rule.Hash, x.hash), counts: x.counts, in: x.in, apart: x.apart, last: d.varint(), shown: d.varint(),
	}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		end := d.varint()
		g.recent = append(g.recent, amount{end, d.acc(0)})
	}
	slices.SortFunc(g.counts, func(a, b count) int { return cmp.Or(a.source.compare(b.source), cmp.Compare(a.asOf, b.asOf)) })
	if d.err == nil {
		rs.groups[string(rs.key(x.labels))] = g
	}
	return d.err
}
