package portal

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/portal/secure"
)

// protect wraps the routes, from the outside in: measure and recover, refuse
// foreign host names, refuse other sites' pages, set headers, refuse who may not.
func (p *Portal) protect(mux http.Handler, external *url.URL) (http.Handler, error) {
	crossOrigin := http.NewCrossOriginProtection()
	if external != nil {
		// Behind a proxy that rewrites Host, Origin is the only thing to go by.
		if err := crossOrigin.AddTrustedOrigin(external.Scheme + "://" + external.Host); err != nil {
			return nil, err
		}
	}
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.metrics.refused.WithLabelValues(refusedCrossSite).Inc()
		http.Error(w, "refused: another site's page sent this request; if it is a proxy of this island, set http.external_url", http.StatusForbidden)
	}))
	if p.opts.Access != nil {
		mux = p.opts.Access.Guard(mux, p.zone)
	}
	return p.measured(p.ownHost(crossOrigin.Handler(withHeaders(mux)))), nil
}

func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// ownHost refuses public host names on unencrypted loopback connections. A page
// of any site can point its own name at 127.0.0.1 and would then be of "the same
// origin"; the name in Host is what gives it away.
func (p *Portal) ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if addr == nil || r.TLS != nil || !secure.Loopback(addr) || p.isOwnHost(r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		p.metrics.refused.WithLabelValues(refusedHost).Inc()
		http.Error(w, "refused: this island is not known as "+strconv.Quote(r.Host)+
			"; ask by IP address or localhost, or set http.external_url to that name", http.StatusMisdirectedRequest)
	})
}

// isOwnHost accepts what no stranger can register: addresses, names without a
// dot, the private top-level domains, and the configured name.
func (p *Portal) isOwnHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		return true
	}
	for _, private := range []string{".localhost", ".internal", ".local"} {
		if strings.HasSuffix(host, private) {
			return true
		}
	}
	for _, own := range p.hosts {
		if strings.EqualFold(host, own) {
			return true
		}
	}
	// Asked for per request because it may change; it is one cheap system call
	// on a path that honest requests do not reach.
	name, err := os.Hostname()
	return err == nil && strings.EqualFold(host, name)
}

// measured times each request, keeps the server alive when a handler panics and
// counts what is in flight.
func (p *Portal) measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		p.handlers.enter()
		p.metrics.inFlight.Inc()
		sw := &statusWriter{ResponseWriter: w}
		if len(r.TransferEncoding) > 0 {
			// There may have been a length too, by which a proxy in front would see
			// the request end elsewhere: what follows must not pass for another one.
			w.Header().Set("Connection", "close")
		}
		defer func() {
			defer p.handlers.leave()
			p.metrics.inFlight.Dec()
			cause := recover()
			if err, _ := cause.(error); cause != nil && !errors.Is(err, http.ErrAbortHandler) {
				p.metrics.panics.Inc()
				p.log.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
				if sw.code == 0 {
					http.Error(sw, "internal error: the cause is in the island's log", http.StatusInternalServerError)
					cause = nil
				} else {
					// Half an answer is out: break the connection so that the
					// client does not take it for whole.
					cause = http.ErrAbortHandler
				}
			}
			p.metrics.duration.WithLabelValues(handlerLabel(r), codeLabel(sw.code)).Observe(time.Since(start).Seconds())
			if cause != nil {
				panic(cause)
			}
		}()
		next.ServeHTTP(sw, r)
	})
}

// handlerLabel is the route's pattern without its method. The mux notes it in
// the request; what matched no route shares one value.
func handlerLabel(r *http.Request) string {
	pattern := r.Pattern
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	if pattern == "" {
		return "other"
	}
	return strings.TrimSuffix(pattern, "{$}")
}

func codeLabel(code int) string {
	switch {
	case code == 0:
		return "200" // net/http's choice when a handler writes nothing
	case code < 100 || code > 599:
		return "other"
	}
	return strconv.Itoa(code)
}

// statusWriter remembers the status code.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	// 1xx are not the answer yet, except that 101 ends HTTP.
	if w.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush serves handlers that ask for http.Flusher, as chunked remote read does.
func (w *statusWriter) Flush() {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	// The controller finds the flusher through wrappers; one that cannot flush
	// buffers, which is all the interface promises.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach deadlines and full duplex.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
