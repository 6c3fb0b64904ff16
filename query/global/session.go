package global

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

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
	// Of leaves: whether partial results are unusable, the rows, and the series
	// read.
	unusable   bool
	rows, read int64
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
		spent: meter{limits: e.options.Limits},
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
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d", mint, maxt)
	for _, m := range ms {
		b.WriteByte(' ')
		b.WriteString(m.String())
	}
	return b.String()
}

// gather asks every island for what is not known yet and waits until all have
// answered or had their time. Its error is the query's.
func (s *session) gather(ctx context.Context, leaves []rewrite.Leaf, raw []rewrite.Raw) error {
	r := s.todo(leaves, raw)
	if len(r.leaves)+len(r.raw) == 0 {
		return nil
	}
	if err := s.list(ctx); err != nil {
		return err
	}
	s.rounds++
	within, cancel := context.WithTimeout(ctx, s.ask.Deadline)
	defer cancel()
	replies := make(chan *reply, len(s.islands))
	got := make([]*reply, len(s.islands))
	pending := 0
	for i, island := range s.islands {
		if got[i] = s.prepare(r, i, island); got[i] == nil {
			continue
		}
		pending++
		go func() { replies <- s.engine.request(within, r, island, got[i]) }()
	}
	done := make([]*reply, len(s.islands))
	for pending > 0 {
		select {
		case one := <-replies:
			pending--
			done[one.index] = one
			if err := s.receive(one); err != nil {
				return err
			}
		case <-within.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			pending = 0 // but take what is there
			for len(replies) > 0 {
				one := <-replies
				done[one.index] = one
				if err := s.receive(one); err != nil {
					return err
				}
			}
		}
	}
	sums := make([]totals, len(r.leaves))
	for i, island := range s.islands {
		switch {
		case got[i] == nil:
		case done[i] == nil:
			s.fail(island, fmt.Sprintf("no answer within %v", s.ask.Deadline))
		case done[i].err == nil:
			s.merge(r, done[i], sums)
		}
	}
	for i, t := range sums {
		if l := &r.leaves[i]; t.unusable(l.Means, len(s.islands)) {
			s.leaves[l.Key()].unusable = true
		}
	}
	return nil
}

// receive books a reply.
func (s *session) receive(one *reply) error {
	island := s.islands[one.index]
	s.mu.Lock()
	island.receipt.Took += one.took
	s.mu.Unlock()
	if one.err != nil {
		var f *Fault
		if errors.As(one.err, &f) && (f.Kind == FaultQuery || f.Kind == FaultLimit) {
			return f
		}
		s.fail(island, one.err.Error())
		return nil
	}
	a := one.answer
	s.mu.Lock()
	rec := &island.receipt
	if rec.State != StateFailed {
		rec.State, rec.Why = StateAnswered, ""
	}
	rec.Oldest, rec.Newest = a.Oldest, a.Newest
	rec.Series += a.Stats.Series
	rec.Samples += a.Stats.Samples
	rec.Bytes += a.Stats.Bytes
	s.mu.Unlock()
	return s.spent.add(a.Stats.Series, a.Stats.Samples, one.rawBytes)
}

func (s *session) fail(island *asked, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	island.receipt.State, island.receipt.Why = StateFailed, why
}

// merge appends an island's answer to the parts. Islands are merged in the order
// of their names: which of equal values topk picks depends on it.
func (s *session) merge(r *round, one *reply, sums []totals) {
	for i, a := range one.answer.Leaves {
		l := &r.leaves[one.leaves[i]]
		p := s.leaves[l.Key()]
		if l.Sums {
			p.unusable = p.unusable || a.Mixed
			if sums[one.leaves[i]] == nil {
				sums[one.leaves[i]] = totals{}
			}
			sums[one.leaves[i]].add(a.Rows)
		}
		p.read += a.Read
		p.rows += int64(len(a.Rows))
		p.note(a.Notes)
		for _, row := range a.Rows {
			p.series = append(p.series, promql.NewStorageSeries(mark(row, l.Grid)))
		}
	}
	for i := range one.answer.Raw {
		a := &one.answer.Raw[i]
		want := &r.raw[one.raw[i]]
		p := s.raw[rawKey(want.Matchers, want.MinTime, want.MaxTime)]
		p.note(a.Notes)
		for j := range a.Series {
			p.series = append(p.series, &fetched{series: &a.Series[j], mint: want.MinTime, maxt: want.MaxTime})
		}
	}
}

func (p *part) note(notes []Note) {
	for _, n := range notes {
		kind := annotations.PromQLWarning
		if n.Info {
			kind = annotations.PromQLInfo
		}
		p.notes.Add(note{text: n.Text, kind: kind})
	}
}

// spoil reports whether leaves turned out to be unusable as partial results, and
// remembers which.
func (s *session) spoil(leaves []rewrite.Leaf) bool {
	again := false
	for _, l := range leaves {
		if key := l.Key(); l.Sums && s.leaves[key].unusable {
			s.spoiled[key] = true
			again = true
		}
	}
	return again
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

// reply is what became of one request.
type reply struct {
	index       int
	request     *Request
	leaves, raw []int // which of the round's the request holds
	answer      *Answer
	rawBytes    int64
	err         error
	took        time.Duration
}
