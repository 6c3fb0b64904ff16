package engine

import (
	"github.com/prometheus/prometheus/model/labels"
)

// learned is what the rules make of a series that was not known.
type learned struct {
	verdict Verdict
	groups  []placed
}

type placed struct {
	rs  *ruleState
	ord uint32
}

// learn gives a series its place: the rules see its labels this once. f is the
// fingerprint under which it was looked for.
func (b *Batch) learn(f fingerprint, ls labels.Labels) (Ref, uint64, bool) {
	e := b.e
	e.learning.Lock()
	defer e.learning.Unlock()
	set := e.rules.Load()
	b.key = appendLabels(b.key[:0], ls, set.set.ReplicaLabels)
	own := e.fingerprint(b.key)
	id := uint64(0)
	if e.homeKey != 0 {
		id = e.homeID(b.key)
	}
	ref, meta, ok := e.find(own)
	switch {
	case !ok:
		got := e.match(set, ls, &b.builder, nil)
		if got.verdict == 0 {
			e.neg.add(f)
			return 0, 0, false
		}
		ref = e.settle(own, got, b.lane)
		e.join(sourceKey(ls, set.set.SourceLabels, b.sender, b.key[:0]), ref.Index(), maskOf(got))
		if e.homeKey != 0 {
			e.enlist(ref, id, true)
		}
	case meta&flagRelearn != 0:
		e.relearn(ref, set, ls, b)
		if e.homeKey != 0 {
			e.enlist(ref, id, false)
		}
	}
	ref |= Ref(b.replicaOf(ls, set.set.ReplicaLabels)) << 40
	if own != f {
		e.alias(f, ref)
	}
	_, meta, ok = e.alive(ref & 0xffffffff)
	return ref, meta, ok
}

func maskOf(got learned) (mask uint64) {
	for _, p := range got.groups {
		mask |= 1 << (p.rs.slot % 64)
	}
	return mask
}

// replicaOf is the number of the replica that the labels name, 0 for none.
func (b *Batch) replicaOf(ls labels.Labels, names []string) uint8 {
	for _, name := range names {
		if v := ls.Get(name); v != "" {
			return b.e.replicas.number(labelIdentity(v))
		}
	}
	return 0
}

// match asks the rules, but for those in have.
func (e *Engine) match(set *ruleSet, ls labels.Labels, builder *labels.Builder, have map[uint32]bool) (got learned) {
	for _, rs := range set.active {
		r := rs.rule.Load()
		if !r.Match(ls) {
			continue
		}
		got.verdict |= Matched
		if !r.KeepInput {
			got.verdict |= Drop
		}
		if have[rs.slot] {
			continue
		}
		if g, ok := r.Group(ls, builder); ok {
			got.groups = append(got.groups, placed{rs, rs.groups.place(r, g)})
		}
	}
	return got
}

// settle allocates the records of a new series and enters it into the index.
func (e *Engine) settle(f fingerprint, got learned, lane uint8) Ref {
	s := e.shardOf(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	head, r := s.alloc(lane)
	flags := uint64(flagHead)
	if got.verdict&Drop != 0 {
		flags |= flagDrop
	}
	if e.journal != nil {
		flags |= flagFresh
	}
	if len(got.groups) > 0 {
		r.group = groupOf(got.groups[0].rs.slot, got.groups[0].ord)
		s.extend(r, got.groups[1:], lane)
	}
	r.setPrint(printOf(f.Lo))
	r.set(flags)
	s.places.put(f, e.shardBits, head)
	s.count.series++
	return Ref(e.dense(s, head)) | Ref(r.gen())<<32
}

// extend adds records behind the last one of a chain.
func (s *shard) extend(last record, groups []placed, lane uint8) {
	for _, p := range groups {
		id, r := s.alloc(lane)
		r.group = groupOf(p.rs.slot, p.ord)
		last.next = id + 1
		last = r
	}
}

// relearn gives a known series the records of rules that were added since.
func (e *Engine) relearn(ref Ref, set *ruleSet, ls labels.Labels, b *Batch) {
	s, head := e.locate(ref.Index())
	have := map[uint32]bool{}
	s.mu.Lock()
	for id := head + 1; id != 0; id = s.at(id - 1).next {
		have[s.at(id-1).slot()] = true
	}
	s.mu.Unlock()
	got := e.match(set, ls, &b.builder, have)

	s.mu.Lock()
	s.ready(head)
	r := s.at(head)
	source := r.source()
	last := r
	for {
		if last.slot() == 0 && len(got.groups) > 0 { // of a rule that is gone
			last.group = groupOf(got.groups[0].rs.slot, got.groups[0].ord)
			got.groups = got.groups[1:]
		}
		if last.next == 0 {
			break
		}
		last = s.at(last.next - 1)
	}
	s.extend(last, got.groups, b.lane)
	s.chainSource(r, source)
	meta := r.meta &^ (flagRelearn | flagDrop)
	if got.verdict&Drop != 0 {
		meta |= flagDrop
	}
	if e.journal != nil {
		meta |= flagFresh
	}
	r.store(meta)
	mask := uint64(0)
	for q := r; ; q = s.at(q.next - 1) {
		mask |= 1 << (q.slot() % 64)
		if q.next == 0 {
			break
		}
	}
	s.mu.Unlock()
	if source != 0 && source&soloBit == 0 {
		e.src.mu.Lock()
		e.src.all.at(source).rules |= mask
		e.src.mu.Unlock()
	}
}

// alias enters another fingerprint of a known series.
func (e *Engine) alias(f fingerprint, ref Ref) {
	s := e.shardOf(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	packed := uint64(ref) & 0xffff_ffff_ffff
	if val, ok := s.place(f); ok {
		if val&aliasBit != 0 {
			s.aliases.set(val&^aliasBit, packed)
		}
		return // else a fingerprint of another series: odds of 1 in 10^8
	}
	s.places.put(f, e.shardBits, s.aliases.add(printOf(f.Lo), packed)|aliasBit)
}
