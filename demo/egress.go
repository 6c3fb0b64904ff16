package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"
)

// egress is an island's way out, an HTTP proxy as many companies have one: what is
// asked through it is as far as the place where it stands. During the fault one site
// does not answer through it.
type egress struct {
	*server
	from   int
	world  *world
	client *http.Transport

	mu      sync.Mutex
	tunnels map[net.Conn]bool
	wg      sync.WaitGroup
}

// world is what stands where, and what does not reach what.
type world struct {
	trips roundTrips
	log   *slog.Logger

	mu     sync.Mutex
	stands map[string]int // by host:port
	fault  fault
}

// fault is a site that cannot be reached from one place while it is due.
type fault struct {
	site     string
	from     int
	schedule schedule
}

func newWorld(trips roundTrips, log *slog.Logger) *world {
	return &world{trips: trips, log: log, stands: map[string]int{}}
}

// put says where an address is.
func (w *world) put(address string, at int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stands[address] = at
}

func (w *world) setFault(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// way says how far an address is from a place, and whether bytes get there. What
// nobody put anywhere is here.
func (w *world) way(from int, address string) (trip time.Duration, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	open = true
	if f := w.fault; f.site == address && f.from == from {
		on, _ := f.schedule.burst(time.Now())
		open = !on
	}
	if to, ok := w.stands[address]; ok {
		return w.trips.between(from, to), open
	}
	return 0, open
}

// dial connects from a place to an address, in the time that it takes. A way that is
// closed swallows what is sent: no refusal comes back.
func (w *world) dial(ctx context.Context, from int, address string) (net.Conn, error) {
	trip, open := w.way(from, address)
	if !open {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return dialFar(ctx, address, trip)
}

// dialFrom is the dial function of an HTTP client at a place.
func (w *world) dialFrom(from int) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) { return w.dial(ctx, from, address) }
}

func openEgress(w *world, from int) (*egress, error) {
	// Nobody else's proxy and no connection that was there before: each probe pays the
	// whole way.
	e := &egress{
		from: from, world: w, tunnels: map[net.Conn]bool{},
		client: &http.Transport{DialContext: w.dialFrom(from), DisableKeepAlives: true},
	}
	pass := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: e.client, ErrorHandler: func(rw http.ResponseWriter, r *http.Request, err error) {
		w.log.Debug("no answer through a way out", "url", r.URL, "err", err)
		rw.WriteHeader(http.StatusBadGateway)
	}}
	srv, err := serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host := r.Host
		if r.Method != http.MethodConnect {
			host = r.URL.Host
		}
		switch to, err := netip.ParseAddrPort(host); {
		case err != nil || !to.Addr().IsLoopback():
			http.Error(rw, fmt.Sprintf("%q is not on this machine; the demo asks nobody else", host), http.StatusForbidden)
		case r.Method == http.MethodConnect:
			e.connect(rw, r)
		default:
			pass.ServeHTTP(rw, r)
		}
	}), w.log)
	if err != nil {
		return nil, fmt.Errorf("open an island's way out: %w", err)
	}
	e.server = srv
	return e, nil
}

func (e *egress) close() {
	e.server.close()
	e.mu.Lock()
	for c := range e.tunnels {
		_ = c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
	e.client.CloseIdleConnections()
}

// connect opens a tunnel.
func (e *egress) connect(rw http.ResponseWriter, r *http.Request) {
	far, err := e.world.dial(r.Context(), e.from, r.Host)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer near.Close()
	e.mu.Lock()
	e.tunnels[near] = true
	e.wg.Add(1)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.tunnels, near)
		e.mu.Unlock()
		e.wg.Done()
	}()
	if _, err := io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n"); err == nil {
		splice(near, far, 0) // the distance is in far
	}
}
