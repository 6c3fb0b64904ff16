package definition

import (
	"slices"
	"time"

	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
)

// Kind is the kind of the documents that hold definitions: "probe/NAME".
const Kind = "probe"

// DefaultModule and DefaultInterval are of a definition that names none.
const (
	DefaultModule   = "http_2xx"
	DefaultInterval = model.Duration(30 * time.Second)
)

// Definition says what is probed, how, how often, from where, and what follows. It
// is not to be changed once it was read.
type Definition struct {
	// Name is the document's, and the label job of all its series.
	Name string `yaml:"name,omitempty"`
	// Targets are written down, Discover finds more.
	Targets  []Target    `yaml:"targets,omitempty"`
	Discover []Discovery `yaml:"discover,omitempty"`
	// Addresses is "first", where the prober picks one of a name's addresses, or "all",
	// where each of them is a target of its own, followed as the name changes.
	Addresses string `yaml:"addresses,omitempty"`
	// Module is how targets are asked; Expect replaces what its own expect says.
	Module Use     `yaml:"module,omitempty"`
	Expect *Expect `yaml:"expect,omitempty"`
	// Interval is from the start of one probe to the next. Timeout is not longer; 0
	// takes the module's, or DefaultTimeout, bounded by the interval.
	Interval model.Duration `yaml:"interval,omitempty"`
	Timeout  model.Duration `yaml:"timeout,omitempty"`
	// From selects the islands that probe.
	From From `yaml:"from,omitempty"`
	// During and Except are times at which targets are probed, and are not.
	During []timeinterval.TimeInterval `yaml:"during,omitempty"`
	Except []timeinterval.TimeInterval `yaml:"except,omitempty"`
	// Labels are added to all series.
	Labels map[string]string `yaml:"labels,omitempty"`
	// Owner and Severity are told with an alert.
	Owner    string `yaml:"owner,omitempty"`
	Severity string `yaml:"severity,omitempty"`

	Quorum   Quorum   `yaml:"quorum,omitempty"`
	History  History  `yaml:"history,omitempty"`
	Evidence Evidence `yaml:"evidence,omitempty"`
	Compare  *Compare `yaml:"compare,omitempty"`
}

// Target is one thing that is probed.
type Target struct {
	// URL and Host are two names for the same: what the module's prober takes, such as
	// https://hub.example.com/health, db.example.com:5432 or 192.0.2.1. One is set.
	URL  string `yaml:"url,omitempty"`
	Host string `yaml:"host,omitempty"`
	// ServerName is asked for where the target is an address: Host header and SNI.
	ServerName string            `yaml:"server_name,omitempty"`
	Labels     map[string]string `yaml:"labels,omitempty"`
}

// Text is the target as it was written, the label instance of its series.
func (t Target) Text() string {
	if t.URL != "" {
		return t.URL
	}
	return t.Host
}

// Quorum says from how many vantages a target must be seen in trouble for the
// target, not the vantage, to be in trouble.
type Quorum struct {
	// Down and Degraded are numbers of vantages; 0 is 2 of them, or 1 where only one
	// probes.
	Down     int `yaml:"down,omitempty"`
	Degraded int `yaml:"degraded,omitempty"`
	// Regions is in how many different ones those must be; 0 is 1.
	Regions int `yaml:"regions,omitempty"`
	// Page is how many vantages wake somebody up; 0 is Down.
	Page int `yaml:"page,omitempty"`
}

// Evidence is what a failure leaves beside its samples.
type Evidence struct {
	// Off gathers none.
	Off bool `yaml:"off,omitempty"`
	// Capture adds the packets of the flow, where the island allows that.
	Capture bool `yaml:"capture,omitempty"`
}

// Compare holds the answers from all vantages against the origin's and each other.
type Compare struct {
	// Origin is the URL of the server behind the edges, without a path for each target's
	// own; "" compares vantages only.
	Origin string `yaml:"origin,omitempty"`
	// Headers that must be equal everywhere, beside status, size and body.
	Headers []string `yaml:"headers,omitempty"`
	// IgnoreBody leaves the body out, for pages that are never twice the same.
	IgnoreBody bool `yaml:"ignore_body,omitempty"`
	// MaxAge is how old an edge's copy may be by its Age header; 0 for any.
	MaxAge model.Duration `yaml:"max_age,omitempty"`
}

// Active reports whether targets are probed at that time.
func (d *Definition) Active(t time.Time) bool {
	t = t.UTC() // intervals without a location mean UTC
	inside := func(i timeinterval.TimeInterval) bool { return i.ContainsTime(t) }
	return (len(d.During) == 0 || slices.ContainsFunc(d.During, inside)) && !slices.ContainsFunc(d.Except, inside)
}

// Scheduled reports whether Active depends on the time.
func (d *Definition) Scheduled() bool { return len(d.During)+len(d.Except) > 0 }

// Resolve returns the module that the definition uses, out of those the island
// has, with what the definition itself expects. ok is false if there is none of
// that name.
func (d *Definition) Resolve(modules Modules) (m *Module, ok bool) {
	if m = d.Module.Inline; m == nil {
		if m, ok = modules[d.Module.Name]; !ok {
			return nil, false
		}
	}
	if d.Expect != nil {
		with := *m
		with.Expect = *d.Expect
		m = &with
	}
	return m, true
}

// Within is how long a probe may take, with that module.
func (d *Definition) Within(m *Module) time.Duration {
	timeout := time.Duration(d.Timeout)
	if timeout == 0 {
		timeout = m.Timeout
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return min(timeout, time.Duration(d.Interval))
}
