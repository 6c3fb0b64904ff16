package alert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/health"
)

// onTimeToForgive is how many evaluations in a row must come on time until a
// group that missed some is called well again.
const onTimeToForgive = 3

// watch turns what fails into health warnings.
type watch struct {
	metrics   *metrics
	threshold func() int
	// told hears of notifications and of attempts that failed; it does not wait.
	told func(key integrationKey, alerts []*amalert.Alert, failure error)

	notifying  *health.Handle
	external   *health.Handle
	evaluating *health.Handle
	late       *health.Handle
	nobody     *health.Handle

	mu       sync.Mutex
	failures map[string]*failure     // by integrationKey.String()
	groups   map[string]*groupHealth // by rules.GroupKey
}

type failure struct {
	key   integrationKey
	count int
	fatal bool
	last  error
}

type groupHealth struct {
	name     string
	interval time.Duration
	last     time.Time // slot of the last evaluation
	missed   int
	onTime   int
	failing  []string
}

// integrationKey names one integration, or one external Alertmanager.
type integrationKey struct {
	receiver    string
	integration string
	external    bool
}

// String is unique among integrations.
func (k integrationKey) String() string { return k.receiver + "/" + k.integration }

func newWatch(h *health.List, m *metrics, threshold func() int) *watch {
	return &watch{
		metrics: m, threshold: threshold,
		failures: map[string]*failure{}, groups: map[string]*groupHealth{},
		notifying: h.Declare(health.Warning{
			Code:     "alert-notify-failing",
			Severity: health.SeverityCritical,
			Title:    "notifications do not get out",
			Remedy:   "Look at the error: correct the receiver's address or credentials, or open the network path to it. Alerts wait and are sent once an attempt succeeds.",
		}),
		external: h.Declare(health.Warning{
			Code:     "alert-external-failing",
			Severity: health.SeverityWarning,
			Title:    "an external Alertmanager does not take alerts",
			Remedy:   "Check that it runs and can be reached, or remove it from alerting.alertmanagers. The embedded one notifies independently of it.",
		}),
		evaluating: h.Declare(health.Warning{
			Code:     "alert-rule-failing",
			Severity: health.SeverityCritical,
			Title:    "rules cannot be evaluated",
			Remedy:   "Correct the expression or what it selects; while it fails the rule neither alerts nor records.",
		}),
		late: h.Declare(health.Warning{
			Code:     "alert-rules-late",
			Severity: health.SeverityWarning,
			Title:    "rule groups take longer than their interval",
			Remedy:   "Lengthen the group's interval, split it, or make its expressions cheaper, for example with recording rules.",
		}),
		nobody: h.Declare(health.Warning{
			Code:     "alert-no-receiver",
			Severity: health.SeverityInfo,
			Title:    "alerts fire but nobody is notified",
			Remedy:   "Give a receiver to alert.alertmanager (webhook, email, Slack, WeCom, PagerDuty, ...); until then alerts are seen in the portal and the API only.",
		}),
	}
}

// reach says whether anybody at all is told about alerts.
func (w *watch) reach(integrations, externals int) {
	if integrations == 0 && externals == 0 {
		w.nobody.Set("no receiver has an integration and no external Alertmanager is configured")
		return
	}
	w.nobody.Clear()
}

// attempted records the outcome of one attempt. An error that a retry cannot
// mend counts at once.
func (w *watch) attempted(key integrationKey, retry bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.failures[key.String()]
	if f == nil {
		f = &failure{key: key}
		w.failures[key.String()] = f
	}
	if err == nil {
		f.count, f.fatal, f.last = 0, false, nil
	} else {
		f.count, f.fatal, f.last = f.count+1, !retry, err
	}
	w.metrics.failing.WithLabelValues(key.receiver, key.integration).Set(float64(f.count))
	w.tellLocked(key.external)
}

// keep forgets what is not there any more.
func (w *watch) keep(integrations map[string]struct{}, externals []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, f := range w.failures {
		_, stays := integrations[name]
		if stays || f.key.external && slices.Contains(externals, f.key.integration) {
			continue
		}
		delete(w.failures, name)
		w.metrics.failing.DeleteLabelValues(f.key.receiver, f.key.integration)
	}
	w.tellLocked(false)
	w.tellLocked(true)
}

func (w *watch) tellLocked(external bool) {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(w.failures)) {
		f := w.failures[name]
		if f.key.external != external || f.count == 0 || !f.fatal && f.count < w.threshold() {
			continue
		}
		text := fmt.Sprintf("receiver %q, integration %s: %d failed in a row, last: %v", f.key.receiver, f.key.integration, f.count, f.last)
		if external {
			text = fmt.Sprintf("%s: %d failed in a row, last: %v", f.key.integration, f.count, f.last)
		}
		texts = append(texts, text)
	}
	handle := w.notifying
	if external {
		handle = w.external
	}
	tell(handle, texts)
}

// tell sets a warning to the first few of its causes, or clears it.
func tell(h *health.Handle, texts []string) {
	const shown = 5
	if len(texts) == 0 {
		h.Clear()
		return
	}
	rest := ""
	if more := len(texts) - shown; more > 0 {
		texts, rest = texts[:shown], fmt.Sprintf("; and %d more", more)
	}
	h.Set("%s%s", strings.Join(texts, "; "), rest)
}

// evaluate is a rules.GroupEvalIterationFunc that looks at what came of it.
func (w *watch) evaluate(ctx context.Context, g *rules.Group, slot time.Time) {
	rules.DefaultEvalIterationFunc(ctx, g, slot)
	if ctx.Err() != nil {
		return // stopping: every query was cancelled
	}
	w.evaluated(g, slot)
}

func (w *watch) evaluated(g *rules.Group, slot time.Time) {
	var failing []string
	for _, r := range g.Rules() {
		if r.Health() == rules.HealthBad {
			failing = append(failing, fmt.Sprintf("group %q (%s), rule %q: %v", g.Name(), g.File(), r.Name(), r.LastError()))
		}
	}
	key := rules.GroupKey(g.File(), g.Name())
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.groups[key]
	if h == nil || h.interval != g.Interval() {
		h = &groupHealth{name: fmt.Sprintf("group %q (%s)", g.Name(), g.File()), interval: g.Interval(), last: slot.Add(-g.Interval())}
		w.groups[key] = h
	}
	missed := int(slot.Sub(h.last)/h.interval) - 1
	h.last, h.failing = slot, failing
	if missed > 0 {
		h.missed, h.onTime = h.missed+missed, 0
		w.metrics.missed.Add(float64(missed))
	} else if h.onTime++; h.onTime >= onTimeToForgive {
		h.missed = 0
	}
	w.tellGroupsLocked()
}

// keepGroups forgets the groups that are not evaluated any more.
func (w *watch) keepGroups(groups []*rules.Group) {
	w.mu.Lock()
	defer w.mu.Unlock()
	stays := map[string]bool{}
	for _, g := range groups {
		stays[rules.GroupKey(g.File(), g.Name())] = true
	}
	maps.DeleteFunc(w.groups, func(key string, _ *groupHealth) bool { return !stays[key] })
	w.tellGroupsLocked()
}

func (w *watch) tellGroupsLocked() {
	var failing, late []string
	for _, key := range slices.Sorted(maps.Keys(w.groups)) {
		h := w.groups[key]
		failing = append(failing, h.failing...)
		if h.missed > 0 {
			late = append(late, fmt.Sprintf("%s missed %d evaluations, interval %s", h.name, h.missed, h.interval))
		}
	}
	w.metrics.rulesFailing.Set(float64(len(failing)))
	tell(w.evaluating, failing)
	tell(w.late, late)
}

// watchedNotifier reports the outcome of each attempt.
type watchedNotifier struct {
	next  notify.Notifier
	key   integrationKey
	watch *watch
}

// Notify implements notify.Notifier.
func (n *watchedNotifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (bool, error) {
	retry, err := n.next.Notify(ctx, alerts...)
	// A stop or reload that cuts an attempt off says nothing about the receiver.
	if err == nil || !errors.Is(ctx.Err(), context.Canceled) {
		n.watch.attempted(n.key, retry, err)
		if n.watch.told != nil {
			n.watch.told(n.key, alerts, err)
		}
	}
	return retry, err
}
