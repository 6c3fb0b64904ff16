package probe

import (
	_ "embed"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

//go:embed rules.yml
var rules []byte

// RulesName is what the supplied rules go by, Rules are their text, a rule file.
const RulesName = "probe (supplied)"

// Rules are those that alert on probes unless that is off.
func Rules() []byte { return rules }

// The alerts of the supplied rules.
const (
	alertDown     = "ProbeDown"
	alertDegraded = "ProbeDegraded"
	alertExpires  = "ProbeCertificateExpires"
	alertSlow     = "ProbeSlow"
	alertMismatch = "ProbeContentMismatch"
)

// Annotations are what an alert on a probe tells beside its labels: verdict, evidence
// and, for the supplied rules, summary. base is the URL of this island. Other alerts
// have none.
func (p *Prober) Annotations(ls labels.Labels, base string) map[string]string {
	job, instance, address := ls.Get(model.JobLabel), ls.Get(model.InstanceLabel), ls.Get("address")
	if job == "" || instance == "" || !p.knows(job) {
		return nil
	}
	v, judged := p.council.On(job, instance, address, ls)
	probed, newest := p.find(job, instance, address, ls)
	out := map[string]string{"evidence": base + p.evidenceLink(&v, probed, job, instance)}
	if judged {
		out["verdict"] = v.Words
	}
	switch name := ls.Get(model.AlertNameLabel); {
	case judged && (name == alertDown || name == alertDegraded):
		out["summary"] = verdictSummary(&v)
	case judged && name == alertMismatch:
		out["summary"] = mismatchSummary(&v, ls.Get("what"))
	case name == alertSlow:
		if newest != nil && ls.Get("vantage") == p.vantage.Load().Name {
			out["summary"] = summary("Connectivity too slow", []string{ls.Get("vantage")}, instance, timing(newest.took, newest.phases[:]))
		}
	}
	return out
}

// mismatchSummary says how one thing differs.
func mismatchSummary(v *council.Verdict, what string) string {
	var names, words []string
	for _, d := range v.Differences {
		if d.What == what {
			names, words = append(names, d.Vantages...), append(words, d.String())
		}
	}
	slices.Sort(names)
	if words == nil {
		return summary("Content as it should be again", nil, v.Instance, what)
	}
	return summary("Content differs", slices.Compact(names), v.Instance, strings.Join(words, "; "))
}

// knows reports whether a job is a definition.
func (p *Prober) knows(job string) bool {
	for _, u := range p.plan.Load().uses {
		if u.Name == job {
			return true
		}
	}
	return false
}

// evidenceLink is where what was gathered of the newest failure is found: of those that
// vantages told of, else of this island's own.
func (p *Prober) evidenceLink(v *council.Verdict, probed *job, definition, instance string) string {
	id := ""
	for _, votes := range [...][]verdict.Vote{v.Failing, v.Slow} {
		for _, vote := range votes {
			id = max(id, vote.Failure) // the later one sorts last
		}
	}
	if id == "" && probed != nil {
		id = p.keeper.of(probed)
	}
	if id != "" {
		return EvidencePath + "/" + url.PathEscape(id)
	}
	return EvidencePath + "?" + url.Values{"definition": {definition}, "instance": {instance}}.Encode()
}

func verdictSummary(v *council.Verdict) string {
	instance := v.Instance
	if v.Address != "" {
		instance += " at " + v.Address
	}
	what, votes := "Down", v.Failing
	switch {
	case v.State == verdict.Up:
		return summary("Up again", nil, instance, v.Words)
	case v.State == verdict.Unknown:
		return summary("Nobody can tell", nil, instance, v.Words)
	case len(v.Failing) == 0:
		what, votes = "Connectivity too slow", v.Slow
	}
	if len(votes) == 0 { // it is held for it flaps
		return summary(what, nil, instance, v.Words)
	}
	names := make([]string, len(votes))
	for i, vote := range votes {
		names[i] = vote.Vantage.Name
	}
	return summary(what, names, instance, timing(votes[0].Took, votes[0].Phases))
}

// summary is one line: what, from where, of what target, in which figures.
func summary(what string, vantages []string, instance, figures string) string {
	parts := []string{what}
	const few = 3
	switch n := len(vantages); {
	case n == 1:
		parts = append(parts, "vantage "+vantages[0])
	case n > few:
		parts = append(parts, fmt.Sprintf("vantages %s and %d more", strings.Join(vantages[:few], ", "), n-few))
	case n > 1:
		parts = append(parts, "vantages "+strings.Join(vantages, ", "))
	}
	for _, part := range []string{instance, figures} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, " · ")
}

var phaseWords = [protocol.Phases]string{"DNS", "connect", "TLS", "request", "first byte", "transfer"}

// timing is "total 7.9 s: DNS 3.7 ms, connect 3.2 s, TLS 3.4 s".
func timing(took time.Duration, phases []time.Duration) string {
	if took <= 0 {
		return ""
	}
	var parts []string
	for i, d := range phases[:min(len(phases), int(protocol.Phases))] {
		if d > 0 {
			parts = append(parts, phaseWords[i]+" "+figure(d))
		}
	}
	out := "total " + figure(took)
	if len(parts) > 0 {
		out += ": " + strings.Join(parts, ", ")
	}
	return out
}

// figure is a duration to two digits or so.
func figure(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
