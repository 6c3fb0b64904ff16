package alert

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/alert/history"
)

// Config is the room's part of the configuration file.
type Config struct {
	// Alertmanager is a path to an Alertmanager configuration or that document
	// inline. It is kept as it was written: whoever loads the file parses it
	// with LoadAlertmanager and hands the result over beside this Config.
	Alertmanager yaml.Node `yaml:"alertmanager,omitempty"`

	// ResendDelay is how long an alert that keeps firing is not handed over again.
	ResendDelay model.Duration `yaml:"resend_delay,omitempty"`
	// ForGracePeriod is the least time between a restart and an alert whose
	// restored `for` would end sooner; shorter `for` clauses start anew.
	ForGracePeriod model.Duration `yaml:"for_grace_period,omitempty"`
	// OutageTolerance is how old the last trace of a pending alert may be to
	// have its `for` state restored.
	OutageTolerance model.Duration `yaml:"outage_tolerance,omitempty"`
	// MaxConcurrentEvals bounds how many independent rules of one group are
	// evaluated at once, over all groups; 0 evaluates them one after the other.
	MaxConcurrentEvals int64 `yaml:"max_concurrent_evals"`

	// Retention is how long ended silences and sent notifications are remembered.
	Retention model.Duration `yaml:"retention,omitempty"`
	// SnapshotInterval is how often changed state is written to disk: what at
	// most is lost by a crash. A clean stop loses nothing.
	SnapshotInterval model.Duration `yaml:"snapshot_interval,omitempty"`
	// FailuresBeforeWarning is how many attempts in a row one integration may
	// fail before the island reports itself unhealthy.
	FailuresBeforeWarning int `yaml:"failures_before_warning,omitempty"`

	// QueueCapacity is how many alerts wait for one external Alertmanager.
	QueueCapacity int `yaml:"queue_capacity,omitempty"`
	// History is what is kept of what happened to alerts.
	History history.Config `yaml:"history,omitempty"`
	// Limits bound what strangers may put into memory.
	Limits Limits `yaml:"limits,omitempty"`
}

// Limits of the embedded Alertmanager; 0 is unlimited, except for BodyBytes.
type Limits struct {
	// Silences is how many silences may exist, ended ones included.
	Silences int `yaml:"silences,omitempty"`
	// SilenceBytes is the largest encoded silence, in bytes.
	SilenceBytes int `yaml:"silence_bytes,omitempty"`
	// AlertsPerName is how many alerts may share one alertname.
	AlertsPerName int `yaml:"alerts_per_name,omitempty"`
	// BodyBytes is the largest request body of the API, in bytes.
	BodyBytes int64 `yaml:"body_bytes,omitempty"`
}

// Default returns the values used where the file says nothing. Timings are
// those of Prometheus and Alertmanager, but for SnapshotInterval: 15 minutes
// there, for servers that seldom crash and never lose power.
func Default() Config {
	return Config{
		ResendDelay:           model.Duration(time.Minute),
		ForGracePeriod:        model.Duration(10 * time.Minute),
		OutageTolerance:       model.Duration(time.Hour),
		MaxConcurrentEvals:    4,
		Retention:             model.Duration(120 * time.Hour),
		SnapshotInterval:      model.Duration(15 * time.Second),
		FailuresBeforeWarning: 3,
		QueueCapacity:         10000,
		History:               history.Default(),
		Limits:                Limits{BodyBytes: 16 << 20},
	}
}

// Validate reports every field that cannot be used, joined.
func (c Config) Validate() error {
	var errs []error
	positive := func(field string, got model.Duration) {
		if got <= 0 {
			errs = append(errs, fmt.Errorf("alert.%s is %s, must be longer than 0: remove it to get the default", field, got))
		}
	}
	atLeast := func(field string, got, least int64) {
		if got < least {
			errs = append(errs, fmt.Errorf("alert.%s is %d, must be %d or more", field, got, least))
		}
	}
	positive("resend_delay", c.ResendDelay)
	positive("retention", c.Retention)
	positive("snapshot_interval", c.SnapshotInterval)
	atLeast("for_grace_period", int64(c.ForGracePeriod), 0)
	atLeast("outage_tolerance", int64(c.OutageTolerance), 0)
	atLeast("max_concurrent_evals", c.MaxConcurrentEvals, 0)
	atLeast("failures_before_warning", int64(c.FailuresBeforeWarning), 1)
	atLeast("queue_capacity", int64(c.QueueCapacity), 1)
	atLeast("limits.silences", int64(c.Limits.Silences), 0)
	atLeast("limits.silence_bytes", int64(c.Limits.SilenceBytes), 0)
	atLeast("limits.alerts_per_name", int64(c.Limits.AlertsPerName), 0)
	atLeast("limits.body_bytes", c.Limits.BodyBytes, 1)
	return errors.Join(append(errs, c.History.Validate())...)
}

// fixed returns an error naming every setting that a running room cannot change.
func (c Config) fixed(next Config) error {
	var errs []error
	for _, f := range []struct {
		name     string
		old, new any
	}{
		{"resend_delay", c.ResendDelay, next.ResendDelay},
		{"for_grace_period", c.ForGracePeriod, next.ForGracePeriod},
		{"outage_tolerance", c.OutageTolerance, next.OutageTolerance},
		{"max_concurrent_evals", c.MaxConcurrentEvals, next.MaxConcurrentEvals},
		{"retention", c.Retention, next.Retention},
		{"snapshot_interval", c.SnapshotInterval, next.SnapshotInterval},
		{"queue_capacity", c.QueueCapacity, next.QueueCapacity},
		{"limits.alerts_per_name", c.Limits.AlertsPerName, next.Limits.AlertsPerName},
	} {
		if f.old != f.new {
			errs = append(errs, fmt.Errorf("alert.%s cannot change from %v to %v while running: restart the island", f.name, f.old, f.new))
		}
	}
	return errors.Join(errs...)
}
