package global

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
)

func stateOf(island string, absorbed map[string]uint64, alerts ...Alert) *State {
	return &State{Document: "main", Group: "g", Island: island, Absorbed: absorbed, Rules: []RuleState{{Rule: "r", Alerts: alerts}}}
}

func evaluatedAt(at int64, s *State) *State {
	s.Evaluated = at
	return s
}

func alertOf(name string, phase Phase, active, fired, resolved int64) Alert {
	return Alert{Labels: labels.FromStrings("alertname", name), Phase: phase, ActiveAt: active, FiredAt: fired, ResolvedAt: resolved, Value: Value(math.NaN())}
}

func sameValue(a, b Value) bool { return a == b || a != a && b != b }

func TestStateTravels(t *testing.T) {
	s := stateOf("a", map[string]uint64{"alertstate/x~y": 7}, alertOf("one", Firing, 5, 9, 0), alertOf("two", Pending, 3, 0, 0))
	s.Rules[0].Alerts[1].Value = Value(math.Inf(-1))
	s.Told = []Told{{Alert: math.MaxUint64, Receiver: "r/webhook/0", Aggregation: "{}", Fired: 9, At: 10}}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeState(text)
	if err != nil {
		t.Fatal(err)
	}
	same := []cmp.Option{cmp.Comparer(labels.Equal), cmpopts.IgnoreUnexported(Alert{}), cmp.Comparer(sameValue)}
	if diff := cmp.Diff(s, got, same...); diff != "" {
		t.Error(diff)
	}
}

// TestStateHasRoom encodes more alerts than a document holds: those that fire stay.
func TestStateHasRoom(t *testing.T) {
	s := stateOf("a", nil)
	for i := range 20_000 {
		phase, fired := Pending, int64(0)
		if i%10 == 0 {
			phase, fired = Firing, 2
		}
		s.Rules[0].Alerts = append(s.Rules[0].Alerts, alertOf(fmt.Sprint(i), phase, 1, fired, 0))
	}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeState(text)
	if err != nil {
		t.Fatal(err)
	}
	firing := 0
	for _, a := range got.Rules[0].Alerts {
		if a.Phase == Firing {
			firing++
		}
	}
	if n := got.count(); len(text) > MaxState+1 || firing != min(2000, n) || got.LeftOut != 20_000-n {
		t.Errorf("%d bytes, %d alerts of which %d fire, %d left out", len(text), n, firing, got.LeftOut)
	}
	if len(s.Rules[0].Alerts) != 20_000 {
		t.Errorf("encoding left %d alerts in the state itself", len(s.Rules[0].Alerts))
	}
}

func TestMerge(t *testing.T) {
	a, b, c := "alertstate/g~a", "alertstate/g~b", "alertstate/g~c"
	x := alertOf("x", Firing, 5, 9, 0)
	for name, tc := range map[string]struct {
		all  []held
		want []Alert
	}{
		"halves: the earlier beginning": {[]held{
			{a, 10, stateOf("a", nil, x)}, {b, 11, stateOf("b", nil, alertOf("x", Pending, 4, 0, 0))},
		}, []Alert{alertOf("x", Firing, 4, 9, 0)}},
		"halves: what each knows": {[]held{
			{a, 10, stateOf("a", nil, x)}, {b, 11, stateOf("b", nil, alertOf("y", Pending, 4, 0, 0))},
		}, []Alert{x, alertOf("y", Pending, 4, 0, 0)}},
		"halves: over in one": {[]held{
			{a, 10, evaluatedAt(12, stateOf("a", nil, x))}, {b, 11, stateOf("b", nil, alertOf("x", Resolved, 5, 9, 12))},
		}, []Alert{x}},
		"halves: over after the other had gone": {[]held{
			{a, 10, evaluatedAt(11, stateOf("a", nil, x))}, {b, 11, stateOf("b", nil, alertOf("x", Resolved, 5, 9, 12))},
		}, []Alert{alertOf("x", Resolved, 5, 9, 12)}},
		"taken in and over": {[]held{
			{a, 10, stateOf("a", nil, x)}, {b, 11, stateOf("b", map[string]uint64{a: 10}, alertOf("x", Resolved, 5, 9, 12))},
		}, []Alert{alertOf("x", Resolved, 5, 9, 12)}},
		"newer than what was taken in": {[]held{
			{a, 12, stateOf("a", nil, x)}, {b, 11, stateOf("b", map[string]uint64{a: 10})},
		}, []Alert{x}},
		"taken in by a third": {[]held{
			{a, 10, stateOf("a", nil, x)}, {b, 11, stateOf("b", nil, x)}, {c, 20, stateOf("c", map[string]uint64{a: 10, b: 11})},
		}, nil},
	} {
		got := merge(tc.all)
		if diff := cmp.Diff(tc.want, got.rule("r").Alerts, cmp.Comparer(labels.Equal), cmpopts.IgnoreUnexported(Alert{}), cmp.Comparer(sameValue), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for _, h := range tc.all {
			if got.Absorbed[h.key] < h.time {
				t.Errorf("%s: %s@%d is not noted as taken in", name, h.key, h.time)
			}
		}
	}
	if got := merge(nil); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestDecodeStateRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "state:", `{"document":"d"}`: "required",
		`{"document":"d","group":"g","island":"i","rules":[{"rule":"r","alerts":[{"labels":{"alertname":"x"},"phase":"firing","activeAt":1}]}]}`:  "times",
		`{"document":"d","group":"g","island":"i","rules":[{"rule":"r","alerts":[{"labels":{"alertname":"x"},"phase":"burning","activeAt":1}]}]}`: "phase",
		`{"document":"d","group":"g","island":"i","rules":[{"rule":"r","alerts":[{"labels":{},"phase":"pending","activeAt":1}]}]}`:                "alertname",
		strings.Repeat(" ", MaxState+2): "at most",
	} {
		if _, err := DecodeState([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	good, err := stateOf("a", map[string]uint64{"k": 1}, alertOf("one", Firing, 5, 9, 0)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"document":"d","group":"g","island":"i","told":[{"alert":"1","fired":-1}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := DecodeState(text)
		if err != nil {
			return
		}
		// What was understood can be united with itself and written again.
		m := merge([]held{{"a", 1, s}, {"b", 2, s.clone()}})
		m.Island = "x"
		if again, err := m.Encode(); err == nil {
			if _, err := DecodeState(again); err != nil {
				t.Errorf("%s: %v", again, err)
			}
		}
	})
}
