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
	leaves, raw []int // which of the round's the request holds
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
			s.fail(island, s.tooLate())
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
		why := one.err.Error()
		if errors.Is(one.err, context.DeadlineExceeded) {
			why = s.tooLate()
		}
		s.fail(island, why)
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
