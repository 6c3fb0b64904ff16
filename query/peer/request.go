package peer

import (
	"fmt"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// What one request may hold at most.
const (
	mostParts    = 1024 // leaves, and raw selections
	mostMatchers = 256  // of one selection
)

func requestMessage(r *global.Request) *querypb.AnswerRequest {
	m := &querypb.AnswerRequest{
		Options: &querypb.EngineOptions{
			Lookback: r.Options.Lookback, DelayedNames: r.Options.DelayedNames,
			StartTimestamps: r.Options.StartTimestamps,
		},
		Limits:  &querypb.Limits{Series: r.Limits.Series, Samples: r.Limits.Samples, Bytes: r.Limits.Bytes},
		History: r.History,
	}
	for _, l := range r.Leaves {
		m.Leaves = append(m.Leaves, &querypb.Leaf{
			Expr: l.Expr, Start: l.Start, End: l.End, Step: l.Step, KnownUntil: l.KnownUntil, Epoch: l.Epoch,
		})
	}
	for _, raw := range r.Raw {
		m.Raw = append(m.Raw, &querypb.Selector{Matchers: matcherMessages(raw.Matchers), MinTime: raw.MinTime, MaxTime: raw.MaxTime})
	}
	return m
}

func matcherMessages(ms []*labels.Matcher) (out []*querypb.Matcher) {
	for _, m := range ms {
		out = append(out, &querypb.Matcher{Type: matcherTypes[m.Type], Name: m.Name, Value: m.Value})
	}
	return out
}

var matcherTypes = map[labels.MatchType]querypb.Matcher_Type{
	labels.MatchEqual: querypb.Matcher_EQUAL, labels.MatchNotEqual: querypb.Matcher_NOT_EQUAL,
	labels.MatchRegexp: querypb.Matcher_REGEXP, labels.MatchNotRegexp: querypb.Matcher_NOT_REGEXP,
}

func matchers(list []*querypb.Matcher) ([]*labels.Matcher, error) {
	if len(list) > mostMatchers {
		return nil, fmt.Errorf("%d matchers: at most %d", len(list), mostMatchers)
	}
	out := make([]*labels.Matcher, 0, len(list))
	for _, m := range list {
		kind := labels.MatchType(-1)
		for known, t := range matcherTypes {
			if t == m.GetType() {
				kind = known
			}
		}
		if kind < 0 {
			return nil, fmt.Errorf("matcher of type %d: not known to this version", m.GetType())
		}
		one, err := labels.NewMatcher(kind, m.GetName(), m.GetValue())
		if err != nil {
			return nil, fmt.Errorf("matcher %s: %w", m.GetName(), err)
		}
		out = append(out, one)
	}
	return out, nil
}

// request reads what another island sent.
func request(m *querypb.AnswerRequest) (*global.Request, error) {
	if n := len(m.GetLeaves()) + len(m.GetRaw()); n > mostParts {
		return nil, fmt.Errorf("%d leaves and selections: at most %d", n, mostParts)
	}
	o, l := m.GetOptions(), m.GetLimits()
	r := &global.Request{
		Options: global.EngineOptions{
			Lookback: o.GetLookback(), DelayedNames: o.GetDelayedNames(),
			StartTimestamps: o.GetStartTimestamps(),
		},
		Limits:  global.Limits{Series: l.GetSeries(), Samples: l.GetSamples(), Bytes: l.GetBytes()},
		History: m.GetHistory(), Tell: m.GetTell(),
	}
	if r.Options.Lookback < 1 || r.Limits.Series < 0 || r.Limits.Samples < 0 || r.Limits.Bytes < 0 {
		return nil, fmt.Errorf("lookback %d ms, limits %v: must be positive", r.Options.Lookback, r.Limits)
	}
	for _, leaf := range m.GetLeaves() {
		r.Leaves = append(r.Leaves, global.Leaf{
			Expr: leaf.GetExpr(), Start: leaf.GetStart(), End: leaf.GetEnd(), Step: leaf.GetStep(),
			KnownUntil: leaf.GetKnownUntil(), Epoch: leaf.GetEpoch(),
		})
	}
	for i, s := range m.GetRaw() {
		ms, err := matchers(s.GetMatchers())
		if err != nil {
			return nil, fmt.Errorf("selection %d: %w", i, err)
		}
		r.Raw = append(r.Raw, global.Raw{Matchers: ms, MinTime: s.GetMinTime(), MaxTime: s.GetMaxTime()})
	}
	return r, nil
}
