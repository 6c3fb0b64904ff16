package island

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"

	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/portal/events"
	"github.com/atoll-mesh/atoll/portal/overview"
	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/trust"
)

// overview says whether everything is well, from what is in memory here.
func (i *Island) overview() overview.Overview {
	r, now := i.getRooms(), time.Now()
	o := overview.Overview{Island: i.ownName(), At: now.UTC().Truncate(time.Millisecond), Health: i.health.Active()}
	o.Budgets, o.Needs = []overview.Budget{}, []overview.Need{} // lists in JSON, while starting too
	if r == nil || !i.isReady() {
		o.Islands, o.Targets.Jobs, o.Alerts.BySeverity = i.islandsNow(), []overview.Job{}, map[string]int{}
		o.Changes = overview.Changes{Since: o.At, Counts: map[string]int{}, Newest: []events.Event{}}
		return o
	}
	standing := r.alert.Standing()
	o.Islands, o.Targets, o.Alerts, o.Probes = i.islandsNow(), r.targetsNow(), r.alertsNow(standing), r.probesNow()
	for _, b := range i.budgets(r) {
		o.Budgets = append(o.Budgets, overview.Budget{Name: b.Name, Unit: b.Unit, Used: b.Used, Limit: b.Limit})
	}
	o.Changes = r.changesNow(now)
	o.Needs = needs(&o, standing, r.troubled())
	return o
}

func (i *Island) islandsNow() overview.Islands {
	out := overview.Islands{Count: 1, Connected: 1, Lost: []string{}, Unreached: []string{}}
	m := i.membership.Load()
	if m == nil {
		return out
	}
	state := m.state.Load()
	out.Count, out.Network = state.Len(), state.NetworkName()
	for _, d := range m.documents.List(statementPrefix) {
		if s, err := witness.DecodeStatement(d.GetValue()); err == nil && s.Kind == witness.KindLost {
			if member, ok := state.MemberByKey(s.Target); ok {
				out.Lost = append(out.Lost, member.Name)
			}
		}
	}
	var connected []trust.Key
	if running := m.mesh.Load(); running != nil {
		connected = running.Connected()
	}
	self := m.home.Node().Public()
	for _, member := range state.Members() {
		switch {
		case member.Key == self:
		case slices.Contains(connected, member.Key):
			out.Connected++
		default:
			out.Unreached = append(out.Unreached, member.Name)
		}
	}
	return out
}

func (r *rooms) targetsNow() overview.Targets {
	out := overview.Targets{Jobs: []overview.Job{}}
	jobs := map[string]*overview.Job{}
	for pool, targets := range r.collect.ScrapeManager().TargetsActive() {
		for _, t := range targets {
			name := cmp.Or(jobOf(t), pool)
			j := jobs[name]
			if j == nil {
				j = &overview.Job{Job: name}
				jobs[name] = j
			}
			switch t.Health() {
			case scrape.HealthGood:
				j.Up, out.Up = j.Up+1, out.Up+1
			case scrape.HealthBad:
				j.Down, out.Down = j.Down+1, out.Down+1
			default:
				j.Unknown, out.Unknown = j.Unknown+1, out.Unknown+1
			}
		}
	}
	for _, j := range jobs {
		out.Jobs = append(out.Jobs, *j)
	}
	slices.SortFunc(out.Jobs, func(a, b overview.Job) int {
		return cmp.Or(cmp.Compare(b.Down, a.Down), cmp.Compare(a.Job, b.Job))
	})
	out.MoreJobs = max(0, len(out.Jobs)-overview.MaxJobs)
	out.Jobs = out.Jobs[:len(out.Jobs)-out.MoreJobs]
	return out
}

func jobOf(t *scrape.Target) (job string) {
	t.LabelsRange(func(l labels.Label) {
		if l.Name == model.JobLabel {
			job = l.Value
		}
	})
	return job
}

func (r *rooms) alertsNow(all []alert.Standing) overview.Alerts {
	out := overview.Alerts{BySeverity: map[string]int{}}
	for _, a := range all {
		if a.Silenced {
			out.Silenced++
			continue
		}
		out.Firing++
		out.BySeverity[string(a.Labels["severity"])]++
	}
	for _, rule := range r.alert.AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if a.State == rules.StatePending {
				out.Pending++
			}
		}
	}
	return out
}

func (r *rooms) probesNow() (out overview.Probes) {
	count := func(s verdict.State) int {
		all, more := r.probe.Council().Here(council.Filter{State: s.String(), Limit: 1})
		return len(all) + more
	}
	out.Up, out.Degraded, out.Down, out.Unknown = count(verdict.Up), count(verdict.Degraded), count(verdict.Down), count(verdict.Unknown)
	for _, d := range r.probe.Targets("", "") {
		switch d.State {
		case "up":
			out.SeenUp++
		case "down":
			out.SeenDown++
		default:
			out.SeenPending++
		}
	}
	return out
}

// troubled are verdicts that targets are down, judged here, those for which somebody
// is to be woken first.
func (r *rooms) troubled() []council.Verdict {
	all, _ := r.probe.Council().Here(council.Filter{State: verdict.Down.String()})
	slices.SortStableFunc(all, func(a, b council.Verdict) int { return cmp.Compare(rank(b.Page), rank(a.Page)) })
	return all[:min(len(all), overview.MaxNeeds)]
}

// rank puts false before true.
func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *rooms) changesNow(now time.Time) overview.Changes {
	const most = 10_000 // more than the ring holds
	from := now.Add(-time.Hour)
	all, whole := r.events.Since(from, most)
	out := overview.Changes{Since: from.UTC().Truncate(time.Millisecond), Counts: map[string]int{}, Newest: all[:min(len(all), overview.MaxChanges)]}
	for _, e := range all {
		out.Counts[string(e.Topic)+"."+e.Kind]++
	}
	if !whole && len(all) > 0 {
		out.Since = all[len(all)-1].At
	}
	if out.Newest == nil {
		out.Newest = []events.Event{} // a list in JSON
	}
	return out
}

// nearlyUsed is the share of a budget from which on somebody should know.
const nearlyUsed = 0.9

// needs lists what waits for somebody, the worst first, then what began first.
func needs(o *overview.Overview, alerts []alert.Standing, down []council.Verdict) []overview.Need {
	const critical, warning = string(health.SeverityCritical), string(health.SeverityWarning)
	all := []overview.Need{}
	for _, h := range o.Health {
		if h.Severity != health.SeverityInfo {
			all = append(all, overview.Need{Kind: "health", Severity: string(h.Severity), Title: h.Title, Detail: h.Text, Remedy: h.Remedy, Href: "/islands/" + o.Island, Since: &h.Since})
		}
	}
	for _, a := range alerts {
		if severity := string(a.Labels["severity"]); !a.Silenced && (severity == critical || severity == "page" || severity == warning) {
			n := overview.Need{Kind: "alert", Severity: critical, Title: string(a.Labels[model.AlertNameLabel]), Href: "/alerts/" + a.Fingerprint.String(), Since: &a.StartsAt}
			n.Detail = cmp.Or(string(a.Annotations["summary"]), string(a.Annotations["description"]))
			if severity == warning {
				n.Severity = warning
			}
			all = append(all, n)
		}
	}
	for _, name := range o.Islands.Lost {
		all = append(all, overview.Need{Kind: "island", Severity: critical, Title: name + " is lost", Detail: "no island that was asked reaches it", Href: "/islands/" + name})
	}
	for k := range down {
		v := &down[k]
		n := overview.Need{Kind: "probe", Severity: warning, Title: v.Instance + " is down", Detail: v.Words, Href: "/probes/" + v.Definition, Since: &v.Since}
		if v.Page {
			n.Severity = critical
		}
		all = append(all, n)
	}
	for _, j := range o.Targets.Jobs {
		if j.Down > 0 && j.Up == 0 {
			all = append(all, overview.Need{Kind: "target", Severity: warning, Title: "No target of job " + j.Job + " answers", Detail: fmt.Sprintf("%d are down", j.Down), Href: "/search?q=kind%3Atarget+state%3Adown"})
		}
	}
	for _, b := range o.Budgets {
		// A memory limit is for the runtime to use up; a disk guard has warnings of its own.
		if b.Name == "series" && b.Limit > 0 && b.Used >= nearlyUsed*b.Limit {
			all = append(all, overview.Need{Kind: "budget", Severity: warning, Title: "The budget of series is nearly used up", Detail: fmt.Sprintf("%.0f of %.0f", b.Used, b.Limit), Remedy: "Raise budget.series, or drop series that nobody asks for.", Href: "/islands/" + o.Island})
		}
	}
	slices.SortStableFunc(all, func(a, b overview.Need) int {
		return cmp.Or(strings.Compare(a.Severity, b.Severity), compareSince(a.Since, b.Since)) // critical is before warning
	})
	return all[:min(len(all), overview.MaxNeeds)]
}

func compareSince(a, b *time.Time) int {
	if a == nil || b == nil {
		return cmp.Compare(rank(a == nil), rank(b == nil))
	}
	return a.Compare(*b)
}
