package history

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Figures are those of the alerts of one name.
type Figures struct {
	Alertname string `json:"alertname"`
	Severity  string `json:"severity,omitempty"`
	// Fired counts what began to fire in the time asked for.
	Fired int `json:"fired"`
	// FiringSeconds is the sum over all its alerts.
	FiringSeconds float64 `json:"firing_seconds"`
	// LongestSeconds is that of one incident.
	LongestSeconds float64   `json:"longest_seconds"`
	LastFiredAt    time.Time `json:"last_fired_at,omitzero"`
	FiringNow      int       `json:"firing_now"`
	// Series is how many different alerts of the name fired.
	Series        int `json:"series"`
	Notifications int `json:"notifications"`
	Failed        int `json:"failed_notifications"`

	series map[string]struct{}
}

// Statistics are the figures of all names, the noisiest first.
type Statistics struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Items []Figures `json:"items"`
	// Partial says that there was more than one answer looks at: a shorter time tells all.
	Partial bool `json:"partial,omitempty"`
	LeftOut int  `json:"left_out,omitempty"`
}

// maxNames bounds an answer.
const maxNames = 500

// Statistics sums up what happened between two times.
func (s *Store) Statistics(from, to time.Time) (Statistics, error) {
	out := Statistics{From: from, To: to, Items: []Figures{}}
	incidents, news, partial, err := s.incidents(from, to)
	if err != nil {
		return out, err
	}
	out.Partial = partial
	byName := map[string]*Figures{}
	get := func(name string) *Figures {
		if byName[name] == nil {
			byName[name] = &Figures{Alertname: name, series: map[string]struct{}{}}
		}
		return byName[name]
	}
	for _, i := range incidents {
		get(i.Alertname).add(i, from, to)
	}
	for name, n := range news {
		f := get(name)
		f.Notifications, f.Failed = n.notified, n.failed
	}
	for _, f := range byName {
		f.Series = len(f.series)
		out.Items = append(out.Items, *f)
	}
	slices.SortFunc(out.Items, func(a, b Figures) int {
		return cmp.Or(cmp.Compare(b.Fired, a.Fired), cmp.Compare(b.FiringSeconds, a.FiringSeconds), cmp.Compare(a.Alertname, b.Alertname))
	})
	if more := len(out.Items) - maxNames; more > 0 {
		out.Items, out.LeftOut = out.Items[:maxNames], more
	}
	return out, nil
}

func (f *Figures) add(i Incident, from, to time.Time) {
	if !i.From.Before(from) {
		f.Fired++
	}
	a, b := i.within(from, to)
	took := max(b.Sub(a).Seconds(), 0)
	f.FiringSeconds += took
	f.LongestSeconds = max(f.LongestSeconds, took)
	if i.From.After(f.LastFiredAt) {
		f.LastFiredAt = i.From
	}
	if i.To.IsZero() {
		f.FiringNow++
	}
	f.Severity = cmp.Or(f.Severity, i.Severity)
	f.series[i.Fingerprint] = struct{}{}
}

// Span is a time in which Alerts alerts at most fired together.
type Span struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Alerts int       `json:"alerts"`
}

// Lane is when alerts of one name fired.
type Lane struct {
	Alertname string `json:"alertname"`
	Severity  string `json:"severity,omitempty"`
	FiringNow int    `json:"firing_now"`
	Spans     []Span `json:"spans"`
}

// Timeline is a lane for each name, the one that fired last first.
type Timeline struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Items   []Lane    `json:"items"`
	Partial bool      `json:"partial,omitempty"`
	LeftOut int       `json:"left_out,omitempty"`
}

// Bounds of a timeline: what is nearer than one cell of maxCells is one span.
const (
	maxLanes = 200
	maxCells = 720
)

// Timeline draws what happened between two times.
func (s *Store) Timeline(from, to time.Time) (Timeline, error) {
	out := Timeline{From: from, To: to, Items: []Lane{}}
	incidents, _, partial, err := s.incidents(from, to)
	if err != nil {
		return out, err
	}
	out.Partial = partial
	byName := map[string][]Incident{}
	for _, i := range incidents {
		byName[i.Alertname] = append(byName[i.Alertname], i)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out.Items = append(out.Items, lane(name, byName[name], from, to))
	}
	last := func(l Lane) time.Time { return l.Spans[len(l.Spans)-1].To }
	slices.SortStableFunc(out.Items, func(a, b Lane) int {
		return cmp.Or(cmp.Compare(min(b.FiringNow, 1), min(a.FiringNow, 1)), last(b).Compare(last(a)))
	})
	if more := len(out.Items) - maxLanes; more > 0 {
		out.Items, out.LeftOut = out.Items[:maxLanes], more
	}
	return out, nil
}

// lane unites what fires together or nearly so.
func lane(name string, incidents []Incident, from, to time.Time) Lane {
	l := Lane{Alertname: name}
	gap := to.Sub(from) / maxCells
	slices.SortFunc(incidents, func(a, b Incident) int { return a.From.Compare(b.From) })
	ends := make([]time.Time, len(incidents))
	for n, i := range incidents {
		_, ends[n] = i.within(from, to)
	}
	slices.SortFunc(ends, time.Time.Compare)
	over := 0 // of the incidents so far, those that ended before the one looked at began
	for n, i := range incidents {
		a, b := i.within(from, to)
		l.Severity = cmp.Or(l.Severity, i.Severity)
		if i.To.IsZero() {
			l.FiringNow++
		}
		for over < n && !ends[over].After(a) {
			over++
		}
		together := n + 1 - over
		if k := len(l.Spans); k > 0 && a.Sub(l.Spans[k-1].To) <= gap {
			last := &l.Spans[k-1]
			if b.After(last.To) {
				last.To = b
			}
			last.Alerts = max(last.Alerts, together)
			continue
		}
		l.Spans = append(l.Spans, Span{From: a, To: b, Alerts: together})
	}
	return l
}
