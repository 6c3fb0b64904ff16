package host

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/node_exporter/collector"
)

// Options are what a Collector needs.
type Options struct {
	Config     Config
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Collector is a prometheus.Collector of the host.
type Collector struct {
	logger  *slog.Logger
	metrics *metrics
	mu      sync.Mutex
	running *set
}

// set is one selection of collectors.
type set struct {
	config Config
	units  []*unit
}

// unit is one of node_exporter's collectors.
type unit struct {
	name   string
	update func(chan<- prometheus.Metric) error
	// gate holds one token while update runs, in whichever island.
	gate chan struct{}

	mu      sync.Mutex
	lastErr string
}

// New builds the collectors; it measures nothing yet.
func New(o Options) (*Collector, error) {
	c := &Collector{logger: o.Logger, metrics: newMetrics(o.Registerer)}
	s, err := c.build(o.Config)
	if err != nil {
		return nil, err
	}
	c.apply(s)
	return c, nil
}

// Prepare builds what the new configuration asks for. Paths and flags cannot
// change while the process lives.
func (c *Collector) Prepare(cfg Config) (commit, discard func(), err error) {
	s, err := c.build(cfg)
	if err != nil {
		return nil, nil, err
	}
	return func() { c.apply(s) }, func() {}, nil
}

func (c *Collector) build(cfg Config) (*set, error) {
	s := &set{config: cfg}
	if !cfg.Enabled {
		return s, nil
	}
	if err := process.configure(cfg, c.logger); err != nil {
		return nil, err
	}
	made, failed := process.build(cfg.selected())
	for _, name := range slices.Sorted(maps.Keys(made)) {
		s.units = append(s.units, &unit{name: name, update: made[name].Update, gate: process.gate(name)})
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		s.units = append(s.units, &unit{name: name, update: failing(failed[name]), gate: make(chan struct{}, 1)})
	}
	return s, nil
}

// failing stands in for a collector that cannot be made here, so that it is
// reported like one that fails.
func failing(err error) func(chan<- prometheus.Metric) error {
	return func(chan<- prometheus.Metric) error { return err }
}

func (c *Collector) apply(s *set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = s
	c.metrics.collectors.Set(float64(len(s.units)))
}

var (
	durationDesc = prometheus.NewDesc("node_scrape_collector_duration_seconds",
		"node_exporter: Duration of a collector scrape.", []string{"collector"}, nil)
	successDesc = prometheus.NewDesc("node_scrape_collector_success",
		"node_exporter: Whether a collector succeeded.", []string{"collector"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- durationDesc
	ch <- successDesc
}

// outcome is what one collector found.
type outcome struct {
	unit  *unit
	found []prometheus.Metric
	took  time.Duration
	err   error
}

// Collect implements prometheus.Collector. It returns after Config.Timeout at
// the latest, without those that have not finished.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	s := c.running
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.config.Timeout))
	defer cancel()
	// Buffered, so that a collector that comes too late can still finish.
	results := make(chan outcome, len(s.units))
	missing := map[string]*unit{}
	for _, u := range s.units {
		missing[u.name] = u
		go u.run(ctx, results)
	}
	for len(missing) > 0 {
		select {
		case r := <-results:
			delete(missing, r.unit.name)
			for _, m := range r.found {
				ch <- m
			}
			c.report(ch, r)
		case <-ctx.Done():
			for _, u := range missing {
				c.report(ch, outcome{
					unit: u, took: time.Duration(s.config.Timeout),
					err: fmt.Errorf("no answer within %s", s.config.Timeout),
				})
			}
			return
		}
	}
}

// run measures once and sends the outcome, or nothing when ctx ends before an
// earlier run of the same collector does: upstream's collectors are shared by
// the process, and not all of them may run twice at a time. What Update sends
// goes to a channel of its own, because it may outlive the scrape.
func (u *unit) run(ctx context.Context, results chan<- outcome) {
	select {
	case u.gate <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-u.gate }()

	begin := time.Now()
	out := outcome{unit: u}
	ch := make(chan prometheus.Metric, 64)
	done := make(chan error, 1)
	go func() {
		defer close(ch)
		done <- u.update(ch)
	}()
	for m := range ch {
		out.found = append(out.found, m)
	}
	out.err = <-done
	out.took = time.Since(begin)

	results <- out
}

// report says how a collector fared, and logs when that changes.
func (c *Collector) report(ch chan<- prometheus.Metric, r outcome) {
	success := 1.0
	text := ""
	if r.err != nil {
		success = 0
		if !collector.IsNoDataError(r.err) {
			text = r.err.Error()
			c.metrics.failures.WithLabelValues(r.unit.name).Inc()
		}
	}
	ch <- prometheus.MustNewConstMetric(durationDesc, prometheus.GaugeValue, r.took.Seconds(), r.unit.name)
	ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, success, r.unit.name)

	r.unit.mu.Lock()
	changed := r.unit.lastErr != text
	r.unit.lastErr = text
	r.unit.mu.Unlock()
	switch {
	case !changed:
	case text == "":
		c.logger.Info("host collector works again", "collector", r.unit.name)
	default:
		c.logger.Warn("host collector fails", "collector", r.unit.name, "err", text)
	}
}
