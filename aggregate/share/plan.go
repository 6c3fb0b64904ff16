package share

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"
)

const (
	// loadEvery is how often an island says what its slots weigh.
	loadEvery = time.Minute
	// balanceEvery is the least time between two plans, and between a plan and a
	// change of members.
	balanceEvery = 10 * time.Minute
	// uneven loads are left alone below leastLoad rows a minute for all.
	leastLoad = 6000
	// tolerated is how much of the mean the busiest island may have.
	tolerated = 1.25
	mostMoves = 1024
	mostPlans = 8
)

// plan names owner and deputy of the slots that are not where rendezvous hashing
// puts them. It is immutable. Of two plans the newer holds, on all islands.
type plan struct {
	version uint64
	moves   []move // by slot
	id      uint64
}

type move struct {
	slot          uint16
	first, second string
}

func newPlan(version uint64, moves []move) *plan {
	p := &plan{version: version, moves: moves}
	h := fnv.New64a()
	_, _ = h.Write(p.append(nil))
	p.id = h.Sum64()
	return p
}

func (p *plan) ident() uint64 {
	if p == nil {
		return 0
	}
	return p.id
}

// newer reports whether p holds rather than o; of the same version the higher id.
func (p *plan) newer(o *plan) bool {
	return o == nil || cmp.Or(cmp.Compare(p.version, o.version), cmp.Compare(p.id, o.id)) > 0
}

func (p *plan) append(b []byte) []byte {
	b = binary.AppendUvarint(b, p.version)
	var names []string
	number := func(name string) uint64 {
		i := slices.Index(names, name)
		if i < 0 {
			i = len(names)
			names = append(names, name)
		}
		return uint64(i)
	}
	var moves []byte
	for _, m := range p.moves {
		moves = binary.AppendUvarint(moves, uint64(m.slot))
		moves = binary.AppendUvarint(binary.AppendUvarint(moves, number(m.first)), number(m.second))
	}
	b = binary.AppendUvarint(appendTexts(b, names), uint64(len(p.moves)))
	return append(b, moves...)
}

func (d *decoder) plan() *plan {
	version, names := d.uvarint(), d.texts()
	var moves []move
	before := -1
	for n := d.upTo(mostMoves); n > 0 && d.err == nil; n-- {
		slot, first, second := d.upTo(Slots-1), d.upTo(mostMembers), d.upTo(mostMembers)
		if slot <= before || first >= len(names) || second >= len(names) {
			d.fail()
			return nil
		}
		before = slot
		moves = append(moves, move{uint16(slot), names[first], names[second]})
	}
	if d.err != nil {
		return nil
	}
	return newPlan(version, moves)
}

// learnPlan notes a plan; step goes over to it if it is the newest.
func (s *Share) learnPlan(p *plan) {
	if s.findPlan(p.id) != nil {
		return
	}
	s.plans = append(s.plans, p)
	if p.newer(s.plan) {
		s.plan = p
	}
	if len(s.plans) > mostPlans {
		i := slices.IndexFunc(s.plans, func(x *plan) bool { return x != s.plan })
		s.plans = slices.Delete(s.plans, i, i+1)
	}
}

func (s *Share) findPlan(id uint64) *plan {
	for _, p := range s.plans {
		if p.id == id {
			return p
		}
	}
	return nil
}

// loadOf is what one slot weighs: rows a minute.
type loadOf struct {
	slot uint16
	rows uint32
}

// report is what an island said of the slots that it owns in a view.
type report struct {
	view  uint64
	at    int64
	loads []loadOf
}

// weigh takes the rows since the last time, each time half of what was before.
func (s *Share) weigh() {
	if s.now-s.weighed < loadEvery.Milliseconds() {
		return
	}
	s.weighed = s.now
	s.loads = s.loads[:0]
	for k := range Slots {
		s.rate[k] = (s.rate[k] + float64(s.load[k]-s.before[k])) / 2
		s.before[k] = s.load[k]
		if s.view.First[k] == s.self && s.rate[k] >= 1 {
			s.loads = append(s.loads, loadOf{uint16(k), uint32(min(s.rate[k], 1<<31))})
		}
	}
	s.loadView = s.view.id
	s.report(s.o.Self, s.view.id, s.loads)
	s.balance()
}

// report notes what a member said of its slots.
func (s *Share) report(from string, view uint64, loads []loadOf) {
	s.reports[from] = report{view, s.now, loads}
}

// balance makes a plan where it is this island's to do and there is reason to.
func (s *Share) balance() {
	v := s.view
	if s.self != 0 || len(v.Members) < 3 || len(v.Members) < len(s.listed) || s.now-s.changed < s.calm.Milliseconds() {
		return
	}
	var weights [Slots]float64
	sum := 0.0
	for _, name := range v.Members {
		r, ok := s.reports[name]
		if !ok || r.view != v.id || s.now-r.at > 3*loadEvery.Milliseconds() {
			return
		}
		for _, x := range r.loads {
			weights[x.slot] = float64(x.rows)
			sum += float64(x.rows)
		}
	}
	if sum < s.least {
		return
	}
	moves := rebalance(v, &weights)
	if moves == nil {
		return
	}
	version := uint64(1)
	if s.plan != nil {
		version = s.plan.version + 1
	}
	p := newPlan(version, moves)
	s.log.Info("slots of shared aggregation move, since their load is uneven", "plan", version, "slots", len(moves))
	s.m.plans.Inc()
	s.learnPlan(p)
}

// loadsOf are the rows that each member takes, as owner or deputy.
func (v *view) loadsOf(weights *[Slots]float64) []float64 {
	out := make([]float64, len(v.Members))
	for k, w := range weights {
		out[v.First[k]] += w
		if v.Second[k] != none {
			out[v.Second[k]] += w
		}
	}
	return out
}

// peak is how much of the mean the busiest member has.
func peak(loads []float64) float64 {
	sum := 0.0
	for _, x := range loads {
		sum += x
	}
	if sum == 0 {
		return 1
	}
	return slices.Max(loads) * float64(len(loads)) / sum
}

// holders are owner and deputy of a slot.
type holders struct{ first, second int16 }

// rebalance spreads load: from the busiest member to the idlest goes the heaviest
// slot that helps, until the busiest has little more than the mean (bounded loads,
// after Mirrokni, Thorup, Zadimoghaddam, 2018). It returns nil if nothing is to be
// moved; else all moves from where rendezvous hashing puts slots.
func rebalance(v *view, weights *[Slots]float64) []move {
	const enough = 1 + (tolerated-1)/5
	loads := v.loadsOf(weights)
	if peak(loads) <= tolerated {
		return nil
	}
	at := map[int]holders{}
	if v.plan != nil {
		for _, m := range v.plan.moves {
			at[int(m.slot)] = holders{v.First[m.slot], v.Second[m.slot]}
		}
	}
	heavy := make([]int, 0, Slots)
	for k, w := range weights {
		if w > 0 {
			heavy = append(heavy, k)
		}
	}
	slices.SortFunc(heavy, func(a, b int) int { return cmp.Or(cmp.Compare(weights[b], weights[a]), cmp.Compare(a, b)) })
	moved := false
	for n := 0; n < 4*mostMoves && peak(loads) > enough && len(at) < mostMoves; n++ {
		if !v.relieve(loads, weights, heavy, at) {
			break
		}
		moved = true
	}
	if !moved {
		return nil
	}
	out := make([]move, 0, len(at))
	for k, x := range at {
		out = append(out, move{uint16(k), v.Members[x.first], v.Members[x.second]})
	}
	slices.SortFunc(out, func(a, b move) int { return cmp.Compare(a.slot, b.slot) })
	return out
}

// relieve moves one slot from the busiest member to the idlest, and reports whether
// there is one that helps.
func (v *view) relieve(loads []float64, weights *[Slots]float64, heavy []int, at map[int]holders) bool {
	top, low := int16(0), int16(0)
	for i := range loads {
		if loads[i] > loads[top] {
			top = int16(i)
		}
		if loads[i] < loads[low] {
			low = int16(i)
		}
	}
	for _, k := range heavy {
		now, ok := at[k]
		if !ok {
			now = holders{v.First[k], v.Second[k]}
		}
		switch {
		case now.first == low, now.second == low, loads[low]+weights[k] >= loads[top]:
			continue
		case now.first == top:
			now.first = low
		case now.second == top:
			now.second = low
		default:
			continue
		}
		at[k] = now
		loads[top] -= weights[k]
		loads[low] += weights[k]
		return true
	}
	return false
}
