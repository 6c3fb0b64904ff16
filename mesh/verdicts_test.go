package mesh

import (
	"testing"

	"github.com/atoll-mesh/atoll/trust"
)

func TestVerdictsHoldForOneState(t *testing.T) {
	var v verdicts
	first, second := &trust.State{}, &trust.State{}
	a, b := trust.Key{1}, trust.Key{2}
	asked := 0
	ask := func(state *trust.State, who, whom trust.Key, answer bool) bool {
		return v.of(state, who, whom, func() bool { asked++; return answer })
	}
	for _, step := range []struct {
		what         string
		state        *trust.State
		who, whom    trust.Key
		answer, want bool
		askedSoFarIs int
	}{
		{"a first question", first, a, b, true, true, 1},
		{"the same again", first, a, b, false, true, 1},
		{"the other way round", first, b, a, false, false, 2},
		{"after a change of trust", second, a, b, false, false, 3},
		{"the same again", second, a, b, true, false, 3},
	} {
		if got := ask(step.state, step.who, step.whom, step.answer); got != step.want || asked != step.askedSoFarIs {
			t.Errorf("%s: %v after %d questions to the policy, want %v after %d", step.what, got, asked, step.want, step.askedSoFarIs)
		}
	}
	for i := range 2 * maxVerdicts {
		ask(second, trust.Key{byte(i), byte(i >> 8), 3}, b, true)
	}
	if n := len(v.known); n > maxVerdicts {
		t.Errorf("%d verdicts are remembered, at most %d", n, maxVerdicts)
	}
}
