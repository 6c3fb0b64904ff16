package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/portal/openapi"
)

func (p *Portal) routes() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	all := []route{
		{"GET /-/healthy", http.HandlerFunc(p.serveHealthy)},
		{"GET /-/ready", http.HandlerFunc(p.serveReady)},
		{"GET /api/atoll/v1/health", http.HandlerFunc(p.serveHealth)},
		{"GET " + openapi.Path, openapi.Handler()},
	}
	if p.opts.Reload != nil {
		all = append(all,
			route{"POST /-/reload", http.HandlerFunc(p.serveReload)},
			route{"PUT /-/reload", http.HandlerFunc(p.serveReload)})
	}
	if p.opts.Quit != nil && p.opts.Config.AdminAPI {
		all = append(all,
			route{"POST /-/quit", http.HandlerFunc(p.serveQuit)},
			route{"PUT /-/quit", http.HandlerFunc(p.serveQuit)})
	}
	if p.opts.Status != nil {
		all = append(all, route{"GET /api/atoll/v1/status", http.HandlerFunc(p.serveStatus)})
	}
	if p.opts.Gatherer != nil {
		all = append(all, route{"GET /metrics", p.metricsHandler()})
	}
	page, err := p.pageRoutes()
	if err != nil {
		return nil, err
	}
	all = append(all, page...)
	all = append(all, p.pprofRoutes()...)
	if p.opts.Access != nil {
		for pattern, h := range p.opts.Access.Routes() {
			all = append(all, route{pattern, h})
		}
	}
	for pattern, h := range p.opts.Routes {
		all = append(all, route{pattern, h})
	}
	for _, r := range all {
		if err := r.addTo(mux); err != nil {
			return nil, err
		}
		p.patterns = append(p.patterns, r.pattern)
	}
	return mux, nil
}

type route struct {
	pattern string
	handler http.Handler
}

// addTo turns the mux's panics into errors: patterns come from other rooms.
func (r route) addTo(mux *http.ServeMux) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("route %q: %v", r.pattern, cause)
		}
	}()
	if r.handler == nil {
		return fmt.Errorf("route %q: the handler is nil", r.pattern)
	}
	mux.Handle(r.pattern, r.handler)
	return nil
}

func (p *Portal) serveHealthy(w http.ResponseWriter, _ *http.Request) {
	if p.opts.Healthy != nil {
		if err := p.opts.Healthy(); err != nil {
			http.Error(w, "not healthy: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	answerText(w, "healthy\n")
}

func (p *Portal) isReady() bool { return p.opts.Ready == nil || p.opts.Ready() }

func (p *Portal) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !p.isReady() {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "not ready: the island is still starting", http.StatusServiceUnavailable)
		return
	}
	answerText(w, "ready\n")
}

func (p *Portal) serveReload(w http.ResponseWriter, r *http.Request) {
	// A client that hangs up must not leave a reload half considered.
	if err := p.opts.Reload(context.WithoutCancel(r.Context())); err != nil {
		http.Error(w, "reload refused:\n"+err.Error()+"\nthe configuration from before runs on", http.StatusInternalServerError)
		return
	}
	answerText(w, "reloaded\n")
}

func (p *Portal) serveQuit(w http.ResponseWriter, r *http.Request) {
	p.log.Info("asked to stop over HTTP", "client", r.RemoteAddr)
	answerText(w, "stopping\n")
	p.opts.Quit()
}

func (p *Portal) serveStatus(w http.ResponseWriter, _ *http.Request) {
	s := p.opts.Status()
	s.Ready = p.isReady()
	s.Addresses = p.Addrs()
	s.TLS = p.tlsStatus()
	p.answerJSON(w, s)
}

func (p *Portal) serveHealth(w http.ResponseWriter, _ *http.Request) {
	answer := HealthAnswer{Active: []health.Active{}}
	if p.opts.Health != nil {
		answer.Active = p.opts.Health.Active()
	}
	if len(answer.Active) > 0 {
		answer.Worst = answer.Active[0].Severity // sorted, the worst first
	}
	p.answerJSON(w, answer)
}

func (p *Portal) metricsHandler() http.Handler {
	return promhttp.HandlerFor(p.opts.Gatherer, promhttp.HandlerOpts{
		// One broken collector must not hide all others from monitoring.
		ErrorHandling:     promhttp.ContinueOnError,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelError),
		Registry:          p.opts.Registerer,
		EnableOpenMetrics: true,
	})
}

// pprofRoutes are always registered so that a reload can switch them.
func (p *Portal) pprofRoutes() []route {
	behindFlag := func(h http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !p.pprof.Load() {
				http.Error(w, "profiles are off: set http.pprof to true", http.StatusNotFound)
				return
			}
			h(w, r)
		})
	}
	return []route{
		{"GET /debug/pprof/", behindFlag(pprof.Index)},
		{"GET /debug/pprof/cmdline", behindFlag(pprof.Cmdline)},
		{"GET /debug/pprof/profile", behindFlag(pprof.Profile)},
		{"GET /debug/pprof/symbol", behindFlag(pprof.Symbol)},
		{"POST /debug/pprof/symbol", behindFlag(pprof.Symbol)},
		{"GET /debug/pprof/trace", behindFlag(pprof.Trace)},
	}
}

func answerText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // the client is gone if this errs
}

func (p *Portal) answerJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		p.log.Error("encode an answer", "type", fmt.Sprintf("%T", v), "err", err)
		http.Error(w, "internal error: the answer cannot be encoded, see the island's log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(slices.Concat(body, []byte("\n"))) // the client is gone if this errs
}
