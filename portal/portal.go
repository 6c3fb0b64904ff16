package portal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/portal/secure"
)

// Options is what island hands over. Only Config is needed; what is nil is
// either left out (Reload, Quit, Status: 404) or always well (Ready, Healthy).
type Options struct {
	Config Config
	// Dir keeps keys and certificates; empty: what the island makes itself is kept
	// in memory only.
	Dir        string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Gatherer is served at /metrics.
	Gatherer prometheus.Gatherer
	// Routes maps patterns of http.ServeMux to handlers of other rooms. The
	// pattern, without method, becomes a label value of the request metrics.
	Routes map[string]http.Handler
	// Ready reports whether the island answers over all of its own data.
	Ready func() bool
	// Healthy returns what makes the process unfit to live on, or nil.
	Healthy func() error
	Health  *health.List
	// Reload loads the configuration again; on error the old one runs on. It may
	// be called by several requests at once.
	Reload func(ctx context.Context) error
	// Quit asks the island to stop; it is served only with Config.AdminAPI.
	Quit func()
	// Status reports how the island is; the portal adds Ready and Addresses.
	Status func() Status
	// Access stands before every route. Nil lets everybody do everything.
	Access *access.Access
}

// Portal is one HTTP server on one or more addresses.
type Portal struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	handler http.Handler
	// patterns are those of all routes, in no order.
	patterns []string
	hosts    []string // host names that are ours besides IP addresses and localhost
	pprof    atomic.Bool
	people   webUsers

	handlers inFlight

	mu        sync.Mutex
	config    Config // what runs
	listeners []net.Listener
	tls       *secure.TLS // nil where all is plain, or the web config file has it
}

// New checks the configuration and the routes. It takes no port.
func New(opts Options) (*Portal, error) {
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	external, err := opts.Config.externalURL()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of the portal: %w", err)
	}
	p := &Portal{opts: opts, log: opts.Logger, metrics: m, config: opts.Config}
	m.limit.Set(float64(opts.Config.MaxConnections * len(opts.Config.Listen)))
	p.pprof.Store(opts.Config.Pprof)
	p.people.path = opts.Config.WebConfig
	if external != nil {
		p.hosts = append(p.hosts, external.Hostname())
	}
	mux, err := p.routes()
	if err != nil {
		return nil, err
	}
	p.handler, err = p.protect(mux, external)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Patterns are those of http.ServeMux that the portal answers, in no order.
func (p *Portal) Patterns() []string { return slices.Clone(p.patterns) }

// Handler answers every route, as the server does, without TLS and passwords.
func (p *Portal) Handler() http.Handler { return p.handler }

// Listen checks the web config file and takes every address, or none.
func (p *Portal) Listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.listeners) > 0 {
		return nil
	}
	if err := checkWebConfig(p.config.WebConfig); err != nil {
		return err
	}
	if err := p.encryptLocked(); err != nil {
		return err
	}
	for i, addr := range p.config.Listen {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			p.closeListenersLocked()
			return fmt.Errorf("listen on http.listen[%d] %q: %w; stop what uses the address, or configure another", i, addr, err)
		}
		p.listeners = append(p.listeners, l)
	}
	return nil
}

func checkWebConfig(path string) error {
	if path == "" {
		return nil
	}
	if err := web.Validate(path); err != nil {
		return fmt.Errorf("read http.web_config %q: %w", path, err)
	}
	return nil
}

// Close gives the addresses back. It is for a portal that listens but is not
// run; Run closes what it serves.
func (p *Portal) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeListenersLocked()
	return nil
}

func (p *Portal) closeListenersLocked() {
	for _, l := range p.listeners {
		// A listener that Run has closed already answers with an error that
		// tells nothing.
		_ = l.Close()
	}
	p.listeners = nil
}

// Addr is host:port of the first address, as bound, or "" before Listen.
func (p *Portal) Addr() string {
	if addrs := p.Addrs(); len(addrs) > 0 {
		return addrs[0]
	}
	return ""
}

// Addrs are all addresses as bound, in the order of Config.Listen.
func (p *Portal) Addrs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	addrs := make([]string, 0, len(p.listeners))
	for _, l := range p.listeners {
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// Prepare checks a new configuration and the present web config file. Only pprof
// changes live; other differences are refused by name.
func (p *Portal) Prepare(next Config) (commit, discard func(), err error) {
	if err := next.Validate(); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.config.fixed(next); err != nil {
		return nil, nil, err
	}
	if err := checkWebConfig(next.WebConfig); err != nil {
		return nil, nil, err
	}
	if err := next.oneTLS(); err != nil {
		return nil, nil, err
	}
	commit = func() {
		p.pprof.Store(next.Pprof)
		p.mu.Lock()
		p.config = next
		p.mu.Unlock()
	}
	return commit, func() {}, nil
}

// fixed refuses what cannot change while the server runs.
func (c Config) fixed(next Config) error {
	var errs []error
	refuse := func(field string, before, after any) {
		errs = append(errs, fmt.Errorf("http.%s: cannot change while running: is %v, would be %v; restart the island for it", field, before, after))
	}
	if !slices.Equal(c.Listen, next.Listen) {
		refuse("listen", c.Listen, next.Listen)
	}
	if c.WebConfig != next.WebConfig {
		refuse("web_config", fmt.Sprintf("%q", c.WebConfig), fmt.Sprintf("%q", next.WebConfig))
	}
	if !reflect.DeepEqual(c.TLS, next.TLS) {
		errs = append(errs, errors.New("http.tls: cannot change while running, but for the contents of its files; restart the island for it"))
	}
	if c.ExternalURL != next.ExternalURL {
		refuse("external_url", fmt.Sprintf("%q", c.ExternalURL), fmt.Sprintf("%q", next.ExternalURL))
	}
	if c.AdminAPI != next.AdminAPI {
		refuse("admin_api", c.AdminAPI, next.AdminAPI)
	}
	if c.ReadTimeout != next.ReadTimeout {
		refuse("read_timeout", c.ReadTimeout, next.ReadTimeout)
	}
	if c.ShutdownTimeout != next.ShutdownTimeout {
		refuse("shutdown_timeout", c.ShutdownTimeout, next.ShutdownTimeout)
	}
	if c.MaxConnections != next.MaxConnections {
		refuse("max_connections", c.MaxConnections, next.MaxConnections)
	}
	if !reflect.DeepEqual(c.Config, next.Config) {
		errs = append(errs, errors.New("http.anonymous, session_idle, session_max, oidc: cannot change while running; restart the island for them"))
	}
	return errors.Join(errs...)
}

// URL is the external URL, or http(s)://HOST:PORT of the first address as bound.
// A wildcard host is shown as localhost. Nil before Listen without external URL.
func (p *Portal) URL() *url.URL {
	p.mu.Lock()
	cfg, tls := p.config, p.tls
	p.mu.Unlock()
	if u, err := cfg.externalURL(); err == nil && u != nil {
		return u
	}
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		return nil
	}
	ip := net.ParseIP(host)
	if ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	local := host == "localhost" || ip != nil && ip.IsLoopback()
	if servesTLS(cfg.WebConfig) || tls != nil && (!local || !tls.SparesLoopback()) {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}
}

// headerTimeout bounds reading the headers: no honest client needs longer.
const headerTimeout = 15 * time.Second
