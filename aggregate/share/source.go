package share

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/flow/queue"
)

// pending is a part of this island that is not known to be published.
type pending struct {
	rs   *ruleState
	end  int64
	seq  uint64
	late bool
	blob []byte // the part with all its rows, packed
	gone bool   // it waits no more
}

// Push takes a window that the engine sealed. Open windows are left alone, since
// only sealed ones are shared. Push keeps no memory of w, but sorts its rows.
func (s *Share) Push(w *partial.Window) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.signal()
	rs := s.rules[w.Rule.Hash]
	if rs == nil {
		s.m.drop("unknown_rule", len(w.Rows))
		return fmt.Errorf("sharing a window: the rule %016x is not one of those that are shared here; reload first", w.Rule.Hash)
	}
	if w.Open {
		return nil
	}
	p := rs.part(source{s.o.Self, s.life}, w)
	return s.keep(&pending{rs: rs, end: p.end, seq: p.seq, late: p.late, blob: s.codec.pack(p.append(nil))}, true)
}

// part counts a window of this island.
func (rs *ruleState) part(self source, w *partial.Window) *part {
	rs.seq++
	p := &part{rule: rs.rule, end: w.End, revision: w.Revision, late: w.End <= rs.newest, last: true, asOf: w.End, seq: rs.seq}
	if p.late {
		p.asOf = rs.newest + 1
	}
	rs.newest = max(rs.newest, w.End)
	slices.SortFunc(w.Rows, func(a, b partial.Row) int { return labels.Compare(a.Group, b.Group) })
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
		s.shed()
	}
	return nil
}

// shed gives up the oldest parts where there is no disk for what memory cannot hold.
func (s *Share) shed() {
	for s.bytes > int(s.o.MaxPending) {
		var oldest *pending
		for _, rs := range s.order {
			if len(rs.pending) > 0 && (oldest == nil || rs.pending[0].end < oldest.end) {
				oldest = rs.pending[0]
			}
		}
		if oldest == nil {
			return
		}
		oldest.rs.pending = oldest.rs.pending[1:]
		s.forgetPart(oldest)
		s.m.drop("overflow", 1)
	}
}

func (s *Share) forgetPart(p *pending) {
	s.bytes -= len(p.blob)
	p.gone = true
	for _, to := range s.peers {
		delete(to.sent, p)
	}
}

func (s *Share) openQueue() error {
	if s.o.Dir == "" {
		return nil
	}
	family, err := queue.NewFamily("aggregate_share", "queue", s.o.Registerer, s.o.Health)
	if err != nil {
		return err
	}
	s.queue, err = queue.Open(queue.Options{
		Dir: filepath.Join(s.o.Dir, "parts"), Name: "parts", MaxBytes: s.o.MaxQueue, Family: family, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("open the queue of parts for other islands: %w", err)
	}
	s.spilled = int(s.queue.Stats().Entries)
	return nil
}

// An entry of the queue: the rule's hash, end, seq, late, and the packed part.
const entryHead = 8 + 8 + 8 + 1

func (p *pending) entry() []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.rs.rule.Hash)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.end))
	b = binary.LittleEndian.AppendUint64(b, p.seq)
	late := byte(0)
	if p.late {
		late = 1
	}
	return append(append(b, late), p.blob...)
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
		late: b[24] != 0, blob: b[entryHead:],
	}
}

// refill takes parts back from disk once there is room for them.
func (s *Share) refill() {
	for s.queue != nil && s.spilled > 0 && s.bytes < int(s.o.MaxPending)/2 {
		e, ok, err := s.queue.TryNext()
		if err != nil {
			s.log.Warn("parts on disk cannot be read now", "err", err)
			return
		}
		if !ok { // the oldest were dropped, and counted, because the queue was full
			s.spilled = 0
			return
		}
		s.spilled--
		s.taken = &e
		if p := s.fromEntry(e.Data); p != nil {
			_ = s.keep(p, false) // in memory there is no error
		} else {
			s.m.drop("unknown_rule", 1)
		}
	}
}

// acknowledge lets go of what an earlier snapshot has.
func (s *Share) acknowledge() {
	if s.covered != nil {
		if err := s.queue.Ack(*s.covered); err != nil && !errors.Is(err, queue.ErrClosed) {
			s.log.Warn("parts on disk stay behind", "err", err)
		}
	}
	s.covered = s.taken
}

// open is the part of a pending one with all rows; nil if its bytes are damaged.
func (s *Share) open(p *pending) *part {
	b, err := s.codec.unpack(p.blob)
	if err == nil {
		d := &decoder{b: b, find: s.find}
		out := d.part()
		if d.err == nil {
			return out
		}
		err = d.err
	}
	s.log.Error("a part that waits for its owner is damaged and is dropped", "err", err)
	return nil
}

// settle forgets the parts that are published.
func (s *Share) settle() {
	for _, rs := range s.order {
		blocked := false
		rs.pending = slices.DeleteFunc(rs.pending, func(p *pending) bool {
			if !p.late && blocked {
				return false
			}
			if !s.isPublished(p) {
				blocked = blocked || !p.late
				return false
			}
			if !p.late {
				rs.sealed = max(rs.sealed, p.end)
				rs.raise(rs.sealed)
			}
			s.forgetPart(p)
			return true
		})
	}
}

// isPublished: all members have the part, and the owners published it. Where
// others say that it is published the owners do not need to.
func (s *Share) isPublished(p *pending) bool {
	for _, to := range s.peers {
		if to.sent[p] != delivered {
			return false
		}
		if !p.late && p.rs.through < p.end && to.owner && to.publishedTo(p.rs.rule.Hash) < p.end {
			return false
		}
	}
	return true
}
