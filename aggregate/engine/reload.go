package engine

import (
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Reload makes set the configuration. Rules whose Hash did not change go on as if
// nothing had happened, with the outputs and times that they have now; what a rule
// needs more than before is said to be missing (Acc.Lacks) in windows that are under
// way. The labels of each series are looked at once more, when its next sample comes. Other labels for replicas or sources make everything begin
// anew. A set with an impossible rule is refused, and the old one stays.
func (e *Engine) Reload(set *rule.Set) error {
	for _, r := range set.Rules {
		if err := checkRule(r); err != nil {
			return err
		}
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.goOver(set); err != nil {
		return err
	}
	e.finishChores()
	return nil
}

// goOver leaves chores to be finished. The caller holds turn.
func (e *Engine) goOver(set *rule.Set) error {
	e.cut.Lock()
	defer e.cut.Unlock()
	e.learning.Lock()
	defer e.learning.Unlock()
	old := e.rules.Load().set
	if old != nil && (!slices.Equal(old.ReplicaLabels, set.ReplicaLabels) || !slices.Equal(old.SourceLabels, set.SourceLabels)) {
		e.wipe()
	}
	before := e.rules.Load()
	if err := e.install(set); err != nil {
		return err
	}
	after := e.rules.Load()
	for _, s := range e.shards {
		s.relabel(before, after)
	}
	e.neg.reset()
	e.epoch.Add(1)
	return nil
}

// wipe forgets all series and sources, not the open windows.
func (e *Engine) wipe() {
	set := e.rules.Load()
	for _, s := range e.shards {
		s.mu.Lock()
		s.eachHead(func(id uint32) { s.forget(set, id, e.newest.Load()) })
		for _, id := range s.limbo {
			s.release(id)
		}
		s.limbo = nil
		for i := range s.places.parts {
			s.places.parts[i].Store(nil)
		}
		s.aliases.table.Store(nil)
		s.aliases.free = nil
		s.mu.Unlock()
	}
	e.src.mu.Lock()
	e.src.reset()
	e.src.mu.Unlock()
	e.sweep = sweeper{}
}

func (s *shard) eachHead(f func(id uint32)) {
	for n, c := range *s.chunks.Load() {
		if c != nil {
			s.chunkHeads(n, c, func(id uint32, _ record) { f(id) })
		}
	}
}

func (s *shard) chunkHeads(n int, c *chunk, f func(id uint32, r record)) {
	for i := range c.bump {
		if r := c.recs.at(i); r.is(flagHead) {
			f(uint32(n)*chunkSize+i, r)
		}
	}
}

// relabel marks all series to be looked at again, and takes the records of rules
// that are gone out of service.
func (s *shard) relabel(before, after *ruleSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginChore(func(_ *chore, n int, c *chunk) {
		if c == nil {
			return
		}
		s.chunkHeads(n, c, func(head uint32, h record) {
			for id := head + 1; id != 0; id = s.at(id - 1).next {
				if r := s.at(id - 1); r.slot() != 0 && after.slots[r.slot()] != before.slots[r.slot()] {
					s.retire(id-1, r)
				}
			}
			h.set(flagRelearn)
		})
	})
}

// retire takes a record out of the service of its rule.
func (s *shard) retire(id uint32, r record) {
	r.group = 0
	r.t, r.v = never, 0
	s.gapsOf(id).drop(id)
	s.dropSides(id)
	c, i := s.chunkOf(id)
	c.dropFirst(i)
	r.setStep(0)
	r.clear(flagGap | flagSure | flagBorn)
}
