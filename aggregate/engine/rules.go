package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// ruleSet is the compiled state of one configuration; replaced as a whole.
type ruleSet struct {
	set    *rule.Set
	active []*ruleState // in the order of the configuration
	slots  []*ruleState // by slot; 0 is none
	maxAge int64        // longest horizon
	forget int64        // longest time that a series is remembered
}

// ruleState is a rule and what belongs to it beside the shards' windows. Times in
// milliseconds.
type ruleState struct {
	rule  atomic.Pointer[rule.Rule]
	slot  uint32
	needs rule.Needs
	interval, staleness, maxGap,
	maxLag, maxAge, forget, dedup int64
	distribute bool
	since      int64 // arrival from which on births count

	// sealed is the end of the last window that was taken away.
	sealed atomic.Int64
	groups groups
	spare  sync.Pool // *columns

	// The rest is Advance's (under turn).
	published map[int64]*publication
	carry     map[uint32]*carried
	late      [lateOutcomes]atomic.Uint64
	lag       atomic.Int64 // how long after its end the last window was sealed
}

type lateOutcome uint8

const (
	lateCarried lateOutcome = iota
	lateCorrected
	lateDropped
	lateNew
	lateOutcomes
)

func (l lateOutcome) String() string {
	return [...]string{"carried", "corrected", "dropped", "published"}[l]
}

// publication is what is remembered of a published window until the horizon.
type publication struct {
	revision uint32
	again    bool     // something was published
	groups   []uint64 // bitmap by ordinal
	kept     *merged  // rules that correct
}

func (p *publication) has(ord uint32) bool {
	return int(ord/64) < len(p.groups) && p.groups[ord/64]&(1<<(ord%64)) != 0
}

func (p *publication) add(ord uint32) {
	for int(ord/64) >= len(p.groups) {
		p.groups = append(p.groups, 0)
	}
	p.groups[ord/64] |= 1 << (ord % 64)
}

// carried are late amounts on their way into the totals.
type carried struct {
	increase, prom, sum partial.Sum2
	windows             int
}

func newRuleState(r *rule.Rule, slot uint32, since int64) *ruleState {
	rs := &ruleState{
		slot: slot, since: since,
		interval: r.Interval.Milliseconds(), staleness: r.Staleness.Milliseconds(), dedup: r.Dedup.Milliseconds(),
		maxGap: r.MaxGap.Milliseconds(), published: map[int64]*publication{}, carry: map[uint32]*carried{},
	}
	rs.maxGap += rs.maxGap / 100 // scrapes jitter
	rs.follow(r)
	rs.sealed.Store(never)
	rs.groups.init()
	return rs
}

// follow goes over to a rule with the same Hash. What it needs more is in columns that
// are begun from now on.
func (rs *ruleState) follow(r *rule.Rule) {
	rs.rule.Store(r)
	rs.needs, rs.distribute = r.Needs(), r.Distribute
	rs.maxLag, rs.maxAge, rs.forget = r.MaxLag.Milliseconds(), r.MaxAge.Milliseconds(), r.ForgetAfter.Milliseconds()
}

// end names the window of t.
func (rs *ruleState) end(t int64) int64 {
	end := t / rs.interval * rs.interval
	if end < t {
		end += rs.interval
	}
	return end
}

// floor is the last window end at or before t.
func (rs *ruleState) floor(t int64) int64 {
	end := t / rs.interval * rs.interval
	if end > t {
		end -= rs.interval
	}
	return end
}

func checkRule(r *rule.Rule) error {
	switch {
	case r.Interval.Milliseconds() <= 0:
		return fmt.Errorf("rule %q: interval %s, want at least 1ms", r.Name, r.Interval)
	case r.MaxGap < 0 || r.MaxLag < 0 || r.MaxAge < 0 || r.ForgetAfter <= 0 || r.Dedup < 0:
		return fmt.Errorf("rule %q: a negative span, or forget_after of 0", r.Name)
	}
	return nil
}

// install makes set the configuration, keeping the state of rules by their Hash.
func (e *Engine) install(set *rule.Set) error {
	old := e.rules.Load()
	have := map[uint64]*ruleState{}
	for _, rs := range old.active {
		have[rs.rule.Load().Hash] = rs
	}
	next := &ruleSet{set: set, slots: append([]*ruleState(nil), old.slots...)}
	kept := map[*ruleState]*rule.Rule{}
	for _, r := range set.Rules {
		if err := checkRule(r); err != nil {
			return err
		}
		rs := have[r.Hash]
		if rs != nil {
			kept[rs] = r
			delete(have, r.Hash)
		} else {
			slot, err := next.freeSlot()
			if err != nil {
				return err
			}
			rs = newRuleState(r, slot, e.newest.Load())
		}
		next.slots[rs.slot] = rs
		next.active = append(next.active, rs)
		next.maxAge, next.forget = max(next.maxAge, r.MaxAge.Milliseconds()), max(next.forget, r.ForgetAfter.Milliseconds())
	}
	for _, gone := range have {
		next.slots[gone.slot] = nil
	}
	e.follow(kept)
	e.rules.Store(next)
	for _, s := range e.shards {
		s.adopt(next)
	}
	return nil
}

// follow goes over to the new form of rules that stay.
func (e *Engine) follow(kept map[*ruleState]*rule.Rule) {
	for _, s := range e.shards {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	for rs, r := range kept {
		rs.follow(r)
	}
}

func (s *ruleSet) freeSlot() (uint32, error) {
	for i := 1; i < len(s.slots); i++ {
		if s.slots[i] == nil {
			return uint32(i), nil
		}
	}
	if len(s.slots) > maxSlot {
		return 0, fmt.Errorf("%d rules, want at most %d at a time", len(s.slots), maxSlot)
	}
	s.slots = append(s.slots, nil)
	return uint32(len(s.slots) - 1), nil
}

// adopt makes room for the windows of new rules and lets go those of old ones.
func (s *shard) adopt(set *ruleSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := make([]*ruleWindows, len(set.slots))
	for i, rs := range set.slots {
		switch {
		case rs == nil:
		case i < len(s.rules) && s.rules[i] != nil && s.rules[i].rs == rs:
			rules[i] = s.rules[i]
		default:
			rules[i] = &ruleWindows{rs: rs, open: map[int64]*window{}}
		}
	}
	s.rules = rules
}

// groups are the output groups of a rule.
type groups struct {
	mu      sync.Mutex
	byHash  map[uint64]uint32 // of the labels, the next free hash where two are equal
	all     []group
	free    []uint32
	tenants map[string]int
	count   int
	over    atomic.Uint64 // series that went to an overflow group
}

type group struct {
	labels labels.Labels
	hash   uint64
	key    uint64 // in byHash
	tenant string
	refs   int32 // records
	used   bool
	extra  bool  // an overflow group: does not count
	idle   int64 // since when there are no records
}

func (g *groups) init() { g.byHash, g.tenants = map[uint64]uint32{}, map[string]int{} }

// place returns the ordinal of a group and counts one more record for it.
func (g *groups) place(r *rule.Rule, ls labels.Labels) uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ord, ok := g.lookup(ls); ok {
		g.all[ord].refs++
		return ord
	}
	tenant := r.Tenant(ls)
	extra := r.MaxGroups > 0 && (r.TenantLabel == "" && g.count >= r.MaxGroups || r.TenantLabel != "" && g.tenants[tenant] >= r.MaxGroups) ||
		len(g.all) >= maxOrdinal && len(g.free) == 0
	if extra {
		g.over.Add(1)
		ls = r.Overflow(ls)
		if ord, ok := g.lookup(ls); ok {
			g.all[ord].refs++
			return ord
		}
	}
	return g.add(group{labels: ls, hash: ls.Hash(), tenant: tenant, refs: 1, used: true, extra: extra})
}

func (g *groups) lookup(ls labels.Labels) (uint32, bool) {
	for key := ls.Hash(); ; key++ {
		ord, ok := g.byHash[key]
		if !ok {
			return 0, false
		}
		if labels.Equal(g.all[ord].labels, ls) {
			return ord, true
		}
	}
}

func (g *groups) add(n group) uint32 {
	ord := uint32(len(g.all))
	if k := len(g.free); k > 0 {
		ord = g.free[k-1]
		g.free = g.free[:k-1]
	} else {
		g.all = append(g.all, group{})
	}
	n.key = n.hash
	for {
		if _, taken := g.byHash[n.key]; !taken {
			break
		}
		n.key++
	}
	g.byHash[n.key] = ord
	g.all[ord] = n
	if !n.extra {
		g.count++
		g.tenants[n.tenant]++
	}
	return ord
}

// leave takes a record off a group.
func (g *groups) leave(ord uint32, now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[ord].refs--; g.all[ord].refs == 0 {
		g.all[ord].idle = now
	}
}

// expire frees the groups without records since before, whose windows are gone.
func (g *groups) expire(before int64) (gone []uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ord := range g.all {
		p := &g.all[ord]
		if !p.used || p.refs > 0 || p.idle >= before {
			continue
		}
		g.remove(uint32(ord))
		gone = append(gone, uint32(ord))
	}
	return gone
}

func (g *groups) remove(ord uint32) {
	p := &g.all[ord]
	g.unlink(p.key)
	if !p.extra {
		g.count--
		if g.tenants[p.tenant]--; g.tenants[p.tenant] == 0 {
			delete(g.tenants, p.tenant)
		}
	}
	*p = group{}
	g.free = append(g.free, ord)
}

// unlink closes the hole in a run of equal hashes.
func (g *groups) unlink(key uint64) {
	delete(g.byHash, key)
	for next := key + 1; ; next++ {
		ord, ok := g.byHash[next]
		if !ok || g.all[ord].hash > key {
			return
		}
		delete(g.byHash, next)
		g.byHash[key], g.all[ord].key = ord, key
		key = next
	}
}

func (g *groups) get(ord uint32) (labels.Labels, uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all[ord].labels, g.all[ord].hash
}
