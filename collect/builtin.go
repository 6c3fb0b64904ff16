package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"

	"github.com/atoll-mesh/atoll/collect/cgroup"
	"github.com/atoll-mesh/atoll/collect/host"
)

// The names of the built-in jobs. A user's job of the same name replaces the
// built-in one.
const (
	jobSelf   = "atoll"
	jobHost   = "node"
	jobCgroup = "cgroup"
)

// builtins serves the built-in jobs' metrics on a socket and describes how to
// scrape them.
//
// It uses upstream's __unix_socket__ label and not a dial function in
// scrape.Options, because such a function would replace the one by which
// upstream reaches the users' own unix-socket targets.
type builtins struct {
	socket   string
	instance string
	logger   *slog.Logger
	metrics  *metrics
	mux      *http.ServeMux
	host     *host.Collector
	cgroup   *cgroup.Collector
}

func newBuiltins(o Options, m *metrics) (*builtins, error) {
	socket, err := newSocketName()
	if err != nil {
		return nil, err
	}
	b := &builtins{socket: socket, instance: o.InstanceName, logger: o.Logger, metrics: m, mux: http.NewServeMux()}
	if b.host, err = host.New(host.Options{Config: hostConfig(o.Config.Host, o.Prometheus.GlobalConfig), Logger: o.Logger, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	if b.cgroup, err = cgroup.New(cgroup.Options{Config: o.Config.Cgroup, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	b.handle(jobSelf, o.Gatherer)
	for job, c := range map[string]prometheus.Collector{jobHost: b.host, jobCgroup: b.cgroup} {
		reg := prometheus.NewRegistry()
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering the collector of job %q: %w", job, err)
		}
		b.handle(job, reg)
	}
	return b, nil
}

// hostConfig lets a slow host collector cost at most four fifths of the time
// that the scrape has: what the others found must still arrive.
func hostConfig(c host.Config, global promconfig.GlobalConfig) host.Config {
	interval := c.Interval
	if interval == 0 {
		interval = global.ScrapeInterval
	}
	c.Timeout = min(c.Timeout, min(global.ScrapeTimeout, interval)*4/5)
	return c
}

// maxConcurrentScrapes per job: one by the scrape manager, one left over from
// a scrape that timed out.
const maxConcurrentScrapes = 2

func (b *builtins) handle(job string, g prometheus.Gatherer) {
	b.mux.Handle("/"+job+"/metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(b.logger.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxConcurrentScrapes,
		DisableCompression:  true,
	}))
}

// job is one built-in job as the configuration wants it.
type job struct {
	name     string
	enabled  bool
	interval model.Duration
}

func jobsOf(c Config) []job {
	return []job{
		{jobSelf, c.Self.Enabled, c.Self.Interval},
		{jobHost, c.Host.Enabled, c.Host.Interval},
		{jobCgroup, c.Cgroup.Enabled && cgroup.Readable(c.Cgroup.Root), c.Cgroup.Interval},
	}
}

// scrapeConfig describes a built-in job as if the user had written it.
func (b *builtins) scrapeConfig(j job, global promconfig.GlobalConfig) (*promconfig.ScrapeConfig, error) {
	// The global limits are meant for strangers.
	global.SampleLimit, global.TargetLimit, global.BodySizeLimit = 0, 0, 0
	global.LabelLimit, global.LabelNameLengthLimit, global.LabelValueLengthLimit = 0, 0, 0

	sc := promconfig.DefaultScrapeConfig
	sc.JobName = j.name
	sc.ScrapeInterval = j.interval
	sc.MetricsPath = "/" + j.name + "/metrics"
	sc.EnableCompression = false
	sc.ServiceDiscoveryConfigs = discovery.Configs{discovery.StaticConfig{{
		Source:  "0",
		Targets: []model.LabelSet{{model.AddressLabel: "island"}},
		Labels: model.LabelSet{
			scrape.UnixSocketLabel: model.LabelValue(b.socket),
			model.InstanceLabel:    model.LabelValue(b.instance),
		},
	}}}
	if err := sc.Validate(global); err != nil {
		return nil, fmt.Errorf("describing the built-in job %q: %w", j.name, err)
	}
	return &sc, nil
}

// serve answers scrapes until ctx ends.
func (b *builtins) serve(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", b.socket)
	if err != nil {
		return fmt.Errorf("listening on socket %s of the built-in jobs: %w", b.socket, err)
	}
	srv := &http.Server{
		Handler:           b.mux,
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(b.logger.Handler(), slog.LevelDebug),
	}
	var closing atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		closing.Store(true)
		_ = srv.Close()
	})
	defer stop()
	if err := srv.Serve(&privateListener{Listener: l, b: b}); !errors.Is(err, http.ErrServerClosed) && !closing.Load() {
		return fmt.Errorf("serving the built-in jobs on socket %s: %w", b.socket, err)
	}
	return nil
}

// privateListener lets only this process in.
type privateListener struct {
	net.Listener
	b *builtins
}

// Accept implements net.Listener.
func (p *privateListener) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := ownPeer(conn); err != nil {
			p.b.metrics.foreignConnections.Inc()
			p.b.logger.Debug("refused a connection to the built-in jobs", "err", err)
			_ = conn.Close()
			continue
		}
		return conn, nil
	}
}
