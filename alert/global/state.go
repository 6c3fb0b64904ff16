package global

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Phase is how far an alert is.
type Phase string

const (
	// Pending waits for its `for` to pass.
	Pending Phase = "pending"
	// Firing is told.
	Firing Phase = "firing"
	// Resolved fired, and is over.
	Resolved Phase = "resolved"
)

func (p Phase) rank() int { return slices.Index([]Phase{Resolved, Pending, Firing}, p) }

// Bounds of a state document; MaxState leaves room below the replica's own.
const (
	MaxState  = 512 << 10
	maxAlerts = 5000
	maxFacts  = 20_000
)

// Value is a float64 that JSON can hold, NaN and infinities included.
type Value float64

// MarshalText writes the shortest text that reads back as the same number.
func (v Value) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(v), 'g', -1, 64), nil
}

// UnmarshalText reads what MarshalText wrote.
func (v *Value) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	*v = Value(f)
	return err
}

// Alert is one alert of a rule. Times are Unix milliseconds, 0 for none.
type Alert struct {
	Labels labels.Labels `json:"labels"`
	// Source are the labels of what the expression found.
	Source      labels.Labels `json:"source"`
	Annotations labels.Labels `json:"annotations"`
	Value       Value         `json:"value"`
	Phase       Phase         `json:"phase"`
	ActiveAt    int64         `json:"activeAt"`
	FiredAt     int64         `json:"firedAt,omitempty"`
	ResolvedAt  int64         `json:"resolvedAt,omitempty"`
	// KeepSince is when it would have ended but for keep_firing_for.
	KeepSince int64 `json:"keepSince,omitempty"`
	// Missing is the island that the alert says is missing; empty for all others.
	Missing string `json:"missing,omitempty"`

	sent int64 // handed over last
}

// identity is the same on every island.
func (a *Alert) identity() uint64 { return labels.StableHash(a.Labels) }

// Told is what a receiver was told last of an alert.
type Told struct {
	Alert uint64 `json:"alert,string"`
	// Receiver is the integration, Aggregation the alert group that it was told in.
	Receiver    string `json:"receiver"`
	Aggregation string `json:"aggregation"`
	// Fired is Alert.FiredAt of the alert that it was told of.
	Fired    int64 `json:"fired"`
	At       int64 `json:"at"`
	Resolved bool  `json:"resolved,omitempty"`
}

type toldKey struct {
	alert                 uint64
	receiver, aggregation string
}

func (t Told) key() toldKey { return toldKey{t.Alert, t.Receiver, t.Aggregation} }

// later reports whether t is newer news than o.
func (t Told) later(o Told) bool {
	return cmp.Or(cmp.Compare(t.Fired, o.Fired), cmp.Compare(t.At, o.At)) > 0
}

// RuleState is the state of one rule.
type RuleState struct {
	Rule   string  `json:"rule"`
	Alerts []Alert `json:"alerts"`
}

// State is all that another primary needs to go on with a group.
type State struct {
	Document string `json:"document"`
	Group    string `json:"group"`
	// Island wrote it.
	Island string `json:"island"`
	// Evaluated is the last evaluation before it was written, Unix ms.
	Evaluated int64 `json:"evaluated"`
	// Absorbed are the versions of other state documents that went into this one.
	Absorbed map[string]uint64 `json:"absorbed,omitempty"`
	Rules    []RuleState       `json:"rules,omitempty"`
	Told     []Told            `json:"told,omitempty"`
	// LeftOut counts alerts that had no room.
	LeftOut int `json:"leftOut,omitempty"`
}

// StateKey is the document in which an island leaves the state of a group.
func StateKey(id, island string) string {
	h := fnv.New64a()
	h.Write([]byte(island))
	return fmt.Sprintf("%s/%s~%016x", KindState, id, h.Sum64())
}

// Encode writes the state within MaxState: what has no room is left out and
// counted, alerts that do not fire first.
func (s *State) Encode() ([]byte, error) {
	out := *s
	for {
		text, err := json.Marshal(&out)
		if err != nil {
			return nil, fmt.Errorf("encode the state of %s: %w", s.Group, err)
		}
		if len(text) <= MaxState && out.count() <= maxAlerts && len(out.Told) <= maxFacts {
			return append(text, '\n'), nil
		}
		out.halve()
		if out.count() == 0 && len(out.Told) == 0 {
			return nil, fmt.Errorf("encode the state of %s: %d bytes, at most %d fit", s.Group, len(text), MaxState)
		}
	}
}

func (s *State) count() int {
	n := 0
	for _, r := range s.Rules {
		n += len(r.Alerts)
	}
	return n
}

// halve leaves half of the alerts out; what receivers were told stays longer.
func (s *State) halve() {
	if s.count() == 0 {
		s.Told = s.Told[len(s.Told)/2+len(s.Told)%2:]
		return
	}
	rules := make([]RuleState, len(s.Rules))
	for i, r := range s.Rules {
		kept := slices.SortedStableFunc(slices.Values(r.Alerts), func(a, b Alert) int { return cmp.Compare(b.Phase.rank(), a.Phase.rank()) })
		rules[i] = RuleState{Rule: r.Rule, Alerts: kept[:len(kept)/2]}
		s.LeftOut += len(kept) - len(kept)/2
	}
	s.Rules = rules
}

// DecodeState reads and judges the text of a state document.
func DecodeState(text []byte) (*State, error) {
	if len(text) > MaxState+1 {
		return nil, fmt.Errorf("state: %d bytes, at most %d", len(text), MaxState+1)
	}
	s := &State{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if s.Document == "" || s.Group == "" || s.Island == "" {
		return nil, errors.New("state: document, group and island are required")
	}
	if s.count() > maxAlerts || len(s.Told) > maxFacts {
		return nil, fmt.Errorf("state: %d alerts and %d tellings, at most %d and %d", s.count(), len(s.Told), maxAlerts, maxFacts)
	}
	for _, r := range s.Rules {
		for _, a := range r.Alerts {
			if a.Phase.rank() < 0 || a.ActiveAt <= 0 || a.Phase == Firing && a.FiredAt <= 0 || a.Phase == Resolved && a.ResolvedAt <= 0 {
				return nil, fmt.Errorf("state: alert %s: phase %q does not go with its times", a.Labels, a.Phase)
			}
			if a.Labels.Get(labels.AlertName) == "" {
				return nil, fmt.Errorf("state: alert %s has no alertname", a.Labels)
			}
		}
	}
	return s, nil
}

// essence changes when something changes that another primary must know.
func (s *State) essence() uint64 {
	h := fnv.New64a()
	var b []byte
	for _, r := range s.Rules {
		for i := range r.Alerts {
			a := &r.Alerts[i]
			b = strconv.AppendUint(b[:0], a.identity(), 16)
			for _, n := range []int64{a.ActiveAt, a.FiredAt, a.ResolvedAt, a.KeepSince} {
				b = strconv.AppendInt(append(b, ' '), n, 10)
			}
			h.Write(append(b, a.Phase...))
		}
	}
	return h.Sum64()
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func atMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func earliest(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// held is a state document as it was found.
type held struct {
	key   string
	time  uint64
	state *State
}

// Merge unites what primaries left, except for what one of the others has taken
// in. It is nil where there is nothing.
func merge(all []held) *State {
	done := func(h held) bool {
		return slices.ContainsFunc(all, func(o held) bool { return o.key != h.key && o.state.Absorbed[h.key] >= h.time })
	}
	var out *State
	for _, h := range slices.SortedFunc(slices.Values(all), func(a, b held) int { return cmp.Compare(a.key, b.key) }) {
		if done(h) {
			continue
		}
		if out == nil {
			out = &State{Document: h.state.Document, Group: h.state.Group, Absorbed: map[string]uint64{}}
		}
		out.join(h.state)
	}
	if out == nil {
		return nil
	}
	for _, h := range all {
		out.Absorbed[h.key] = max(out.Absorbed[h.key], h.time)
	}
	return out
}

// join adds another's state: both are true as far as they know.
func (s *State) join(o *State) {
	before := s.Evaluated
	s.Evaluated = max(s.Evaluated, o.Evaluated)
	for k, v := range o.Absorbed {
		s.Absorbed[k] = max(s.Absorbed[k], v)
	}
	for _, theirs := range o.Rules {
		mine := s.rule(theirs.Rule)
		for _, a := range theirs.Alerts {
			i := slices.IndexFunc(mine.Alerts, func(b Alert) bool { return labels.Equal(a.Labels, b.Labels) })
			if i < 0 {
				mine.Alerts = append(mine.Alerts, a)
				continue
			}
			mine.Alerts[i] = united(mine.Alerts[i], a, before, o.Evaluated)
		}
	}
	s.tell(o.Told...)
}

// united is one alert of two halves, of which each was evaluated last at a time: it
// began where it began first, and is over only where both say so, or where one was
// not there any more when the other saw the end.
func united(a, b Alert, atA, atB int64) Alert {
	if a.Phase.rank() < b.Phase.rank() {
		a, b, atA = b, a, atB
	}
	switch {
	case b.Phase == Resolved && a.Phase != Resolved && atA < b.ResolvedAt:
		return b
	case b.Phase == Resolved && a.Phase != Resolved: // another spell of it, or a half that saw less
	case a.Phase == Resolved:
		a.ResolvedAt = max(a.ResolvedAt, b.ResolvedAt)
		a.FiredAt = earliest(a.FiredAt, b.FiredAt)
	default:
		a.ActiveAt = earliest(a.ActiveAt, b.ActiveAt)
		a.FiredAt = earliest(a.FiredAt, b.FiredAt)
		if b.Phase == Firing && b.KeepSince == 0 {
			a.KeepSince = 0
		}
	}
	return a
}

// rule returns the state of a rule, made if there is none. The pointer holds until
// the next call.
func (s *State) rule(key string) *RuleState {
	i := slices.IndexFunc(s.Rules, func(r RuleState) bool { return r.Rule == key })
	if i < 0 {
		s.Rules = append(s.Rules, RuleState{Rule: key})
		i = len(s.Rules) - 1
	}
	return &s.Rules[i]
}

// firedAt is when an alert fired: earlier than was said where two halves were
// united meanwhile.
func (s *State) firedAt(alert uint64, said int64) int64 {
	for _, r := range s.Rules {
		for i := range r.Alerts {
			if a := &r.Alerts[i]; a.FiredAt > 0 && a.identity() == alert {
				return min(said, a.FiredAt)
			}
		}
	}
	return said
}

// tell notes what receivers were told and reports whether that was news.
func (s *State) tell(news ...Told) bool {
	at := make(map[toldKey]int, len(s.Told))
	for i, t := range s.Told {
		at[t.key()] = i
	}
	changed := false
	for _, t := range news {
		i, known := at[t.key()]
		switch {
		case !known:
			at[t.key()] = len(s.Told)
			s.Told, changed = append(s.Told, t), true
		case t.later(s.Told[i]):
			s.Told[i], changed = t, true
		}
	}
	return changed
}

// forget drops tellings of alerts that are no more: of the end at once, of the
// beginning, whose end was never told, after a while.
func (s *State) forget(now int64) {
	alive := map[uint64]bool{}
	for _, r := range s.Rules {
		for i := range r.Alerts {
			alive[r.Alerts[i].identity()] = true
		}
	}
	s.Told = slices.DeleteFunc(s.Told, func(t Told) bool {
		return !alive[t.Alert] && (t.Resolved || now-t.At > toldRetention.Milliseconds())
	})
}

// toldRetention is Alertmanager's for its notification log.
const toldRetention = 120 * time.Hour

// clone shares labels, which are immutable, and nothing else.
func (s *State) clone() *State {
	out := *s
	out.Absorbed = make(map[string]uint64, len(s.Absorbed))
	for k, v := range s.Absorbed {
		out.Absorbed[k] = v
	}
	out.Rules = make([]RuleState, len(s.Rules))
	for i, r := range s.Rules {
		out.Rules[i] = RuleState{Rule: r.Rule, Alerts: slices.Clone(r.Alerts)}
	}
	out.Told = slices.Clone(s.Told)
	return &out
}
