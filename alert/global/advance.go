package global

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// resolvedRetention is for how long an alert that is over is handed over again, as
// upstream does it for receivers that were away.
const resolvedRetention = 15 * time.Minute

// missingLabel names the missing island in the alerts of on_missing: fire.
const missingLabel = "missing_island"

// found is one element of an alerting expression's answer, with its labels and
// annotations expanded.
type found struct {
	labels, source, annotations labels.Labels
	value                       float64
}

var errSameLabels = errors.New("two alerts have the same labels: keep a label that tells them apart, or aggregate")

// advance takes a rule's alerts one evaluation further, as upstream's alerting
// rules do: now is the time of the evaluation, all is what the expression found.
func (s *RuleState) advance(r *Rule, now int64, all []found, limit int) error {
	seen := make(map[uint64]int, len(all))
	for i, f := range all {
		h := labels.StableHash(f.labels)
		if _, twice := seen[h]; twice {
			return errSameLabels
		}
		seen[h] = i
	}
	if limit > 0 && len(all) > limit {
		s.Alerts = slices.DeleteFunc(s.Alerts, func(a Alert) bool { return a.Missing == "" })
		return fmt.Errorf("%d alerts, more than the group's limit of %d", len(all), limit)
	}
	s.step(false, now, r.For.Milliseconds(), r.KeepFiringFor.Milliseconds(), all, seen)
	return nil
}

// advanceMissing does the same with the alerts about missing islands.
func (s *RuleState) advanceMissing(r *Rule, now int64, missing []MissingIsland) {
	all := make([]found, 0, len(missing))
	seen := map[uint64]int{}
	for _, m := range missing {
		b := labels.NewBuilder(labels.EmptyLabels())
		r.Labels.Range(func(l labels.Label) {
			if !strings.Contains(l.Value, "{{") { // there is nothing to fill a template in from
				b.Set(l.Name, l.Value)
			}
		})
		b.Set(labels.AlertName, r.Alert)
		b.Set(missingLabel, m.Island)
		f := found{labels: b.Labels(), source: labels.FromStrings(missingLabel, m.Island), value: 1, annotations: labels.FromStrings(
			"summary", fmt.Sprintf("the data of island %s is missing: %s", m.Island, m.Why),
			"description", fmt.Sprintf("Alert %s is decided without that data; its other alerts are kept as they were.", r.Alert),
		)}
		if h := labels.StableHash(f.labels); !containsKey(seen, h) {
			seen[h] = len(all)
			all = append(all, f)
		}
	}
	s.step(true, now, r.For.Milliseconds(), 0, all, seen)
}

func containsKey(m map[uint64]int, k uint64) bool { _, ok := m[k]; return ok }

// step goes on with the alerts about missing islands, or with all others.
func (s *RuleState) step(missing bool, now, hold, keep int64, all []found, seen map[uint64]int) {
	known := map[uint64]bool{}
	next := s.Alerts[:0:0]
	for _, a := range s.Alerts {
		if (a.Missing != "") != missing {
			next = append(next, a)
			continue
		}
		h := a.identity()
		i, holds := seen[h]
		switch {
		case holds && a.Phase == Resolved:
			continue // a new spell of it begins below
		case holds:
			known[h] = true
			a.update(all[i])
			a.KeepSince = 0
		case !a.end(now, keep):
			continue
		}
		if a.Phase != Resolved {
			a.mature(now, hold)
		}
		next = append(next, a)
	}
	for _, f := range all {
		if known[labels.StableHash(f.labels)] {
			continue
		}
		a := Alert{Labels: f.labels, Phase: Pending, ActiveAt: now}
		if missing {
			a.Missing = f.source.Get(missingLabel)
		}
		a.update(f)
		a.mature(now, hold)
		next = append(next, a)
	}
	s.Alerts = next
}

func (a *Alert) update(f found) {
	a.Source, a.Annotations, a.Value = f.source, f.annotations, Value(f.value)
}

// end is for an alert whose condition does not hold; false drops it.
func (a *Alert) end(now, keep int64) bool {
	switch a.Phase {
	case Pending:
		return false
	case Resolved:
		return now-a.ResolvedAt <= resolvedRetention.Milliseconds()
	}
	if keep > 0 {
		if a.KeepSince == 0 {
			a.KeepSince = now
		}
		if now-a.KeepSince < keep {
			return true
		}
	}
	a.Phase, a.ResolvedAt = Resolved, now
	return true
}

// mature fires an alert whose time has come, and takes back one for which a longer
// time is asked now.
func (a *Alert) mature(now, hold int64) {
	switch {
	case a.Phase == Pending && now-a.ActiveAt >= hold:
		a.Phase, a.FiredAt = Firing, now
	case a.Phase == Firing && now-a.ActiveAt < hold:
		a.Phase, a.FiredAt, a.KeepSince, a.sent = Pending, 0, 0, 0
	}
}

// Outgoing is an alert for Alertmanager. FiredAt tells spells of one alert apart.
type Outgoing struct {
	ID                  uint64
	FiredAt             int64
	Expr                string
	Labels, Annotations labels.Labels
	StartsAt, EndsAt    time.Time
	Resolved            bool
}

// due returns the alerts to hand over now: those that changed, and the others again
// after the resend delay, or all. Each is good for four times the longer of delay
// and interval, as upstream's.
func (s *RuleState) due(expr string, now time.Time, resend, interval time.Duration, all bool) []Outgoing {
	var out []Outgoing
	ms := millis(now)
	for i := range s.Alerts {
		a := &s.Alerts[i]
		if a.Phase == Pending || !all && a.ResolvedAt <= a.sent && ms-a.sent < resend.Milliseconds() {
			continue
		}
		a.sent = ms
		o := Outgoing{
			ID: a.identity(), FiredAt: a.FiredAt, Expr: expr, Labels: a.Labels, Annotations: a.Annotations,
			StartsAt: atMillis(a.FiredAt), EndsAt: now.Add(4 * max(resend, interval)), Resolved: a.Phase == Resolved,
		}
		if o.Resolved {
			o.EndsAt = atMillis(a.ResolvedAt)
		}
		out = append(out, o)
	}
	return out
}
