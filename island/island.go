package island

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/portal"
	"github.com/atoll-mesh/atoll/query/peer"
)

// stopTimeout bounds a clean stop: flushing notifications, draining requests,
// closing the head. What is cut off is in the write-ahead log all the same.
const stopTimeout = time.Minute

// Options is what an island is made of.
type Options struct {
	// Config is in force from the start.
	Config *config.Config
	// Load reads the configuration again for a reload; nil refuses reloads.
	Load func() (*config.Config, error)
	// Logger gets everything. Level, if set, is moved by log.level on reload.
	Logger *slog.Logger
	Level  *slog.LevelVar
	// Version is shown by the API and the status.
	Version string
	// Join has the island join a network when it starts; Joined hears how that went.
	Join   *control.JoinRequest
	Joined func(control.JoinResult)
}

// Island is one autonomous node.
type Island struct {
	opts     Options
	logger   *slog.Logger
	registry *prometheus.Registry
	gatherer prometheus.Gatherer
	health   *health.List
	metrics  *metrics
	steps    *stack
	started  time.Time
	ready    chan struct{}
	quit     chan struct{}
	quitOnce sync.Once

	config       atomic.Pointer[config.Config]
	loadedAt     atomic.Pointer[time.Time]
	lastReload   atomic.Pointer[portal.ReloadResult]
	reloadFailed *health.Handle
	sharedLeft   *health.Handle
	reloading    sync.Mutex

	mu    sync.Mutex
	rooms *rooms // nil until they are made

	// membership is nil while the island belongs to no network; joining is held
	// by whoever changes that.
	membership atomic.Pointer[membership]
	joining    sync.Mutex

	questions *peer.Codec // in which islands ask each other
}

// New checks the options. It takes no port and opens no file.
func New(opts Options) (*Island, error) {
	if opts.Config == nil {
		return nil, errors.New("BUG: island.Options.Config is missing")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	questions, err := peer.NewCodec()
	if err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	questions.Register(reg)
	var i *Island
	member := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return i.gatherMembership() })
	i = &Island{
		opts:     opts,
		logger:   opts.Logger,
		registry: reg,
		// The remote storage client registers its counters with the default
		// registry, where the runtime's and the process' metrics are too.
		gatherer:  prometheus.Gatherers{reg, member, prometheus.DefaultGatherer},
		health:    health.New(reg),
		metrics:   newMetrics(reg, opts.Version),
		steps:     newStack(opts.Logger),
		started:   time.Now(),
		questions: questions,
		ready:     make(chan struct{}),
		quit:      make(chan struct{}),
	}
	i.reloadFailed = i.health.Declare(health.Warning{
		Code:     "config-reload-refused",
		Severity: health.SeverityWarning,
		Title:    "the configuration on disk was refused, the one from before runs on",
		Remedy:   "correct what the text names, check with `atoll check`, then reload or restart",
	})
	i.sharedLeft = i.health.Declare(health.Warning{
		Code:     "shared-scrape-left-out",
		Severity: health.SeverityWarning,
		Title:    "a shared scrape document does not go together with this island's own configuration and is left out",
		Remedy:   "give its jobs names that no other configuration uses: `atoll edit` the document that the text names",
	})
	i.adopt(i.withShared(opts.Config))
	i.setLogLevel(opts.Config.Log.Level)
	return i, nil
}

// Run makes the rooms, starts them in order and blocks until ctx ends or one of
// them fails; then it stops them in reverse. It returns nil after a clean stop
// that was asked for.
func (i *Island) Run(ctx context.Context) error {
	err := i.start(ctx)
	if err == nil {
		i.logger.Info("island is ready", "name", i.Config().Island.Name, "address", i.Addr(), "took", time.Since(i.started))
		i.metrics.ready.Set(1)
		close(i.ready)
		err = i.wait(ctx)
	} else if ctx.Err() != nil {
		err = nil // stopped while starting
	}
	i.metrics.ready.Set(0)
	i.logger.Info("stopping")
	stopErr := i.steps.stop(stopTimeout)
	if err != nil {
		return err // the rooms that were stopped for it have nothing to add
	}
	return stopErr
}

func (i *Island) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-i.quit:
		return nil
	case err := <-i.steps.failed:
		return err
	}
}

// Ready is closed once the island answers over all of its own data.
func (i *Island) Ready() <-chan struct{} { return i.ready }

func (i *Island) isReady() bool {
	select {
	case <-i.ready:
		return true
	default:
		return false
	}
}

// Addr is host:port of the first HTTP address as bound, or "" before it is.
func (i *Island) Addr() string {
	if r := i.getRooms(); r != nil {
		return r.portal.Addr()
	}
	return ""
}

// Config is the configuration in force.
func (i *Island) Config() *config.Config { return i.config.Load() }

func (i *Island) prometheusConfig() promconfig.Config { return *i.Config().Prometheus }

// gatherMembership adds the metrics of the network that the island belongs to now.
func (i *Island) gatherMembership() ([]*dto.MetricFamily, error) {
	if m := i.membership.Load(); m != nil {
		return m.registry.Gather()
	}
	return nil, nil
}

func (i *Island) adopt(c *config.Config) {
	now := time.Now()
	i.config.Store(c)
	i.loadedAt.Store(&now)
	// Prometheus' own key: GOGC in the environment is its default, else 75.
	debug.SetGCPercent(c.Prometheus.Runtime.GoGC)
	for _, w := range c.Warnings {
		i.logger.Warn("configuration", "warning", w.Error())
	}
}

func (i *Island) setLogLevel(level string) {
	if i.opts.Level == nil {
		return
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		i.logger.Error("set log level", "error", fmt.Errorf("log.level: %w", err))
		return
	}
	i.opts.Level.Set(l)
}

func (i *Island) stopSoon() { i.quitOnce.Do(func() { close(i.quit) }) }
