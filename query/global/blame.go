package global

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// No island alone ends a question. That the question is an error, it has to prove
// with the series that make it one. That the answer is too large ends the question
// only if it is so without the largest part, too.

// claims checks what islands hold against the question itself. Its error is one
// that the asking engine met in an island's own series, the first in the order of
// names.
func (s *session) claims(ctx context.Context, r *round, done []*reply) error {
	var all []*claim
	var wg sync.WaitGroup
	within, cancel := context.WithTimeout(ctx, s.ask.Deadline)
	defer cancel()
	for i, one := range done {
		var f *Fault
		if one == nil || !errors.As(one.err, &f) || f.Kind != FaultQuery {
			continue
		}
		if s.islands[i].facts.Own {
			return f
		}
		c := &claim{reply: one, said: f}
		all = append(all, c)
		wg.Go(func() { c.met, c.err = s.evidence(within, r, one) })
	}
	if wg.Wait(); len(all) > 0 {
		s.rounds++
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, c := range all {
		island := s.islands[c.reply.index]
		switch {
		case c.met != nil:
			s.mu.Lock()
			island.receipt.State, island.receipt.Why = StateAnswered, "its series make the question an error"
			s.mu.Unlock()
			return &Fault{Kind: FaultQuery, Text: c.met.Error()}
		case c.err != nil:
			s.fail(island, fmt.Sprintf("it says that the question is an error, which could not be checked: %s: %s", c.said.Text, c.err))
		default:
			s.engine.metrics.refused.Inc()
			s.fail(island, "it says that the question is an error, but its series show none: "+c.said.Text)
		}
	}
	return nil
}

// claim is an island's word that the question is an error; met is the error that
// its series make, err why there is no proof.
type claim struct {
	reply    *reply
	said     *Fault
	met, err error
}

// evidence fetches the series that an island's leaves read and evaluates the
// leaves here: met is the error that this meets, err why it could not be done.
func (s *session) evidence(within context.Context, r *round, claim *reply) (met, err error) {
	proof, index := &round{}, claim.index
	for _, i := range claim.leaves {
		l := &r.leaves[i]
		for _, ms := range l.Selectors {
			proof.raw = append(proof.raw, Raw{Matchers: ms, MinTime: l.MinTime, MaxTime: l.MaxTime})
		}
	}
	island := s.islands[index]
	one := s.prepare(proof, index, island)
	if one == nil {
		return nil, errors.New("it cannot have series for it")
	}
	replies := make(chan *reply, 1)
	go func() { replies <- s.engine.request(within, proof, island, one) }()
	select {
	case one = <-replies:
	case <-within.Done():
		return nil, within.Err()
	}
	s.mu.Lock()
	island.receipt.Took += one.took
	s.mu.Unlock()
	if one.err != nil {
		return nil, one.err
	}
	s.mu.Lock()
	island.receipt.Bytes += one.answer.Stats.Bytes
	s.mu.Unlock()
	data := &proven{}
	for i := range one.answer.Raw {
		data.selections = append(data.selections, handed{want: proof.raw[one.raw[i]].Matchers, series: one.answer.Raw[i].Series})
	}
	for _, i := range claim.leaves {
		if met := s.evaluate(within, &r.leaves[i], data); met != nil {
			return met, within.Err()
		}
	}
	return nil, nil
}

// evaluate returns the error that the upstream engine meets in a leaf.
func (s *session) evaluate(ctx context.Context, l *rewrite.Leaf, data storage.Queryable) error {
	starts := s.features.StartTimestamps
	opts := promql.NewPrometheusQueryOpts(false, time.Duration(s.features.Lookback)*time.Millisecond, &starts)
	q, err := s.engine.options.Engine.NewRangeQuery(ctx, data, opts, l.Expr,
		timestamp.Time(l.Start), timestamp.Time(l.End), time.Duration(l.Step)*time.Millisecond)
	if err != nil {
		return err
	}
	defer q.Close()
	if err := q.Exec(ctx).Err; err != nil && blame(err) == FaultQuery {
		return err
	}
	return nil
}

// proven is a store with the series of an island's proof.
type proven struct{ selections []handed }

type handed struct {
	want   []*labels.Matcher
	series []RawSeries
}

func (p *proven) Querier(mint, maxt int64) (storage.Querier, error) {
	return &provenQuerier{LabelQuerier: storage.NoopQuerier(), proven: p}, nil
}

type provenQuerier struct {
	storage.LabelQuerier
	proven *proven
}

func (q *provenQuerier) Select(_ context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	out := &seriesSet{at: -1}
	for _, s := range q.proven.selections {
		if selection(s.want) != selection(ms) {
			continue
		}
		for i := range s.series {
			out.series = append(out.series, &fetched{series: &s.series[i], mint: hints.Start, maxt: hints.End})
		}
		break
	}
	if sorted {
		out.sort()
	}
	return out
}

// excessive holds what was received against the query's limits. One island whose
// answer is larger than those of all others together, by its own word or as it
// came, is left out: no island alone ends a question for which the others need
// less than half of the limits.
func (s *session) excessive(done []*reply) error {
	for _, one := range done {
		var f *Fault
		if one == nil || !errors.As(one.err, &f) || f.Kind != FaultLimit {
			continue
		}
		if err := s.leaveOut(one, f); err != nil {
			return err
		}
	}
	err := s.total(done)
	if err == nil {
		return nil
	}
	for _, one := range done {
		if one != nil && one.err == nil && s.dominates(one) {
			if bad := s.leaveOut(one, err); bad != nil {
				return bad
			}
			return s.total(done)
		}
	}
	return err
}

// total counts what was received.
func (s *session) total(done []*reply) error {
	sum := &meter{limits: s.spent.limits, spent: s.spent.stats()}
	for _, one := range done {
		if one == nil || one.err != nil {
			continue
		}
		if err := sum.add(one.answer.Stats.Series, one.answer.Stats.Samples, one.rawBytes); err != nil {
			return err
		}
	}
	return nil
}

// dominates reports whether an answer takes more than half of a limit.
func (s *session) dominates(one *reply) bool {
	l, a := s.spent.limits, one.answer.Stats
	return l.Series > 0 && a.Series > l.Series/2 || l.Samples > 0 && a.Samples > l.Samples/2 || l.Bytes > 0 && one.rawBytes > l.Bytes/2
}

// leaveOut does without an answer that is too large, unless it is this island's or
// not the first.
func (s *session) leaveOut(one *reply, why error) error {
	island := s.islands[one.index]
	if island.facts.Own || s.excess != nil && s.excess != island || len(s.islands) == 1 {
		return why
	}
	s.excess = island
	one.err, one.answer = why, nil
	return nil
}
