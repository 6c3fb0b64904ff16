package probe

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// scrapeTimeout is the header in which Prometheus says how long it waits.
const scrapeTimeout = "X-Prometheus-Scrape-Timeout-Seconds"

const (
	// timeoutOffset is what an answer may need on its way back.
	timeoutOffset = 500 * time.Millisecond
	// longestRequest is a probe's whose module and caller set no timeout.
	longestRequest = 120 * time.Second
)

// serveProbe answers GET /probe?target=&module=&hostname=&debug= as
// blackbox_exporter does: one probe, at once, its metrics as the answer.
func (p *Prober) serveProbe(w http.ResponseWriter, r *http.Request) {
	if err := p.limiter.Admit(caller(r)); err != nil {
		p.refuse(w, http.StatusTooManyRequests, "%v", err)
		return
	}
	q := r.URL.Query()
	name := q.Get("module")
	if name == "" {
		name = definition.DefaultModule
	}
	m := p.Modules()[name]
	switch target := q.Get("target"); {
	case m == nil:
		p.refuse(w, http.StatusBadRequest, "Unknown module %q", name)
		return
	case target == "":
		p.refuse(w, http.StatusBadRequest, "Target parameter is missing")
		return
	case p.table[m.Prober] == nil:
		p.refuse(w, http.StatusBadRequest, "Unknown prober %q", m.Prober)
		return
	}
	within, err := requestTimeout(r.Header.Get(scrapeTimeout), m.Timeout)
	if err != nil {
		p.refuse(w, http.StatusBadRequest, "read %s: %v", scrapeTimeout, err)
		return
	}
	if err := p.ledger.note(entry{caller(r), "probe", q.Get("target"), fmt.Sprintf("module %s, from here, by GET %s", name, RequestPath)}); err != nil {
		p.refuse(w, http.StatusServiceUnavailable, "%v", err)
		return
	}
	p.m.requests.WithLabelValues(wasRun).Inc()
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	result := p.probe(ctx, p.table[m.Prober], within, p.guard.For(guard.AdHoc), &protocol.Request{Target: q.Get("target"), Host: q.Get("hostname"), Module: m})
	families := families(result)
	if q.Get("debug") == "true" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(debugText(m, result)) // the client went away
		return
	}
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	w.Header().Set("Content-Type", string(format))
	enc := expfmt.NewEncoder(w, format)
	for _, f := range families {
		if enc.Encode(f) != nil {
			return // the client went away
		}
	}
	if c, ok := enc.(expfmt.Closer); ok {
		_ = c.Close() // as above
	}
}

func (p *Prober) refuse(w http.ResponseWriter, status int, format string, args ...any) {
	p.m.requests.WithLabelValues(wasRefused).Inc()
	http.Error(w, fmt.Sprintf(format, args...), status)
}

// caller is whom rates are counted for: the address that asks.
func caller(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// requestTimeout is the module's timeout, or what is left of the caller's if that
// is less.
func requestTimeout(header string, module time.Duration) (time.Duration, error) {
	within := longestRequest
	if header != "" {
		seconds, err := strconv.ParseFloat(header, 64)
		if err != nil {
			return 0, err
		}
		if seconds > 0 && seconds < longestRequest.Seconds() {
			within = time.Duration(seconds * float64(time.Second))
		}
	}
	if left := within - timeoutOffset; left > 0 {
		within = left
	}
	if module > 0 {
		within = min(within, module)
	}
	return within, nil
}

// debugText tells what a probe did, for people.
func debugText(m *definition.Module, r *protocol.Result) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Result of the probe:\n")
	if r.Up {
		fmt.Fprintf(&b, "up, after %s\n", r.Took)
	} else {
		fmt.Fprintf(&b, "down, after %s, in phase %s: %s\n", r.Took, r.Reason.Phase, r.Reason)
	}
	if r.Address.IsValid() {
		fmt.Fprintf(&b, "address: %s\n", r.Address)
	}
	for phase, took := range r.Phases {
		if took > 0 {
			fmt.Fprintf(&b, "%s: %s\n", protocol.Phase(phase), took)
		}
	}
	fmt.Fprintf(&b, "\n\n\nMetrics that would have been returned:\n")
	for _, f := range families(r) {
		_, _ = expfmt.MetricFamilyToText(&b, f) // into memory
	}
	fmt.Fprintf(&b, "\n\n\nModule configuration:\n")
	text, err := yaml.Marshal(m)
	if err != nil {
		text = []byte(err.Error())
	}
	b.Write(text)
	return []byte(strings.ToValidUTF8(b.String(), "\uFFFD"))
}
