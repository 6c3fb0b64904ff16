package global

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// reply is what became of one request.
type reply struct {
	index       int
	request     *Request
	leaves, raw []int     // which of the round's the request holds
	known       []*extent // of each of leaves; nil where nothing is
	reused      int64     // samples that were known
	answer      *Answer
	rawBytes    int64
	err         error
	took        time.Duration
}

// gather asks every island for what is not known yet and waits until all have
// answered or had their time. Its error is the query's.
func (s *session) gather(ctx context.Context, leaves []rewrite.Leaf, raw []rewrite.Raw) error {
	r := s.todo(leaves, raw)
	if len(r.leaves)+len(r.raw) == 0 {
		return nil
	}
	if err := r.fits(); err != nil {
		return err
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
	done, err := s.wait(ctx, within, replies, pending)
	if err != nil {
		return err
	}
	if err := s.judge(ctx, r, done); err != nil {
		return err
	}
	sums := make([]totals, len(r.leaves))
	for i, island := range s.islands {
		switch {
		case got[i] == nil:
		case done[i] == nil:
			s.fail(island, s.tooLate())
		default:
			if s.receive(done[i]); done[i].err == nil {
				s.merge(r, done[i], sums)
			}
		}
	}
	for i, t := range sums {
		if l := &r.leaves[i]; t.unusable(l.Means, len(s.islands)) {
			s.leaves[l.Key()].unusable = true
		}
	}
	return nil
}

// fits refuses what no island answers, so that none has to say so.
func (r *round) fits() error {
	if n := len(r.leaves) + len(r.raw); n > maxParts {
		return fault(FaultQuery, "query asks each island for %d things, at most %d are answered: ask for fewer at once", n, maxParts)
	}
	for i := range r.leaves {
		if l := &r.leaves[i]; l.Steps() > maxSteps {
			return fault(FaultQuery, "query evaluates %s %d times, at most %d are answered: ask for a coarser step or a shorter time", l.Expr, l.Steps(), maxSteps)
		}
	}
	return nil
}

// wait collects replies until there are no more, or their time is over.
func (s *session) wait(ctx, within context.Context, replies <-chan *reply, pending int) ([]*reply, error) {
	done := make([]*reply, len(s.islands))
	for pending > 0 {
		select {
		case one := <-replies:
			pending--
			done[one.index] = one
		case <-within.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			for len(replies) > 0 { // what is there is taken
				one := <-replies
				done[one.index] = one
			}
			return done, nil
		}
	}
	return done, nil
}

// judge finds out whether the question has no answer; then the receipt says who
// did answer.
func (s *session) judge(ctx context.Context, r *round, done []*reply) error {
	err := s.claims(ctx, r, done)
	if err == nil {
		err = s.excessive(done)
	}
	for _, one := range done {
		if err != nil && one != nil && one.err == nil {
			s.receive(one)
		}
	}
	return err
}

// receive books a reply.
func (s *session) receive(one *reply) {
	island := s.islands[one.index]
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := &island.receipt
	rec.Took += one.took
	if one.err != nil {
		why := one.err.Error()
		if errors.Is(one.err, context.DeadlineExceeded) {
			why = s.tooLate()
		}
		if rec.State != StateFailed { // it may be known why
			rec.State, rec.Why = StateFailed, why
		}
		return
	}
	a := one.answer
	if rec.State != StateFailed {
		rec.State, rec.Why = StateAnswered, ""
	}
	if a.From != "" {
		rec.From, rec.Why = a.From, a.Why
	}
	rec.Oldest, rec.Newest = a.Oldest, a.Newest
	rec.Series += a.Stats.Series
	rec.Samples += a.Stats.Samples
	if !island.facts.Own { // nothing moved
		rec.Bytes += a.Stats.Bytes
	}
	rec.Reused += one.reused
	s.spent.count(a.Stats.Series, a.Stats.Samples, one.rawBytes)
}

func (s *session) tooLate() string { return fmt.Sprintf("no answer within %v", s.ask.Deadline) }

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
			p.mixed = p.mixed || a.Mixed
			if a.Mixed || len(a.Rows) > 0 {
				p.from++
			}
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
		key := l.Key()
		if p := s.leaves[key]; l.Sums && (p.unusable || p.mixed && p.from > 1) {
			s.spoiled[key] = true
			again = true
		}
	}
	return again
}
