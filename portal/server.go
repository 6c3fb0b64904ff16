package portal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/portal/secure"
)

// Run answers requests until ctx ends, then lets those in flight finish within
// ShutdownTimeout. It calls Listen if nobody has. It returns nil after a clean
// stop; a portal runs once.
func (p *Portal) Run(ctx context.Context) error {
	if err := p.Listen(); err != nil {
		return err
	}
	p.mu.Lock()
	cfg, listeners, tls := p.config, p.listeners, p.tls
	p.mu.Unlock()
	defer p.Close()

	// Requests outlive ctx until the deadline of the shutdown, then this ends them.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()

	group, gctx := errgroup.WithContext(ctx)
	servers := make([]*http.Server, 0, len(listeners))
	for _, l := range listeners {
		// One server per address: the toolkit wraps a server's handler in place.
		srv := p.server(requests, cfg)
		servers = append(servers, srv)
		group.Go(func() error { return p.serve(l, srv, cfg, tls) })
	}
	group.Go(func() error {
		<-gctx.Done()
		return p.stop(servers, time.Duration(cfg.ShutdownTimeout), endRequests)
	})
	return group.Wait()
}

func (p *Portal) server(base context.Context, cfg Config) *http.Server {
	return &http.Server{
		Handler:           p.handler,
		ReadHeaderTimeout: min(headerTimeout, time.Duration(cfg.ReadTimeout)),
		ReadTimeout:       time.Duration(cfg.ReadTimeout),
		IdleTimeout:       time.Duration(cfg.ReadTimeout),
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnState:         p.countConnection,
	}
}

func (p *Portal) countConnection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.metrics.connections.Inc()
	case http.StateClosed, http.StateHijacked:
		p.metrics.connections.Dec()
	}
}

func (p *Portal) serve(l net.Listener, srv *http.Server, cfg Config, tls *secure.TLS) error {
	p.sayListening(l.Addr(), cfg, tls)
	flags := &web.FlagConfig{WebConfigFile: &cfg.WebConfig}
	toolkitLog := slog.New(quieter{Handler: p.log.Handler(), level: slog.LevelWarn})
	err := web.Serve(tls.Wrap(netutil.LimitListener(l, cfg.MaxConnections)), srv, flags, toolkitLog)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
}

// stop ends all servers at once; endRequests cancels what is still in flight
// when the time is up.
func (p *Portal) stop(servers []*http.Server, timeout time.Duration, endRequests func()) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var (
		wg   sync.WaitGroup
		late = make([]bool, len(servers))
	)
	for i, srv := range servers {
		wg.Go(func() { late[i] = srv.Shutdown(ctx) != nil })
	}
	wg.Wait()
	for i, srv := range servers {
		if late[i] {
			p.log.Warn("requests cut off at the shutdown deadline", "timeout", timeout, "in_flight", p.handlers.count())
			// Connections first: a handler that is told to end returns, and what it
			// had written so far would pass for a whole answer.
			_ = srv.Close() // their errors tell nothing more
			endRequests()
		}
	}
	// Closing connections does not wait for handlers, but rooms stop after the
	// portal and must not be called by then.
	if n := p.handlers.wait(afterCut); n > 0 {
		return fmt.Errorf("stop the HTTP server: %d requests ignore that they were cancelled %s ago", n, afterCut)
	}
	return nil
}

// afterCut bounds the wait for handlers whose request was cancelled.
const afterCut = 5 * time.Second

// quieter drops records below a level: the toolkit says twice what serve says.
type quieter struct {
	slog.Handler
	level slog.Level
}

func (q quieter) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= q.level && q.Handler.Enabled(ctx, l)
}

// inFlight counts running handlers. A WaitGroup would not do: requests may
// still begin while a stop begins to wait.
type inFlight struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n falls to 0 while somebody waits
}

func (f *inFlight) enter() {
	f.mu.Lock()
	f.n++
	f.mu.Unlock()
}

func (f *inFlight) leave() {
	f.mu.Lock()
	f.n--
	if f.n == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
	f.mu.Unlock()
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// wait returns how many handlers still run after at most d.
func (f *inFlight) wait(d time.Duration) int {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return 0
	}
	if f.idle == nil {
		f.idle = make(chan struct{})
	}
	idle := f.idle
	f.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	return f.count()
}
