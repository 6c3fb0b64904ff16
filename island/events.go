package island

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/portal/events"
	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// buildEvents makes the hub from which browsers hear what happens.
func (i *Island) buildEvents(r *rooms) (err error) {
	r.events, err = events.New(events.Options{Registerer: i.registry})
	return err
}

const (
	// glance is how often alerts and warnings are looked at for what changed, and
	// glancesAProbe how many of these are to one look at verdicts.
	glance        = 2 * time.Second
	glancesAProbe = 3
)

// watchEvents tells what changed of what has no news of its own.
func (r *rooms) watchEvents(i *Island) func(context.Context) error {
	return func(ctx context.Context) error {
		alerts, warnings, verdicts := diff{hub: r.events, topic: events.Alerts}, diff{hub: r.events, topic: events.Health}, diff{hub: r.events, topic: events.Probes}
		// What held before this start is no news.
		alerts.take(r.alertStates())
		verdicts.take(r.verdictStates())
		tick := time.NewTicker(glance)
		defer tick.Stop()
		for n := 1; ; n++ {
			warnings.tell(i.warningStates(), "cleared")
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			alerts.tell(r.alertStates(), "resolved")
			if n%glancesAProbe == 0 {
				verdicts.tell(r.verdictStates(), verdict.Up.String())
			}
		}
	}
}

// standing is how something is, in a word and for people.
type standing struct{ state, summary string }

// diff finds what changed between two looks.
type diff struct {
	hub   *events.Hub
	topic events.Topic
	last  map[string]standing
}

func (d *diff) take(now map[string]standing) { d.last = now }

// tell publishes what is new or otherwise than before, and by the word over what is
// gone. One that was only pending ends without a word.
func (d *diff) tell(now map[string]standing, over string) {
	for id, s := range now {
		if d.last[id].state != s.state {
			d.hub.Publish(events.Event{Topic: d.topic, Kind: s.state, ID: id, Summary: s.summary})
		}
	}
	for id, s := range d.last {
		if _, still := now[id]; !still && s.state != statePending {
			d.hub.Publish(events.Event{Topic: d.topic, Kind: over, ID: id, Summary: s.summary})
		}
	}
	d.last = now
}

// The states of alerts in events and the overview.
const (
	stateFiring   = "firing"
	stateSilenced = "silenced"
	statePending  = "pending"
)

// alertStates are by fingerprint.
func (r *rooms) alertStates() map[string]standing {
	out := map[string]standing{}
	for _, a := range r.alert.Standing() {
		s := standing{stateFiring, headline(string(a.Labels[model.AlertNameLabel]), string(a.Annotations["summary"]))}
		if a.Silenced {
			s.state = stateSilenced
		}
		out[a.Fingerprint.String()] = s
	}
	for _, rule := range r.alert.AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if a.State == rules.StatePending {
				out[fmt.Sprintf("%016x", a.Labels.Hash())] = standing{statePending, headline(rule.Name(), a.Annotations.Get("summary"))}
			}
		}
	}
	return out
}

func headline(name, summary string) string {
	if summary == "" {
		return name
	}
	return name + ": " + summary
}

func (i *Island) warningStates() map[string]standing {
	out := map[string]standing{}
	for _, a := range i.health.Active() {
		out[a.Code] = standing{string(a.Severity), a.Title}
	}
	return out
}

// verdictStates are those of targets in trouble that are judged here.
func (r *rooms) verdictStates() map[string]standing {
	out := map[string]standing{}
	for _, state := range []verdict.State{verdict.Down, verdict.Degraded} {
		all, _ := r.probe.Council().Here(council.Filter{State: state.String()})
		for k := range all {
			v := &all[k]
			out[strings.TrimRight(v.Definition+"/"+v.Instance+" "+v.Address, " ")] = standing{state.String(), cmp.Or(v.Words, v.Instance+" is "+state.String())}
		}
	}
	return out
}

// listenForEvents tells of islands that come and go.
func (m *membership) listenForEvents(node *mesh.Mesh) {
	tell := func(kind, words string) func(trust.Key) {
		return func(peer trust.Key) {
			name := peer.String()
			if member, ok := m.state.Load().MemberByKey(peer); ok {
				name = member.Name
			}
			m.island.getRooms().events.Publish(events.Event{Topic: events.Peers, Kind: kind, ID: name, Summary: name + words})
		}
	}
	node.OnConnected(tell("connected", " is connected"))
	node.OnDisconnected(tell("disconnected", " is not connected any more"))
}

// tellDocuments tells of documents that change, until ctx ends.
func (m *membership) tellDocuments(ctx context.Context) error {
	changed, stop := m.documents.Watch("")
	defer stop()
	hub := m.island.getRooms().events
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-changed:
			if !ok {
				return nil
			}
			if event, ok := m.eventOf(e.Key, e.Document); ok {
				hub.Publish(event)
			}
		}
	}
}

// eventOf is what a document's change means to people; false where it means nothing.
func (m *membership) eventOf(key string, d *replicapb.Document) (e events.Event, ok bool) {
	gone := d == nil || d.GetDeleted()
	if target, is := strings.CutPrefix(key, statementPrefix); is {
		return m.statementEvent(target, d, gone)
	}
	if kind, _, _ := strings.Cut(key, "/"); unlistedKind(kind) {
		return e, false
	}
	e = events.Event{Topic: events.Documents, Kind: "changed", ID: key, Summary: key + " was changed"}
	if gone {
		e.Kind, e.Summary = "deleted", key+" was deleted"
	}
	if author, err := trust.KeyOf(d.GetAuthor()); err == nil {
		if member, is := m.state.Load().MemberByKey(author); is {
			e.Summary += " by " + member.Name
		}
	}
	return e, true
}

// statementEvent is about an island of which the network says that it is lost, or no
// longer.
func (m *membership) statementEvent(target string, d *replicapb.Document, gone bool) (e events.Event, ok bool) {
	name := target
	if key, err := trust.ParseKey(target); err == nil {
		if member, is := m.state.Load().MemberByKey(key); is {
			name = member.Name
		}
	}
	e = events.Event{Topic: events.Peers, Kind: "back", ID: name, Summary: name + " is reached again"}
	if gone {
		return e, true
	}
	s, err := witness.DecodeStatement(d.GetValue())
	if err != nil {
		return e, false
	}
	e.Kind, e.Summary = string(s.Kind), name+" is reached by no island that was asked"
	if s.Kind == witness.KindCutOff {
		e.Summary = name + " says that it reaches hardly anybody"
	}
	return e, true
}
