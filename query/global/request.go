package global

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// prepare makes an island's request for a round; nil if there is nothing to ask
// it for, or it has failed before.
func (s *session) prepare(r *round, index int, island *asked) *reply {
	if island.receipt.State == StateFailed {
		return nil
	}
	one := &reply{index: index, request: &Request{Options: s.features, Limits: s.engine.options.Limits, Share: s.room.share(), Original: s.ask.Deny}}
	why := ""
	for i := range r.leaves {
		l := &r.leaves[i]
		if no := s.cannot(&island.facts, l.Selectors, l.MaxTime); no != "" {
			why = no
			continue
		}
		one.leaves = append(one.leaves, i)
		one.request.Leaves = append(one.request.Leaves, Leaf{Expr: l.Expr, Start: l.Start, End: l.End, Step: l.Step})
		s.recall(one, island.facts.Name, l)
	}
	for i := range r.raw {
		if no := s.cannot(&island.facts, [][]*labels.Matcher{r.raw[i].Matchers}, r.raw[i].MaxTime); no != "" {
			why = no
			continue
		}
		one.raw = append(one.raw, i)
		one.request.Raw = append(one.request.Raw, r.raw[i])
	}
	if len(one.leaves)+len(one.raw) > 0 {
		return one
	}
	if island.receipt.State == "" {
		s.mu.Lock()
		island.receipt.State, island.receipt.Why = StateSkipped, why
		s.mu.Unlock()
	}
	return nil
}

// cannot says why an island certainly has nothing for any of the selectors; ""
// if it may have.
func (s *session) cannot(f *Facts, selectors [][]*labels.Matcher, maxt int64) string {
	if f.MinTime > 0 && maxt < f.MinTime {
		return fmt.Sprintf("its data begins at %s", time.UnixMilli(f.MinTime).UTC().Format(time.RFC3339))
	}
	why := ""
	for _, ms := range selectors {
		m := s.excludes(f, ms)
		if m == nil {
			return ""
		}
		why = fmt.Sprintf("its labels do not match %s", m)
	}
	return why
}

// excludes returns the matcher that no series of the island can match.
func (s *session) excludes(f *Facts, ms []*labels.Matcher) *labels.Matcher {
	for _, m := range ms {
		v := f.External.Get(m.Name)
		if m.Name == s.engine.options.Label {
			v = f.Name
		}
		if v != "" && !m.Matches(v) {
			return m
		}
	}
	return nil
}

// request asks one island and vets what it says. It returns only when the island
// does; nobody has to wait for it.
func (e *Engine) request(ctx context.Context, r *round, island *asked, one *reply) *reply {
	began := time.Now()
	answer, err := e.call(ctx, island, one.request)
	if err == nil {
		one.rawBytes, err = e.vet(island.facts.Name, r, one, answer)
		if err != nil {
			e.metrics.refused.Inc()
			err = errors.New("its answer was refused: " + err.Error()) // not wrapped: it is this island's fault alone
		} else {
			err = e.complete(island.facts.Name, r, one, answer)
		}
	}
	one.answer, one.err, one.took = answer, err, time.Since(began)
	return one
}

// call turns a panic of a decoder of foreign bytes into an error.
func (e *Engine) call(ctx context.Context, island Island, r *Request) (a *Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			a, err = nil, fmt.Errorf("asking panicked: %v", p)
		}
	}()
	return island.Answer(ctx, r)
}

// vet checks an answer and replaces its claims about size by what was counted.
func (e *Engine) vet(name string, r *round, one *reply, a *Answer) (rawBytes int64, err error) {
	if a == nil || len(a.Leaves) != len(one.leaves) || len(a.Raw) != len(one.raw) {
		return 0, fmt.Errorf("it does not have %d leaves and %d selections", len(one.leaves), len(one.raw))
	}
	v := &vet{label: e.options.Label, name: name}
	spent := &meter{limits: one.request.Limits}
	for i := range a.Leaves {
		rows := a.Leaves[i].Rows
		var n int64
		for j := range rows {
			n += samples(&rows[j])
		}
		if err := spent.add(int64(len(rows)), n, 0); err != nil {
			return 0, err
		}
		l := r.leaves[one.leaves[i]]
		if a.Leaves[i].Tail {
			asked := one.request.Leaves[i]
			if asked.Epoch == 0 || asked.Epoch != a.Epoch {
				return 0, fmt.Errorf("it answers only the end of %s, of which nothing is known as of its epoch", l.Expr)
			}
			l.Start = asked.Tail().Start
		}
		if err := v.leaf(&l, rows); err != nil {
			return 0, err
		}
	}
	for i := range a.Raw {
		for _, s := range a.Raw[i].Series {
			for _, c := range s.Chunks {
				rawBytes += int64(len(c.Data))
			}
		}
		if err := spent.add(int64(len(a.Raw[i].Series)), 0, rawBytes); err != nil {
			return 0, err
		}
		n, err := v.raw(&r.raw[one.raw[i]], a.Raw[i].Series)
		if err != nil {
			return 0, err
		}
		if err := spent.add(0, n, 0); err != nil {
			return 0, err
		}
	}
	counted := spent.stats()
	if counted.Bytes = rawBytes; a.Stats.Bytes > 0 { // as the transport, not the island, counted
		counted.Bytes = a.Stats.Bytes
	}
	a.Stats = counted
	return rawBytes, nil
}

// mark puts a staleness marker at the first step without a value after one that
// has it, so that no lookback carries a value over.
func mark(row promql.Series, g rewrite.Grid) promql.Series {
	floats := make([]promql.FPoint, 0, len(row.Floats)+1)
	f, h := row.Floats, row.Histograms
	last := int64(math.MaxInt64)
	for len(f) > 0 || len(h) > 0 {
		var t int64
		var point promql.FPoint
		isFloat := len(h) == 0 || len(f) > 0 && f[0].T < h[0].T
		if isFloat {
			point, f = f[0], f[1:]
			t = point.T
		} else {
			t, h = h[0].T, h[1:]
		}
		if last < t-g.Step {
			floats = append(floats, promql.FPoint{T: last + g.Step, F: math.Float64frombits(value.StaleNaN)})
		}
		if isFloat {
			floats = append(floats, point)
		}
		last = t
	}
	if last <= g.End-g.Step {
		floats = append(floats, promql.FPoint{T: last + g.Step, F: math.Float64frombits(value.StaleNaN)})
	}
	row.Floats, row.DropName = floats, false
	return row
}
