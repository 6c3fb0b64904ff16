package alert

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/alert/history"
)

const (
	// observedAtOnce is how many changed alerts may wait to be looked at; beyond it
	// all alerts are.
	observedAtOnce = 4096
	// lookInterval is how often silences and ends by time are looked for.
	lookInterval = 5 * time.Second
	// reviveGrace is for how long an alert that fired before the start may take to
	// be heard of again.
	reviveGrace = 15 * time.Minute
)

// observer tells the history what becomes of the embedded Alertmanager's alerts.
type observer struct {
	e       *embedded
	history *history.Store
	changed chan *amalert.Alert
	missed  atomic.Bool
	wake    chan struct{}
	alerts  map[model.Fingerprint]*observed // of run

	mu     sync.Mutex
	failed map[string]time.Time // when a failure was recorded, by receiver and name
}

type observed struct {
	labels   model.LabelSet
	about    history.Event // what its events have in common
	ends     time.Time
	silences map[string]history.Event // as recorded when each began, by ID
	// revived is set until its silences were looked at once after a start: they
	// were recorded by the process before.
	revived bool
}

func newObserver(e *embedded, h *history.Store) *observer {
	return &observer{
		e: e, history: h, changed: make(chan *amalert.Alert, observedAtOnce), wake: make(chan struct{}, 1),
		alerts: map[model.Fingerprint]*observed{}, failed: map[string]time.Time{},
	}
}

// stored is what the store of alerts calls: the silencer's own, and note.
type stored struct {
	*silence.Silencer
	note func(*amalert.Alert)
}

// PostStore implements mem.AlertStoreCallback.
func (s stored) PostStore(a *amalert.Alert, _ bool) { s.note(a) }

// note is called with the store's lock held: it waits for nothing.
func (o *observer) note(a *amalert.Alert) {
	select {
	case o.changed <- a:
	default:
		o.missed.Store(true)
	}
}

// look has the silences looked at now.
func (o *observer) look() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *observer) run(stop <-chan struct{}) {
	o.revive(time.Now())
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case a := <-o.changed:
			o.see(a, time.Now())
		case <-o.wake:
			o.catchUp()
		case <-tick.C:
			o.catchUp()
		}
	}
}

// revive takes over what fired when the process before ended.
func (o *observer) revive(now time.Time) {
	open, err := o.history.Opened()
	if err != nil {
		return // the history has said so
	}
	for _, one := range open {
		fp, err := model.FingerprintFromString(one.Fingerprint)
		if err != nil {
			continue
		}
		ls := model.LabelSet{}
		for name, value := range one.Labels {
			ls[model.LabelName(name)] = model.LabelValue(value)
		}
		o.alerts[fp] = &observed{
			labels: ls, ends: now.Add(reviveGrace), silences: map[string]history.Event{}, revived: true,
			about: history.Event{
				Alertname: one.Alertname, Severity: one.Severity, Summary: one.Summary, Labels: one.Labels,
				Fingerprint: one.Fingerprint, StartedAt: one.StartedAt,
			},
		}
	}
}

func (o *observer) catchUp() {
	for more := true; more; {
		select {
		case a := <-o.changed:
			o.see(a, time.Now())
		default:
			more = false
		}
	}
	now := time.Now()
	if o.missed.Swap(false) {
		it := o.e.alerts.GetPending()
		for a := range it.Next() {
			o.see(a.Data, now)
		}
		it.Close()
	}
	for fp, known := range o.alerts {
		if !known.ends.After(now) {
			o.over(fp, known, known.ends, "")
			continue
		}
		o.lookAtSilences(fp, known, now)
	}
}

// see records that an alert began or ended.
func (o *observer) see(a *amalert.Alert, now time.Time) {
	fp := a.Labels.Fingerprint()
	known := o.alerts[fp]
	switch {
	case a.ResolvedAt(now):
		if known != nil {
			why := ""
			if o.e.common.withdrawnHere(a.Labels) {
				why = "another island tells of it now"
			}
			o.over(fp, known, a.EndsAt, why)
		}
	case known != nil:
		known.ends = a.EndsAt
		if known.about.Labels == nil || known.revived {
			known.labels = a.Labels
		}
	default:
		known = &observed{labels: a.Labels, ends: a.EndsAt, silences: map[string]history.Event{}, about: aboutAlert(a)}
		o.alerts[fp] = known
		e := known.about
		e.At, e.Kind = now, history.Firing
		o.history.Record(e)
	}
}

func (o *observer) over(fp model.Fingerprint, known *observed, at time.Time, why string) {
	delete(o.alerts, fp)
	if now := time.Now(); at.After(now) || now.Sub(at) > reviveGrace {
		at = now // times of other machines, or of before a long stop
	}
	if at.Before(known.about.StartedAt) {
		at = known.about.StartedAt
	}
	e := known.about
	e.At, e.Kind, e.Comment = at, history.Resolved, why
	o.history.Record(e)
	if why == "" {
		o.e.endAcks(known.labels)
	}
}

// lookAtSilences records which silences began or ended to hold an alert back.
func (o *observer) lookAtSilences(fp model.Fingerprint, known *observed, now time.Time) {
	ids := o.e.silencedBy(fp, known.labels)
	for id, e := range known.silences {
		if slices.Contains(ids, id) {
			continue
		}
		delete(known.silences, id)
		e.At = now
		if e.Kind = history.Unsilenced; isAck(e.Comment) {
			e.Kind, e.Comment = history.Unacknowledged, ackComment(e.Comment)
		}
		o.history.Record(e)
	}
	for _, id := range ids {
		if _, ok := known.silences[id]; ok {
			continue
		}
		s, err := o.e.silences.QueryOne(context.Background(), silence.QIDs(id))
		if err != nil {
			continue // it went this moment
		}
		e := known.about
		e.At, e.By, e.Comment, e.Until = now, s.GetCreatedBy(), s.GetComment(), s.GetEndsAt().AsTime()
		known.silences[id] = e
		if known.revived {
			continue
		}
		if e.Kind = history.Silenced; isAck(e.Comment) {
			e.Kind, e.Comment = history.Acknowledged, ackComment(e.Comment)
		}
		o.history.Record(e)
	}
	known.revived = false
}

// silencedBy are the IDs of the silences that hold an alert back now.
func (e *embedded) silencedBy(fp model.Fingerprint, ls model.LabelSet) []string {
	m := marker.NewAlertMarker()
	e.silencer.Mutes(marker.WithContext(context.Background(), m), ls)
	return m.Status(fp).SilencedBy
}

func aboutAlert(a *amalert.Alert) history.Event {
	e := history.Event{
		Alertname: a.Name(), Severity: string(a.Labels["severity"]), Summary: summaryOf(a.Annotations),
		Labels: make(map[string]string, len(a.Labels)), Fingerprint: a.Labels.Fingerprint().String(), StartedAt: a.StartsAt,
	}
	for name, value := range a.Labels {
		e.Labels[string(name)] = string(value)
	}
	return e
}

// summaryOf is the line that says what an alert is about.
func summaryOf(annotations model.LabelSet) string {
	for _, name := range []model.LabelName{"summary", "title", "message", "description"} {
		if text := strings.TrimSpace(string(annotations[name])); text != "" {
			return text
		}
	}
	return ""
}

// failureAgain is how often a failure that goes on is recorded.
const failureAgain = 10 * time.Minute

// told records a notification, one event for each alert name in it.
func (o *observer) told(key integrationKey, alerts []*amalert.Alert, failure error) {
	now := time.Now()
	byName := map[string]*history.Event{}
	for _, a := range alerts {
		e := byName[a.Name()]
		if e == nil {
			e = &history.Event{
				At: now, Kind: history.Notified, Alertname: a.Name(), Severity: string(a.Labels["severity"]),
				Summary: summaryOf(a.Annotations), Receiver: key.receiver, Integration: key.integration,
			}
			byName[a.Name()] = e
		}
		e.Alerts++
		if !a.ResolvedAt(now) {
			e.FiringAlerts++
		}
	}
	for name, e := range byName {
		if o.worthTelling(key.String()+"\x00"+name, failure, now) {
			if failure != nil {
				e.Kind, e.Error = history.Failed, failure.Error()
			}
			o.history.Record(*e)
		}
	}
}

// worthTelling leaves out the repeated attempts of what fails.
func (o *observer) worthTelling(what string, failure error, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if failure == nil {
		delete(o.failed, what)
		return true
	}
	if now.Sub(o.failed[what]) < failureAgain {
		return false
	}
	if len(o.failed) > observedAtOnce {
		clear(o.failed)
	}
	o.failed[what] = now
	return true
}
