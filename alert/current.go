package alert

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/common/model"
)

// causes are the labels that, with the name of an alert, say what is wrong; the
// others say where it shows.
func causes() []model.LabelName {
	return []model.LabelName{"service", "job", "namespace", "cluster", "env", "environment", "business", "slo"}
}

// Group is one thing that is wrong, however many alerts tell of it.
type Group struct {
	Group     string            `json:"group"`
	Alertname string            `json:"alertname"`
	Labels    map[string]string `json:"labels"`
	// Common are the labels that all its alerts share, those in Labels included.
	Common   map[string]string `json:"common_labels"`
	Severity string            `json:"severity"`
	Owner    string            `json:"owner,omitempty"`
	// State is firing while something of it is neither held back nor taken.
	State       string    `json:"state"`
	Count       int       `json:"count"`
	Since       time.Time `json:"since"`
	Summary     string    `json:"summary,omitempty"`
	Description string    `json:"description,omitempty"`
	Verdict     string    `json:"verdict,omitempty"`
	// Silenced, Inhibited and AcknowledgedCount count its alerts.
	Silenced          int        `json:"silenced"`
	Inhibited         int        `json:"inhibited"`
	AcknowledgedCount int        `json:"acknowledged_count"`
	Acknowledged      *Held      `json:"acknowledged,omitempty"`
	Links             []Link     `json:"links"`
	Receivers         []string   `json:"receivers"`
	Instances         []Instance `json:"instances"`
	InstancesLeftOut  int        `json:"instances_left_out,omitempty"`
}

// Instance is one alert.
type Instance struct {
	Fingerprint  string            `json:"fingerprint"`
	Labels       map[string]string `json:"labels"`
	Since        time.Time         `json:"since"`
	State        string            `json:"state"`
	Summary      string            `json:"summary,omitempty"`
	Verdict      string            `json:"verdict,omitempty"`
	Links        []Link            `json:"links"`
	SilencedBy   []Held            `json:"silenced_by,omitempty"`
	Acknowledged *Held             `json:"acknowledged,omitempty"`
	Inhibited    bool              `json:"inhibited,omitempty"`
}

// Held is a silence or an acknowledgement.
type Held struct {
	ID      string    `json:"id"`
	By      string    `json:"by"`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at"`
	Until   time.Time `json:"until"`
}

// Link leads to more; its URL is http or https.
type Link struct {
	Kind string `json:"kind"`
	URL  string `json:"url"`
}

// The states of groups and instances, the worst first.
const (
	stateFiring       = "firing"
	stateAcknowledged = "acknowledged"
	stateSilenced     = "silenced"
	stateInhibited    = "inhibited"
)

func stateRank(state string) int {
	return slices.Index([]string{stateFiring, stateAcknowledged, stateSilenced, stateInhibited}, state)
}

// severityRank orders the words people use for severity; unknown ones stand
// between warnings and information.
func severityRank(severity string) int {
	switch strings.ToLower(severity) {
	case "critical", "page", "emergency", "fatal", "disaster", "p0", "p1":
		return 0
	case "error", "high", "major", "p2":
		return 1
	case "warning", "warn", "medium", "minor", "p3":
		return 2
	case "info", "information", "low", "notice", "p4":
		return 4
	case "none":
		return 5
	}
	return 3
}

// maxInstances bounds a group of the answer, maxGroups the answer.
const (
	maxInstances = 100
	maxGroups    = 1000
)

// groupID names what is wrong.
func groupID(ls model.LabelSet) string {
	var b strings.Builder
	b.WriteString(string(ls[model.AlertNameLabel]))
	for _, name := range causes() {
		if value := ls[name]; value != "" {
			b.WriteString("\xff" + string(name) + "\xff" + string(value))
		}
	}
	return fmt.Sprintf("g%016x", xxhash.Sum64String(b.String()))
}

// firing lists the alerts that are not over, in no order.
func (e *embedded) firing(now time.Time) (out []*amalert.Alert) {
	it := e.alerts.GetPending()
	defer it.Close()
	for a := range it.Next() {
		if !a.Data.ResolvedAt(now) {
			out = append(out, a.Data)
		}
	}
	return out
}

// target are the firing alerts of a group or with a fingerprint.
func (e *embedded) target(id string, now time.Time) []*amalert.Alert {
	return slices.DeleteFunc(e.firing(now), func(a *amalert.Alert) bool {
		return groupID(a.Labels) != id && a.Labels.Fingerprint().String() != id
	})
}

// groupsNow puts what fires together by what is wrong, the worst first.
func (e *embedded) groupsNow(now time.Time) (groups []Group, leftOut int) {
	byID := map[string][]member{}
	g := e.current.Load()
	for _, a := range e.firing(now) {
		id := groupID(a.Labels)
		byID[id] = append(byID[id], member{alert: a, Instance: e.instance(g, a)})
	}
	groups = make([]Group, 0, len(byID))
	for id, members := range byID {
		groups = append(groups, newGroup(id, members, g))
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(stateRank(a.State), stateRank(b.State)), cmp.Compare(severityRank(a.Severity), severityRank(b.Severity)),
			b.Since.Compare(a.Since), cmp.Compare(a.Group, b.Group))
	})
	if leftOut = max(len(groups)-maxGroups, 0); leftOut > 0 {
		groups = groups[:maxGroups]
	}
	return groups, leftOut
}

type member struct {
	alert *amalert.Alert
	Instance
}

// instance says how one alert is.
func (e *embedded) instance(g *generation, a *amalert.Alert) Instance {
	fp := a.Labels.Fingerprint()
	m := marker.NewAlertMarker()
	ctx := marker.WithContext(context.Background(), m)
	if g != nil {
		g.inhibitor.Mutes(ctx, a.Labels)
	}
	e.silencer.Mutes(ctx, a.Labels)
	status := m.Status(fp)
	in := Instance{
		Fingerprint: fp.String(), Labels: plain(a.Labels), Since: a.StartsAt, State: stateFiring,
		Summary: summaryOf(a.Annotations), Verdict: string(a.Annotations["verdict"]), Links: linksOf(a),
		Inhibited: len(status.InhibitedBy) > 0,
	}
	if len(status.SilencedBy) > 0 {
		held, _, err := e.silences.Query(ctx, silence.QIDs(status.SilencedBy...))
		if err != nil {
			e.logger.Error("looking for silences", "err", err)
		}
		for _, s := range held {
			in.hold(s, a.Labels)
		}
	}
	switch {
	case in.Acknowledged != nil:
		in.State = stateAcknowledged
	case len(in.SilencedBy) > 0:
		in.State = stateSilenced
	case in.Inhibited:
		in.State = stateInhibited
	}
	return in
}

func (in *Instance) hold(s *silencepb.Silence, ls model.LabelSet) {
	h := Held{ID: s.GetId(), By: s.GetCreatedBy(), Comment: s.GetComment(), At: s.GetStartsAt().AsTime(), Until: s.GetEndsAt().AsTime()}
	if isAck(h.Comment) && exactly(s, ls) {
		h.Comment = ackComment(h.Comment)
		in.Acknowledged = &h
		return
	}
	in.SilencedBy = append(in.SilencedBy, h)
}

func newGroup(id string, members []member, g *generation) Group {
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(stateRank(a.State), stateRank(b.State)),
			cmp.Compare(severityRank(a.Labels["severity"]), severityRank(b.Labels["severity"])),
			b.Since.Compare(a.Since), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	first := members[0]
	out := Group{
		Group: id, Alertname: first.alert.Name(), Labels: map[string]string{}, Common: maps.Clone(first.Labels),
		Severity: first.Labels["severity"], State: first.State, Count: len(members), Since: first.Since,
		Summary: first.Summary, Description: string(first.alert.Annotations["description"]), Verdict: first.Verdict,
		Links: first.Links, Receivers: []string{}, Instances: []Instance{},
	}
	for _, name := range causes() {
		if value := first.alert.Labels[name]; value != "" {
			out.Labels[string(name)] = string(value)
		}
	}
	for _, m := range members {
		out.add(m, g)
	}
	delete(out.Common, model.AlertNameLabel)
	for _, name := range []string{"owner", "team", "receiver"} {
		out.Owner = cmp.Or(out.Owner, out.Common[name])
	}
	slices.Sort(out.Receivers)
	out.InstancesLeftOut = len(members) - len(out.Instances)
	return out
}

func (g *Group) add(m member, routing *generation) {
	if severityRank(m.Labels["severity"]) < severityRank(g.Severity) {
		g.Severity = m.Labels["severity"]
	}
	if m.Since.Before(g.Since) {
		g.Since = m.Since
	}
	maps.DeleteFunc(g.Common, func(name, value string) bool { return m.Labels[name] != value })
	switch {
	case m.Acknowledged != nil:
		g.AcknowledgedCount++
		if g.Acknowledged == nil {
			g.Acknowledged = m.Acknowledged
		}
	case len(m.SilencedBy) > 0:
		g.Silenced++
	case m.Inhibited:
		g.Inhibited++
	}
	if routing != nil {
		for _, r := range receiversOf(routing.routes, m.alert.Labels) {
			if !slices.Contains(g.Receivers, r) {
				g.Receivers = append(g.Receivers, r)
			}
		}
	}
	if len(g.Instances) < maxInstances {
		g.Instances = append(g.Instances, m.Instance)
	}
}

func receiversOf(routes *dispatch.Route, ls model.LabelSet) (out []string) {
	for _, r := range routes.Match(ls) {
		out = append(out, r.RouteOpts.Receiver)
	}
	return out
}

func plain(ls model.LabelSet) map[string]string {
	out := make(map[string]string, len(ls))
	for name, value := range ls {
		out[string(name)] = string(value)
	}
	return out
}

// linksOf are the links of an alert's annotations. These are anybody's: what is no
// web address is no link.
func linksOf(a *amalert.Alert) []Link {
	out := []Link{}
	add := func(kind, text string) {
		u, err := url.Parse(strings.TrimSpace(text))
		if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
			out = append(out, Link{Kind: kind, URL: u.String()})
		}
	}
	add("evidence", string(a.Annotations["evidence"]))
	for _, kind := range []model.LabelName{"runbook", "dashboard"} {
		add(string(kind), string(cmp.Or(a.Annotations[kind+"_url"], a.Annotations[kind])))
	}
	add("generator", a.GeneratorURL)
	return out
}
