package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// service is one process of the shop, as far as HTTP can tell.
type service struct {
	Name string
	at   int // its place
	*server

	metrics *serviceMetrics
	mux     *http.ServeMux
}

// shop is frontend → cart → payment. Payment breaks during bursts; cart then
// accepts orders all the same and queues their payment.
type shop struct {
	services []*service
	world    *world
	clients  []*http.Client // by where they are
	log      *slog.Logger

	schedule atomic.Pointer[schedule]
	queue    atomic.Int64 // postponed payments
	worker   context.CancelFunc
	stopped  chan struct{}
}

// Where the services of the shop are, by the order of places.
const (
	frontendAt = iota
	cartAt
	paymentAt
	shopPlaces
)

func openShop(world *world, logger *slog.Logger) (*shop, error) {
	s := &shop{world: world, log: logger, stopped: make(chan struct{})}
	for at := range shopPlaces {
		s.clients = append(s.clients, &http.Client{
			Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32, DialContext: world.dialFrom(at)},
		})
	}
	payment, err := s.open("payment", paymentAt, func(svc *service) {
		svc.handle("POST /charge", s.charge)
	})
	if err != nil {
		return nil, err
	}
	cart, err := s.open("cart", cartAt, func(svc *service) {
		svc.handle("GET /cart", work(4*time.Millisecond, 0.5))
		svc.handle("POST /cart", work(7*time.Millisecond, 0.5))
		svc.handle("POST /order", s.order(payment))
		svc.metrics.registerer("cart").MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_queue_length",
			Help: "Orders whose payment was postponed.",
		}, func() float64 { return float64(s.queue.Load()) }))
	})
	if err != nil {
		s.closeServers()
		return nil, err
	}
	if _, err = s.open("frontend", frontendAt, func(svc *service) {
		svc.handle("GET /{$}", work(3*time.Millisecond, 0.4))
		svc.handle("GET /product/{id}", work(9*time.Millisecond, 0.6))
		svc.handle("GET /cart", s.forward(frontendAt, cart, http.MethodGet, "/cart"))
		svc.handle("POST /cart", s.forward(frontendAt, cart, http.MethodPost, "/cart"))
		svc.handle("POST /checkout", s.forward(frontendAt, cart, http.MethodPost, "/order"))
	}); err != nil {
		s.closeServers()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.worker = cancel
	go func() {
		defer close(s.stopped)
		s.drainQueue(ctx, payment)
	}()
	return s, nil
}

func (s *shop) open(name string, at int, routes func(*service)) (*service, error) {
	svc := &service{Name: name, at: at, metrics: newServiceMetrics(name), mux: http.NewServeMux()}
	svc.mux.Handle("GET /metrics", svc.metrics.handler())
	routes(svc)
	srv, err := serve(svc.mux, s.log)
	if err != nil {
		return nil, fmt.Errorf("start the shop's %s: %w", name, err)
	}
	svc.server = srv
	s.world.put(svc.Addr(), at)
	s.services = append(s.services, svc)
	return svc, nil
}

func (s *shop) setSchedule(sch schedule) { s.schedule.Store(&sch) }

func (s *shop) broken() bool {
	sch := s.schedule.Load()
	if sch == nil {
		return false
	}
	on, _ := sch.burst(time.Now())
	return on
}

// in lists the services at a place.
func (s *shop) in(at int) (out []*service) {
	for _, svc := range s.services {
		if svc.at == at {
			out = append(out, svc)
		}
	}
	return out
}

func (s *shop) entrance() *service { return s.services[len(s.services)-1] }

func (s *shop) close() {
	s.worker()
	<-s.stopped
	s.closeServers()
}

func (s *shop) closeServers() {
	for i := len(s.services) - 1; i >= 0; i-- { // callers before whom they call
		s.services[i].close()
	}
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// answer handles a request and returns its status code.
type answer func(r *http.Request) int

// handle measures an answer under the route's pattern without its method.
func (svc *service) handle(pattern string, a answer) {
	// Errors are counted from zero, or a ratio would have no value until the first.
	svc.metrics.requests.WithLabelValues(routeOf(pattern), "500")
	svc.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		svc.metrics.inFlight.Inc()
		defer svc.metrics.inFlight.Dec()
		code := a(r)
		w.WriteHeader(code)
		svc.metrics.observe(routeOf(pattern), code, time.Since(start), r.Header.Get(traceHeader))
	})
}

const traceHeader = "X-Trace-Id"

// work answers 200 after a time around typical; spread is the sigma of its
// logarithm: most are quick, a few are slow, as in life.
func work(typical time.Duration, spread float64) answer {
	return func(r *http.Request) int {
		pause(r.Context(), time.Duration(float64(typical)*math.Exp(spread*rand.NormFloat64())))
		return http.StatusOK
	}
}

// charge fails for two in five while the shop is broken, and is slow.
func (s *shop) charge(r *http.Request) int {
	if !s.broken() {
		return work(30*time.Millisecond, 0.4)(r)
	}
	work(120*time.Millisecond, 0.5)(r)
	if rand.Float64() < 0.4 {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

// forward does a little work and asks the next service.
func (s *shop) forward(from int, next *service, method, path string) answer {
	return func(r *http.Request) int {
		work(2*time.Millisecond, 0.4)(r)
		code, err := s.call(r.Context(), from, next, method, path, r.Header.Get(traceHeader))
		if err != nil {
			return http.StatusBadGateway
		}
		return code
	}
}

// order pays now or, if payment fails, later.
func (s *shop) order(payment *service) answer {
	return func(r *http.Request) int {
		work(6*time.Millisecond, 0.4)(r)
		code, err := s.call(r.Context(), cartAt, payment, http.MethodPost, "/charge", r.Header.Get(traceHeader))
		if err != nil || code != http.StatusOK {
			s.queue.Add(1)
			return http.StatusAccepted
		}
		return http.StatusCreated
	}
}

// drainQueue pays what was postponed, one payment at a time.
func (s *shop) drainQueue(ctx context.Context, payment *service) {
	for pause(ctx, 700*time.Millisecond) {
		if s.queue.Load() == 0 {
			continue
		}
		if code, err := s.call(ctx, cartAt, payment, http.MethodPost, "/charge", newTrace()); err == nil && code == http.StatusOK {
			s.queue.Add(-1)
		}
	}
}

func (s *shop) call(ctx context.Context, from int, to *service, method, path, trace string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.url()+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set(traceHeader, trace)
	resp, err := s.clients[from].Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

func newTrace() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
