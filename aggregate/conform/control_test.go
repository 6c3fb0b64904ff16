package conform

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// arrivals is how not to do it: the whole delta belongs to the window in which
// it arrives, and nothing survives a restart. It shows that the scenarios tell.
type arrivals struct {
	last map[string]Arrival
	sum  float64
	next int64
}

func (n *arrivals) Deliver(_ int64, r Request) error {
	for _, a := range r.Items {
		key := a.Labels.String()
		if last, ok := n.last[key]; ok && a.T > last.T {
			n.sum += a.V - last.V
		}
		if a.T > n.last[key].T || n.last[key].T == 0 {
			n.last[key] = a
		}
	}
	return nil
}

func (n *arrivals) Tick(now int64) ([]Point, error) {
	if now < n.next {
		return nil, nil
	}
	n.next = now/Minute*Minute + Minute
	p := Point{Labels: labels.FromStrings(labels.MetricName, CounterName+"_increase", "job", "shop", "path", "/"), T: now, V: n.sum}
	n.sum = 0
	return []Point{p}, nil
}

func (n *arrivals) Restart(int64) ([]Point, error) {
	n.last, n.sum = map[string]Arrival{}, 0
	return nil, nil
}

func TestScenariosTell(t *testing.T) {
	// What an aggregation by arrival makes of them: window, value.
	wrong := map[string]struct {
		end   int64
		value float64
	}{
		"S1": {360, 18_000}, "S2": {360, 18_000}, "S3": {360, 18_000}, "S5": {60, 4000}, "S7": {240, 2000},
	}
	for _, s := range Scenarios() {
		want, ok := wrong[s.Name]
		if !ok {
			continue
		}
		l, err := Play(s, &arrivals{last: map[string]Arrival{}})
		if err != nil {
			t.Fatal(err)
		}
		got := l.Final(find(t, l, "increase", s.Group))
		if got[want.end*Second] != want.value {
			t.Errorf("%s by arrival: window %d is %v, want %v", s.Name, want.end, got[want.end*Second], want.value)
		}
		if got.Diff(s.Increase, 1e-9, false) == "" {
			t.Errorf("%s does not tell aggregation by arrival from the truth", s.Name)
		}
	}
}
