package history

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what happened.
type Kind string

// The kinds. Failed is a notification that did not get out.
const (
	Firing         Kind = "firing"
	Resolved       Kind = "resolved"
	Silenced       Kind = "silenced"
	Unsilenced     Kind = "unsilenced"
	Acknowledged   Kind = "acknowledged"
	Unacknowledged Kind = "unacknowledged"
	Notified       Kind = "notified"
	Failed         Kind = "failed"
)

// Event is one change of one alert, or one notification about alerts of one name.
type Event struct {
	At        time.Time         `json:"at"`
	Kind      Kind              `json:"kind"`
	Alertname string            `json:"alertname"`
	Severity  string            `json:"severity,omitempty"`
	Summary   string            `json:"summary,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Fingerprint is the alert's; a notification has none.
	Fingerprint string `json:"fingerprint,omitempty"`
	// StartedAt is when the alert began to fire.
	StartedAt time.Time `json:"started_at,omitzero"`
	// By, Comment and Until are those of a silence or an acknowledgement.
	By      string    `json:"by,omitempty"`
	Comment string    `json:"comment,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	// Receiver and Integration were told of Alerts alerts, of which FiringAlerts fired.
	Receiver     string `json:"receiver,omitempty"`
	Integration  string `json:"integration,omitempty"`
	Alerts       int    `json:"alerts,omitempty"`
	FiringAlerts int    `json:"firing_alerts,omitempty"`
	Error        string `json:"error,omitempty"`
}

// Bounds of one event: what comes in labels and annotations is anybody's.
const (
	maxText   = 1024
	maxValue  = 256
	maxLabels = 64
)

// bounded cuts what is too long for the history.
func (e Event) bounded() Event {
	for _, s := range []*string{&e.Alertname, &e.Severity, &e.By, &e.Receiver, &e.Integration} {
		*s = clip(*s, maxValue)
	}
	for _, s := range []*string{&e.Summary, &e.Comment, &e.Error} {
		*s = clip(*s, maxText)
	}
	if e.Labels == nil {
		return e
	}
	kept := make(map[string]string, min(len(e.Labels), maxLabels))
	for name, value := range e.Labels {
		if len(kept) == maxLabels {
			break
		}
		kept[clip(name, maxValue)] = clip(value, maxValue)
	}
	e.Labels = kept
	return e
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// mentions reports whether any word of the event contains q, which is lower case.
func (e *Event) mentions(q string) bool {
	for _, s := range []string{e.Alertname, e.Summary, e.By, e.Comment, e.Receiver, e.Integration, e.Error, string(e.Kind)} {
		if strings.Contains(strings.ToLower(s), q) {
			return true
		}
	}
	for _, value := range e.Labels {
		if strings.Contains(strings.ToLower(value), q) {
			return true
		}
	}
	return false
}

// Open is an alert that fires, as far as the history knows.
type Open struct {
	Alertname   string            `json:"alertname"`
	Severity    string            `json:"severity,omitempty"`
	Summary     string            `json:"summary,omitempty"`
	Labels      map[string]string `json:"labels"`
	StartedAt   time.Time         `json:"started_at"`
	Fingerprint string            `json:"-"`
}
