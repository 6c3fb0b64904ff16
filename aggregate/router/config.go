package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/aggregate/sink"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/send/request"
)

// Config says what goes where.
type Config struct {
	// Labels chooses the labels that are hashed, IgnoreLabels those that are not;
	// at most one of them may be given. Without either all labels count. Labels
	// that only some series of a whole have, le above all, should not count.
	Labels       []string `yaml:"labels,omitempty"`
	IgnoreLabels []string `yaml:"ignore_labels,omitempty"`
	// Replicas is how many backends get each sample; 1 by default.
	Replicas int `yaml:"replicas,omitempty"`
	// Backends are the receivers.
	Backends []Backend `yaml:"backends,omitempty"`
	// Breaker says when a backend is left alone.
	Breaker Breaker `yaml:"breaker,omitempty"`
}

// Backend is a sink.RemoteWrite entry with the times of the samples it is to get.
type Backend struct {
	Window
	sink.RemoteWrite
}

// Window bounds the timestamps of samples. What is not set does not bound.
type Window struct {
	// MinAge and MaxAge are measured when a sample is routed.
	MinAge model.Duration `yaml:"min_age,omitempty"`
	MaxAge model.Duration `yaml:"max_age,omitempty"`
	// NotBefore and NotAfter are instants, as in 2026-01-31T00:00:00Z.
	NotBefore time.Time `yaml:"not_before,omitempty"`
	NotAfter  time.Time `yaml:"not_after,omitempty"`
}

// takes says whether a sample at t, ms, fits at now, ms.
func (w Window) takes(t, now int64) bool {
	switch {
	case w.MinAge > 0 && t > now-time.Duration(w.MinAge).Milliseconds(),
		w.MaxAge > 0 && t < now-time.Duration(w.MaxAge).Milliseconds(),
		!w.NotBefore.IsZero() && t < w.NotBefore.UnixMilli(),
		!w.NotAfter.IsZero() && t > w.NotAfter.UnixMilli():
		return false
	}
	return true
}

// Breaker says when a backend is left alone.
type Breaker struct {
	// Failures in a row that open the breaker; 5 by default.
	Failures uint `yaml:"failures,omitempty"`
	// Pause is how long it stays open at first, 1s by default; each failed trial
	// doubles it up to MaxPause, 30s by default.
	Pause    model.Duration `yaml:"pause,omitempty"`
	MaxPause model.Duration `yaml:"max_pause,omitempty"`
}

type entry struct {
	Window   Window        `yaml:",inline"`
	Queue    flow.Bytes    `yaml:"queue,omitempty"`
	Upstream sink.Upstream `yaml:",inline"`
}

// UnmarshalYAML implements the interface of all versions of the library.
func (b *Backend) UnmarshalYAML(unmarshal func(any) error) error {
	*b = Backend{RemoteWrite: sink.DefaultRemoteWrite()}
	e := entry{Queue: b.Queue, Upstream: sink.Upstream(b.RemoteWriteConfig)}
	if err := unmarshal(&e); err != nil {
		return err
	}
	b.Window = e.Window
	return b.Take(e.Queue, e.Upstream)
}

// MarshalYAML writes what UnmarshalYAML reads.
func (b Backend) MarshalYAML() (any, error) {
	return entry{Window: b.Window, Queue: b.Queue, Upstream: sink.Upstream(b.RemoteWriteConfig)}, nil
}

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Breaker.Failures == 0 {
		c.Breaker.Failures = 5
	}
	if c.Breaker.Pause == 0 {
		c.Breaker.Pause = model.Duration(time.Second)
	}
	if c.Breaker.MaxPause == 0 {
		c.Breaker.MaxPause = max(c.Breaker.Pause, model.Duration(30*time.Second))
	}
	return c
}

// Validate returns every mistake at once, joined; it takes what is not set for
// its default. No backends is valid: nothing is routed then.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Labels) > 0 && len(c.IgnoreLabels) > 0 {
		bad("labels, ignore_labels: both are given; choose the labels that count, or those that do not")
	}
	if slices.Contains(c.Labels, "") || slices.Contains(c.IgnoreLabels, "") {
		bad("labels, ignore_labels: hold an empty name; remove it")
	}
	if c.Replicas < 1 || len(c.Backends) > 0 && c.Replicas > len(c.Backends) {
		bad("replicas: got %d with %d backends, must be 1 to the number of backends", c.Replicas, len(c.Backends))
	}
	if c.Breaker.Pause < 0 || c.Breaker.MaxPause < c.Breaker.Pause {
		bad("breaker: got pause %s and max_pause %s; the first must not be above the second", c.Breaker.Pause, c.Breaker.MaxPause)
	}
	seen := map[string]int{}
	for i, b := range c.Backends {
		err := errors.Join(b.Validate(), b.validate())
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				bad("backends[%d].%s", i, line)
			}
			continue
		}
		if other, twice := seen[b.key()]; twice {
			bad("backends[%d]: is the same receiver as backends[%d]; remove one, or give them different names", i, other)
		}
		seen[b.key()] = i
	}
	return errors.Join(errs...)
}

func (w Window) validate() error {
	var errs []error
	if w.MinAge < 0 || w.MaxAge < 0 {
		errs = append(errs, fmt.Errorf("min_age: got min_age %s and max_age %s, must not be negative", w.MinAge, w.MaxAge))
	}
	if w.MaxAge > 0 && w.MinAge >= w.MaxAge {
		errs = append(errs, fmt.Errorf("min_age: got %s, must be below max_age %s, or no sample fits", w.MinAge, w.MaxAge))
	}
	if !w.NotBefore.IsZero() && !w.NotAfter.IsZero() && !w.NotBefore.Before(w.NotAfter) {
		errs = append(errs, fmt.Errorf("not_before: got %s, must be before not_after %s, or no sample fits", w.NotBefore.Format(time.RFC3339), w.NotAfter.Format(time.RFC3339)))
	}
	return errors.Join(errs...)
}

// key is what the backend's share and queue hang on: the name, so that a backend
// may move to another URL, or else the URL and headers.
func (b Backend) key() string {
	if b.Name != "" {
		return "backend-" + request.Digest("name\n"+b.Name)
	}
	return "backend-" + request.Identity(&b.RemoteWriteConfig)
}
