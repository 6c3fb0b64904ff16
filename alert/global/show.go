package global

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
)

// GroupStatus is a global group as seen from here. What the last evaluation was
// like only its owner knows; the alerts all do.
type GroupStatus struct {
	Document string `json:"document"`
	Group    string `json:"group"`
	// Owner evaluates it, Here says that this island does. No owner is no primary.
	Owner string `json:"owner"`
	Here  bool   `json:"here"`
	// Evaluated is the time of the last evaluation as far as it is known here.
	Evaluated *time.Time   `json:"evaluated,omitempty"`
	Rules     []RuleStatus `json:"rules"`

	group  *Group
	state  *State
	result result
}

// RuleStatus is one of its rules.
type RuleStatus struct {
	Name      string    `json:"name"`
	OnMissing OnMissing `json:"onMissing"`
	// Kept says that the state is as it was because islands are missing.
	Kept    bool   `json:"kept,omitempty"`
	Missing string `json:"missing,omitempty"`
	Error   string `json:"error,omitempty"`
	// Receipt is that of the last answer.
	Receipt any `json:"receipt,omitempty"`
}

// Status tells of all groups, by document and name.
func (e *Evaluator) Status() []GroupStatus {
	self, live := e.o.Self(), e.live()
	e.mu.Lock()
	groups := make([]*Group, 0, len(e.groups))
	workers := make(map[string]*worker, len(e.workers))
	for _, name := range sortedKeys(e.parsed) {
		for i := range e.parsed[name].groups {
			groups = append(groups, &e.parsed[name].groups[i])
		}
	}
	for id, w := range e.workers {
		workers[id] = w
	}
	e.mu.Unlock()
	out := make([]GroupStatus, len(groups))
	for i, g := range groups {
		s := GroupStatus{Document: g.Document, Group: g.Name, Owner: Owner(g.ID(), live), group: g}
		s.Here = s.Owner == self && workers[g.ID()] != nil
		if w := workers[g.ID()]; w != nil {
			s.state, s.result = w.snapshot()
		} else {
			s.state = merge(e.states(g.ID(), nil))
		}
		s.describe()
		out[i] = s
	}
	return out
}

func (w *worker) snapshot() (*State, result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.state.clone(), w.last
}

func (s *GroupStatus) describe() {
	if s.state != nil && s.state.Evaluated > 0 {
		at := atMillis(s.state.Evaluated)
		s.Evaluated = &at
	}
	for i, r := range s.group.Rules {
		status := RuleStatus{Name: r.Alert + r.Record, OnMissing: r.OnMissing}
		if i < len(s.result.rules) {
			last := s.result.rules[i]
			status.Kept, status.Missing, status.Receipt = last.kept, describe(last.missing), last.receipt
			if last.err != nil {
				status.Error = last.err.Error()
			}
		}
		s.Rules = append(s.Rules, status)
	}
}

// RuleGroups shows the groups as upstream's API wants to see them.
func (e *Evaluator) RuleGroups(p parser.Parser) []*rules.Group {
	var out []*rules.Group
	for _, s := range e.Status() {
		out = append(out, s.upstream(p, e.o.ExternalURL, e.o.Interval()))
	}
	return out
}

// upstream makes groups to look at: they are never evaluated over data.
func (s *GroupStatus) upstream(p parser.Parser, external *url.URL, interval time.Duration) *rules.Group {
	g := s.group
	if g.Interval > 0 {
		interval = g.Interval
	}
	opts := rules.GroupOptions{
		Name: g.Name, File: KindRules + "/" + g.Document, Interval: interval, Limit: g.Limit, QueryOffset: &g.Offset,
		Opts: &rules.ManagerOptions{Metrics: rules.NewGroupMetrics(nil), Logger: slog.New(slog.DiscardHandler), ExternalURL: external, Context: context.Background()},
	}
	for i := range g.Rules {
		r := &g.Rules[i]
		expr, err := p.ParseExpr(r.Expr)
		if err != nil {
			continue // it was checked when the document was read
		}
		var shown rules.Rule
		if r.Record != "" {
			shown = rules.NewRecordingRule(r.Record, expr, r.Labels)
		} else {
			shown = s.alerting(r, expr, external)
		}
		s.dress(shown, i)
		opts.Rules = append(opts.Rules, shown)
	}
	return rules.NewGroup(opts)
}

// dress gives a rule what is known of its last evaluation.
func (s *GroupStatus) dress(r rules.Rule, i int) {
	if i < len(s.result.rules) {
		last := s.result.rules[i]
		r.SetEvaluationTimestamp(last.at)
		r.SetEvaluationDuration(last.took)
		r.SetHealth(rules.HealthGood)
		switch {
		case last.err != nil:
			r.SetHealth(rules.HealthBad)
			r.SetLastError(last.err)
		case last.kept:
			r.SetLastError(errors.New("kept as it was; missing: " + describe(last.missing)))
		}
		return
	}
	if s.Evaluated != nil { // by another island
		r.SetEvaluationTimestamp(*s.Evaluated)
		r.SetHealth(rules.HealthGood)
	}
}

// alerting is a rule with the alerts of the state: it is evaluated once over what
// they were made from, and each is then given its times.
func (s *GroupStatus) alerting(r *Rule, expr parser.Expr, external *url.URL) *rules.AlertingRule {
	out := rules.NewAlertingRule(r.Alert, expr, r.For, r.KeepFiringFor, r.Labels, r.Annotations, labels.EmptyLabels(),
		external.String(), true, slog.New(slog.DiscardHandler))
	if s.state == nil {
		return out
	}
	byLabels := map[uint64]*Alert{}
	var vector promql.Vector
	alerts := s.state.rule(r.key()).Alerts
	for i := range alerts {
		a := &alerts[i]
		if a.Phase == Resolved {
			continue
		}
		b := labels.NewBuilder(a.Labels)
		b.Set(labels.AlertName, r.Alert)
		byLabels[labels.StableHash(b.Labels())] = a
		vector = append(vector, promql.Sample{Metric: a.Source, F: float64(a.Value)})
	}
	ask := func(context.Context, string, time.Time) (promql.Vector, error) { return vector, nil }
	if _, err := out.Eval(context.Background(), 0, time.Now(), ask, external, 0); err != nil {
		return out // labels that clash: it is shown without its alerts
	}
	out.ForEachActiveAlert(func(shown *rules.Alert) {
		a := byLabels[labels.StableHash(shown.Labels)]
		if a == nil {
			return
		}
		shown.State, shown.Annotations, shown.Value = rules.StatePending, a.Annotations, float64(a.Value)
		shown.ActiveAt, shown.FiredAt, shown.KeepFiringSince = atMillis(a.ActiveAt), atMillis(a.FiredAt), atMillis(a.KeepSince)
		if a.Phase == Firing {
			shown.State = rules.StateFiring
		}
	})
	return out
}
