package global

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// session is what one query has asked for and received. Its methods are called
// one at a time, by the query and then by the engine that evaluates the remainder.
type session struct {
	engine   *Engine
	ask      Ask
	features EngineOptions
	plan     *rewrite.Plan
	islands  []*asked // by name; nil before the first round
	leaves   map[string]*part
	raw      map[string]*part
	spoiled  map[string]bool // keys of leaves whose partial results are unusable
	spent    meter
	room     *room
	excess   *asked // left out because its answer was too large
	rounds   int

	mu sync.Mutex // guards the receipts, which may be read while asking
}

// asked is an island in a session.
type asked struct {
	Island
	facts   Facts
	receipt IslandReceipt
}

// part is what all islands together said to a leaf or raw selector.
type part struct {
	series []storage.Series
	notes  annotations.Annotations
	// Of leaves: the rows, the series read, the islands that have a part in it,
	// and whether one left out mixed groups or the parts do not add up.
	rows, read, from int64
	mixed, unusable  bool
}

func newSession(e *Engine, ask Ask, opts promql.QueryOpts) *session {
	f := e.options.Features
	if d := opts.LookbackDelta(); d > 0 {
		f.Lookback = d.Milliseconds()
	}
	if st := opts.UseStartTimestamps(); st != nil {
		f.StartTimestamps = *st
	}
	return &session{
		engine: e, ask: ask, features: f,
		leaves: map[string]*part{}, raw: map[string]*part{}, spoiled: map[string]bool{},
		spent: meter{limits: e.options.Limits}, room: newRoom(e.options.Memory),
	}
}

func (s *session) rewriting() rewrite.Options {
	o := rewrite.Options{
		Label: s.engine.options.Label, Lookback: s.features.Lookback,
		SubqueryStep: s.engine.options.SubqueryStep,
		DelayedNames: s.features.DelayedNames,
		Whole:        func(key string) bool { return s.spoiled[key] },
	}
	if s.engine.options.Costs != nil {
		o.Fetch = s.engine.options.Costs.fetch
	}
	return o
}

// list reads the islands once per query.
func (s *session) list(ctx context.Context) error {
	if s.islands != nil {
		return nil
	}
	all := s.engine.options.Islands(ctx)
	if len(all) == 0 {
		return errors.New("query: no islands are known, not even this one: ask with scope local")
	}
	list := make([]*asked, len(all))
	for i, island := range all {
		f := island.Facts()
		list[i] = &asked{Island: island, facts: f, receipt: IslandReceipt{Name: f.Name}}
	}
	slices.SortFunc(list, func(a, b *asked) int { return strings.Compare(a.facts.Name, b.facts.Name) })
	for i := range list[1:] {
		if list[i].facts.Name == list[i+1].facts.Name {
			return fmt.Errorf("query: two islands are named %q: sums would count one of them twice: rename one", list[i].facts.Name)
		}
	}
	s.mu.Lock()
	s.islands = list
	s.mu.Unlock()
	return nil
}

// round is what is asked for at once.
type round struct {
	leaves []rewrite.Leaf
	raw    []Raw
}

// todo is what of the leaves and selectors is not known yet.
func (s *session) todo(leaves []rewrite.Leaf, raw []rewrite.Raw) *round {
	r := &round{}
	for _, l := range leaves {
		if key := l.Key(); s.leaves[key] == nil {
			s.leaves[key] = &part{}
			if l.Steps() > 0 {
				r.leaves = append(r.leaves, l)
			}
		}
	}
	for _, one := range raw {
		if key := rawKey(one.Matchers, one.MinTime, one.MaxTime); s.raw[key] == nil {
			s.raw[key] = &part{}
			r.raw = append(r.raw, Raw{Matchers: one.Matchers, MinTime: one.MinTime, MaxTime: one.MaxTime})
		}
	}
	return r
}

func rawKey(ms []*labels.Matcher, mint, maxt int64) string {
	return fmt.Sprintf("%d %d %s", mint, maxt, selection(ms))
}

// selection identifies what matchers select; an expression that was printed and
// read again may have them in another order.
func selection(ms []*labels.Matcher) string {
	parts := make([]string, len(ms))
	for i, m := range ms {
		parts[i] = m.String()
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func (s *session) learn(leaves []rewrite.Leaf) {
	if s.engine.options.Costs == nil {
		return
	}
	for _, l := range leaves {
		if p := s.leaves[l.Key()]; l.Steps() > 0 {
			s.engine.options.Costs.learn(l.Expr, p.rows, p.read)
		}
	}
}

// receipt is the state of affairs.
func (s *session) receipt() *Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Receipt{Scope: s.ask.Scope.String(), Rounds: s.rounds}
	for _, i := range s.islands {
		r.Islands = append(r.Islands, i.receipt)
		r.Partial = r.Partial || i.receipt.State == StateFailed
	}
	if s.plan == nil {
		return r
	}
	r.Rest = s.plan.Expr
	for _, l := range s.plan.Leaves {
		r.Pushed = append(r.Pushed, l.Expr)
	}
	for _, one := range s.plan.Raw {
		r.Fetched = append(r.Fetched, selector(one.Matchers))
	}
	return r
}

func selector(ms []*labels.Matcher) string {
	parts := make([]string, len(ms))
	for i, m := range ms {
		parts[i] = m.String()
	}
	return "{" + strings.Join(parts, ",") + "}"
}
