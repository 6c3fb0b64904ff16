package share

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// pending is a part of this island that is not known to be published, or a spare:
// one that is kept until the horizon all the same.
type pending struct {
	rs    *ruleState
	end   int64
	seq   uint64
	late  bool
	after bool // the window was published, maybe without this
	more  bool // further parts of the same window follow
	spare bool
	at    int64  // since when all have the spare; 0: they do not
	blob  []byte // the part with all its rows, packed
	gone  bool   // it waits no more
}

// Push takes a window that the engine sealed. Open windows are left alone, since
// only sealed ones are shared. Push keeps no memory of w, but sorts its rows.
func (s *Share) Push(w *partial.Window) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.signal()
	s.rewind()
	rs := s.rules[w.Rule.Hash]
	if rs == nil {
		s.m.drop("unknown_rule", len(w.Rows))
		return fmt.Errorf("sharing a window: the rule %016x is not one of those that are shared here; reload first", w.Rule.Hash)
	}
	if w.Open {
		return nil
	}
	late := w.End <= rs.newest
	pieces := split(w)
	for i, piece := range pieces {
		p := rs.part(source{s.o.Self, s.life}, piece, late)
		p.last = i == len(pieces)-1
		err := s.keep(&pending{rs: rs, end: p.end, seq: p.seq, late: late, more: !p.last, blob: s.codec.pack(p.append(nil))}, true)
		if err != nil {
			return err
		}
	}
	return nil
}

// split cuts a window into pieces that can be sent, and taken apart again.
func split(w *partial.Window) (out []*partial.Window) {
	slices.SortFunc(w.Rows, func(a, b partial.Row) int { return labels.Compare(a.Group, b.Group) })
	from, bytes := 0, 0
	cut := func(to int) {
		piece := *w
		piece.Rows = w.Rows[from:to]
		out = append(out, &piece)
		from, bytes = to, 0
	}
	for i := range w.Rows {
		if bytes += weight(&w.Rows[i].Acc); i-from >= partial.MaxRows || bytes > bytesPerPart && i > from {
			cut(i)
		}
	}
	cut(len(w.Rows))
	return out
}

// part counts a window of this island.
func (rs *ruleState) part(self source, w *partial.Window, late bool) *part {
	rs.seq++
	p := &part{rule: rs.rule, end: w.End, revision: w.Revision, late: late, last: true, asOf: w.End, seq: rs.seq, needs: w.Rule.Needs()}
	if late {
		p.asOf = rs.newest + 1
	}
	rs.newest = max(rs.newest, w.End)
	for i := range w.Rows {
		r := row{Row: w.Rows[i]}
		if rs.cum != 0 {
			g := rs.group(r.Group, r.Hash)
			sum := rs.own(g, self, w.End, &r.Acc)
			g.put(count{self, p.asOf, p.seq, sum}, rs.through)
			r.total = &sum
		}
		p.rows = append(p.rows, r)
	}
	return p
}

// keep holds a part in memory, or on disk if others wait there or memory is full.
func (s *Share) keep(p *pending, spill bool) error {
	s.shed(func() bool { return s.spare > 0 && s.bytes+len(p.blob) > int(s.o.MaxPending) }, true)
	full := s.bytes > 0 && s.bytes+len(p.blob) > int(s.o.MaxPending)
	if spill && s.queue != nil && (s.spilled > 0 || full) {
		err := s.queue.Put(p.entry())
		if err == nil {
			s.spilled++
			return nil
		}
		s.log.Warn("a part does not fit on disk and stays in memory", "err", err)
	}
	i, found := slices.BinarySearchFunc(p.rs.pending, p.seq, func(a *pending, seq uint64) int { return cmp.Compare(a.seq, seq) })
	if found {
		return nil
	}
	p.rs.pending = slices.Insert(p.rs.pending, i, p)
	if !p.late {
		p.rs.offered = max(p.rs.offered, p.end)
	}
	s.bytes += len(p.blob)
	if s.queue == nil {
		s.shed(func() bool { return s.bytes > int(s.o.MaxPending) }, false)
	}
	return nil
}

// shed gives up the oldest parts while there are too many: spares first, and only
// where there is no disk for what memory cannot hold, others.
func (s *Share) shed(over func() bool, spares bool) {
	for over() {
		var from *ruleState
		at := 0
		for _, rs := range s.order {
			i := slices.IndexFunc(rs.pending, func(p *pending) bool { return p.spare || !spares })
			if i >= 0 && (from == nil || rs.pending[i].end < from.pending[at].end) {
				from, at = rs, i
			}
		}
		if from == nil {
			return
		}
		p := from.pending[at]
		from.pending = slices.Delete(from.pending, at, at+1)
		from.lost = max(from.lost, p.end)
		if s.forgetPart(p); !p.spare {
			s.m.drop("overflow", 1)
		}
	}
}

func (s *Share) forgetPart(p *pending) {
	s.bytes -= len(p.blob)
	if p.spare {
		s.spare -= len(p.blob)
	}
	p.gone = true
	for _, to := range s.peers {
		if l := to.links[p.rs.rule.Hash]; l != nil {
			delete(l.sent, p)
		}
	}
}

// An entry of the queue: the rule's hash, end, seq, flags, and the packed part.
const entryHead = 8 + 8 + 8 + 1

const (
	entryLate = 1 << iota
	entryMore
	entryAfter
)

func (p *pending) entry() []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.rs.rule.Hash)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.end))
	b = binary.LittleEndian.AppendUint64(b, p.seq)
	flags := byte(0)
	if p.late {
		flags |= entryLate
	}
	if p.more {
		flags |= entryMore
	}
	if p.after {
		flags |= entryAfter
	}
	return append(append(b, flags), p.blob...)
}

// fromEntry returns nil for a part of a rule that is gone.
func (s *Share) fromEntry(b []byte) *pending {
	if len(b) <= entryHead {
		return nil
	}
	rs := s.rules[binary.LittleEndian.Uint64(b)]
	if rs == nil {
		return nil
	}
	return &pending{
		rs: rs, end: int64(binary.LittleEndian.Uint64(b[8:])), seq: binary.LittleEndian.Uint64(b[16:]),
		late: b[24]&entryLate != 0, more: b[24]&entryMore != 0, after: b[24]&entryAfter != 0, blob: b[entryHead:],
	}
}

// open is the part of a pending one with all rows; nil if its bytes are damaged.
func (s *Share) open(p *pending) *part {
	b, err := s.codec.unpack(p.blob)
	if err == nil {
		d := &decoder{b: b, find: s.find}
		out := d.part()
		if d.err == nil {
			out.after = p.after
			return out
		}
		err = d.err
	}
	s.log.Error("a part that waits for its owner is damaged and is dropped", "err", err)
	return nil
}

// settle forgets the parts that are published, but for spares.
func (s *Share) settle() {
	for _, rs := range s.order {
		if len(rs.pending) == 0 {
			continue
		}
		horizon, blocked := s.horizon(rs), false
		rs.pending = slices.DeleteFunc(rs.pending, func(p *pending) bool {
			if p.end <= horizon {
				if !p.spare {
					s.m.drop("too_old", 1)
				}
				s.forgetPart(p)
				return true
			}
			if p.spare {
				return s.isDone(p)
			}
			if !p.late && blocked {
				return false
			}
			if !s.isPublished(p) {
				p.after = p.after || !p.late && rs.through >= p.end
				blocked = blocked || !p.late
				return false
			}
			return s.finish(p)
		})
	}
}

// finish deals with a part that is published and reports whether it can go. It is
// kept where windows are corrected, since a next owner needs all of one; where it
// was published apart from others, who have not got it; and for a while where it
// is late, since nobody says that such a one is published.
func (s *Share) finish(p *pending) bool {
	if !p.late && !p.more {
		p.rs.sealed = max(p.rs.sealed, p.end)
		if !s.view.apart {
			p.rs.raise(p.rs.sealed)
		}
	}
	if !p.late && !s.view.apart && !p.rs.remembers() {
		s.forgetPart(p)
		return true
	}
	p.after = p.after || s.view.apart
	p.spare, p.at = true, s.now
	s.spare += len(p.blob)
	return false
}

// isDone: all have had a spare for so long that what was to be done with it is.
func (s *Share) isDone(p *pending) bool {
	switch {
	case p.rs.remembers() || s.view.apart:
		return false
	case !s.allHave(p):
		p.after = p.after || p.at != 0 && s.now-p.at > 3*settleTime.Milliseconds()
		p.at = 0
		return false
	case p.at == 0:
		p.at = s.now
	}
	if s.now-p.at <= 2*s.hold(p.rs.rule) {
		return false
	}
	s.forgetPart(p)
	return true
}

func (s *Share) allHave(p *pending) bool {
	for _, to := range s.peers {
		if to.index != none && to.link(p.rs.rule.Hash).sent[p] != delivered {
			return false
		}
	}
	return true
}

// isPublished: all members have the part, and the owners published it. Where
// others say that it is published the owners do not need to.
func (s *Share) isPublished(p *pending) bool {
	if !s.allHave(p) {
		return false
	}
	if p.late || p.rs.through >= p.end {
		return true
	}
	for _, to := range s.peers {
		if s.view.owns(to.index) && to.link(p.rs.rule.Hash).says < p.end {
			return false
		}
	}
	return true
}
