package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/logging"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/health"
)

// Options are what a Collector needs.
type Options struct {
	Config Config
	// Prometheus is the document as upstream's Load or LoadFile returned it.
	Prometheus *promconfig.Config
	// Appendable takes every sample.
	Appendable storage.AppendableV2
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Gatherer gives the island's own metrics, for the built-in job "atoll".
	Gatherer prometheus.Gatherer
	Health   *health.List
	// InstanceName is the instance label of the built-in jobs.
	InstanceName string
	// SamplesPerTarget is the sample_limit of jobs that set none; 0 is no limit.
	SamplesPerTarget uint64

	pace pace
}

// pace is how often the managers act; tests are faster.
type pace struct {
	discovery, scrape, watch time.Duration
}

func (p pace) orDefault() pace {
	if p == (pace{}) {
		return pace{discovery: 5 * time.Second, scrape: 5 * time.Second, watch: 15 * time.Second}
	}
	return p
}

// Collector scrapes.
type Collector struct {
	logger           *slog.Logger
	metrics          *metrics
	warnings         warnings
	pace             pace
	samplesPerTarget uint64

	builtins  *builtins
	scrape    *scrape.Manager
	discovery *discovery.Manager
	sdMetrics *discovery.SDMetrics
	// stopDiscovery ends the context that upstream wants at construction.
	stopDiscovery context.CancelFunc

	mu      sync.Mutex
	running bool
	plan    *plan
}

// New checks the configuration and makes the managers; it starts nothing. A
// job that cannot work on this machine now (a missing CA file) does not keep
// the others from being scraped: it raises a health warning. The Registerer
// must not have been given to another Collector.
func New(o Options) (*Collector, error) {
	if o.Prometheus == nil || o.Appendable == nil || o.Gatherer == nil {
		return nil, errors.New("making the collector: Prometheus, Appendable and Gatherer must be set")
	}
	c := &Collector{
		logger:           o.Logger,
		metrics:          newMetrics(o.Registerer),
		warnings:         declare(o.Health),
		pace:             o.pace.orDefault(),
		samplesPerTarget: o.SamplesPerTarget,
	}
	var err error
	if c.builtins, err = newBuiltins(o, c.metrics); err != nil {
		return nil, err
	}
	if c.sdMetrics, err = discovery.CreateAndRegisterSDMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("registering service discovery metrics: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stopDiscovery = cancel
	c.discovery = discovery.NewManager(ctx, o.Logger.With("part", "discovery"), o.Registerer, c.sdMetrics,
		discovery.Name("scrape"), discovery.Updatert(c.pace.discovery))
	if c.discovery == nil {
		cancel()
		return nil, errors.New("making the discovery manager: its metrics are registered already, must be one Collector for each Registerer")
	}
	c.scrape, err = scrape.NewManager(&scrape.Options{
		AppendMetadata:           true,
		DiscoveryReloadInterval:  model.Duration(c.pace.scrape),
		DiscoveryReloadOnStartup: true,
	}, o.Logger.With("part", "scrape"), logging.NewJSONFileLogger, nil, o.Appendable, o.Registerer)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("making the scrape manager: %w", err)
	}
	if c.plan, err = c.makePlan(o.Config, o.Prometheus); err != nil {
		cancel()
		return nil, err
	}
	return c, nil
}

// ScrapeManager answers what is scraped. It is the same for the Collector's
// whole life and may be asked at any time.
func (c *Collector) ScrapeManager() *scrape.Manager { return c.scrape }

// SDMetrics are the metrics of the discovery mechanisms, which can be
// registered once for each Registerer: other discovery managers share them.
func (c *Collector) SDMetrics() *discovery.SDMetrics { return c.sdMetrics }

// Run scrapes until ctx ends; it may be called once.
func (c *Collector) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The built-in jobs answer until the last scrape is over, or they would be
	// recorded as down whenever the island stops.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	g.Go(func() error {
		// Without its own metrics the island is still of use.
		if err := c.builtins.serve(serving); err != nil {
			c.logger.Error("built-in jobs cannot be scraped", "err", err)
			c.warnings.builtins.Set("%v", err)
		}
		return nil
	})

	c.mu.Lock()
	c.running = true
	c.apply()
	c.mu.Unlock()

	discovered := make(chan struct{})
	go func() {
		defer close(discovered)
		// It ends with the error of its context, which is no news.
		_ = c.discovery.Run()
	}()
	g.Go(func() error { return c.scrape.Run(c.discovery.SyncCh()) })
	g.Go(func() error { c.watch(ctx); return nil })

	<-ctx.Done()
	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
	// Discovery first, so that no new target comes while scrapes are stopped.
	c.stopDiscovery()
	<-discovered
	c.scrape.Stop()
	stopServing()
	return g.Wait()
}

// Prepare checks a new configuration against this machine without touching
// what runs. commit applies it; discard forgets it.
func (c *Collector) Prepare(cfg Config, prom *promconfig.Config) (commit, discard func(), err error) {
	next, err := c.makePlan(cfg, prom)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	err = next.refuse(c.plan)
	c.mu.Unlock()
	if err != nil {
		c.forget(next)
		return nil, nil, err
	}
	commitHost, discardHost, err := c.builtins.host.Prepare(hostConfig(cfg.Host, prom.GlobalConfig))
	if err != nil {
		c.forget(next)
		return nil, nil, err
	}
	commitCgroup, discardCgroup, err := c.builtins.cgroup.Prepare(cfg.Cgroup)
	if err != nil {
		discardHost()
		c.forget(next)
		return nil, nil, err
	}
	commit = func() {
		commitHost()
		commitCgroup()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.plan = next
		if c.running {
			c.apply()
		}
	}
	discard = func() {
		discardHost()
		discardCgroup()
		c.forget(next)
	}
	return commit, discard, nil
}

// forget takes away the metrics that upstream made for jobs that were tried
// and will not run.
func (c *Collector) forget(p *plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for job, configs := range p.sd {
		if _, runs := c.plan.sd[job]; runs {
			continue
		}
		for _, d := range configs {
			c.sdMetrics.RefreshManager.DeleteLabelValues(d.Name(), job)
		}
	}
}

// apply hands the plan to the managers. What can fail was tried when the plan
// was made; what fails all the same (a file removed in between) is reported,
// because there is no way back.
func (c *Collector) apply() {
	p := c.plan
	err := errors.Join(c.scrape.ApplyConfig(p.scrape), c.discovery.ApplyConfig(p.sd))
	if err != nil {
		c.metrics.reloadsIncomplete.Inc()
		c.logger.Error("scrape configuration applied in part", "err", err)
		c.warnings.incomplete.Set("%v", err)
	} else {
		c.warnings.incomplete.Clear()
	}
	c.reportFaults(p)
	for _, name := range p.shadowed {
		c.logger.Warn("built-in job replaced by a job of the same name", "job", name)
	}
	if len(p.shadowed) > 0 {
		c.warnings.shadowed.Set("%s", strings.Join(p.shadowed, ", "))
	} else {
		c.warnings.shadowed.Clear()
	}
}

func (c *Collector) reportFaults(p *plan) {
	var texts []string
	jobs := map[string]bool{}
	for _, f := range p.faults {
		jobs[f.job] = true
		texts = append(texts, fmt.Sprintf("job %q: %v", f.job, f.err))
		c.logger.Warn("scrape job is faulty", "job", f.job, "left_out", f.absent, "err", f.err)
	}
	c.metrics.faultyJobs.Set(float64(len(jobs)))
	if len(texts) == 0 {
		c.warnings.faulty.Clear()
		return
	}
	c.warnings.faulty.Set("%s", strings.Join(firstFew(texts), "; "))
}
