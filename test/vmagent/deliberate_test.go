package vmagent

import (
	"regexp"
	"testing"
)

// deliberate are the differences that docs/aggregation.md explains.
var deliberate = []struct{ what, why string }{
	{`^{__name__="requests_total:.*(code="200".*|job="shop")}@(30|40|50) `, "what a counter grew while it was away is spread over that time"},
	{`^{__name__="requests_total:10s_by_(code|job)_increase", (code="200"|job="late")}@60 `, "the first value of a source that nobody knew is no growth"},
	{`^{__name__="requests_total:10s_by_code_increase", .*@10 vmagent nothing`, "ignore_first_intervals has no work here"},
	{`^{__name__="events:10s_sum_samples_total", kind="b"}@`, "a sum goes on after a pause"},
	{`^{__name__="temperature:10s_by_room_last",`, "of samples of one instant the largest is the last, not the one that came last"},
}

// alike are quantiles: 1 % of the truth either way, and vmagent's are samples themselves.
const alike = 0.0101

// compare fails for a difference that is not deliberate, and for one that is and
// was not met. Quantiles need only be alike.
func compare(t *testing.T, vmagent, atoll record) {
	t.Helper()
	met := make([]bool, len(deliberate))
	for _, d := range differences(vmagent, atoll) {
		known := false
		for i, x := range deliberate {
			if regexp.MustCompile(x.what).MatchString(d) {
				known, met[i] = true, true
				break
			}
		}
		if !known {
			t.Error(d)
		}
	}
	for i, x := range deliberate {
		if !met[i] {
			t.Errorf("the two do not differ any more in %s (%s)", x.what, x.why)
		}
	}
}
