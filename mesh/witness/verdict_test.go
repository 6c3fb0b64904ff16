package witness

import (
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	since := time.Date(2026, 11, 22, 14, 2, 0, 0, time.UTC)
	votes := []Vote{
		{Name: "porto", Region: "eu"},
		{Name: "tokyo", Region: "ap", Reached: true},
		{Name: "oslo", Region: "no", Alone: true},
		{Name: "lima", Region: "sa", Silent: true},
	}
	for state, want := range map[State]string{
		Alive:       "",
		Unknown:     "",
		Unreachable: "unreachable from here since 14:02:00; reached by tokyo (ap); not reached by porto (eu)",
		Lost:        "lost since 14:02:00; reached by tokyo (ap); not reached by porto (eu)",
	} {
		if got := (View{State: state, Since: since, Testimony: votes}).Verdict(); got != want {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
}
