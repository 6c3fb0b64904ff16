package receive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/prometheus/storage/remote"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/atoll-mesh/atoll/flow"
)

const (
	mediaProtobuf = "application/x-protobuf"
	mediaJSON     = "application/json"
)

// otlp puts bounds around Prometheus' OTLP handler, and finds out what of a
// request was stored.
type otlp struct {
	cfg     OTLPConfig
	logger  *slog.Logger
	metrics *metrics
	mine    *protocolMetrics
	gate    gate
	next    http.Handler
}

// NewOTLP returns the handler for OTLP metrics over HTTP, as protobuf or JSON,
// plain or gzip. The translation is Prometheus'; its own metrics
// (prometheus_api_otlp_*) go to the registerer as well, so that a registerer may
// be given to one OTLP receiver only.
func NewOTLP(o Options) http.Handler {
	if !o.Config.OTLP.Enabled {
		return disabled("OTLP", "collect.receive.otlp.enabled")
	}
	m := newMetrics(o.Registerer)
	lookback := o.LookbackDelta
	if lookback == 0 {
		lookback = 5 * time.Minute
	}
	outcomes := &outcomeAppendable{next: o.Appendable, limits: o.Config.OTLP.Limits}
	return &otlp{
		cfg:     o.Config.OTLP,
		logger:  o.Logger,
		metrics: m,
		mine:    m.of(protocolOTLP),
		gate:    gate{limits: o.Config.OTLP.Limits},
		next: remote.NewOTLPWriteHandler(slog.New(slog.DiscardHandler), o.Registerer, outcomes, o.ConfigFunc,
			remote.OTLPOptions{LookbackDelta: lookback}),
	}
}

// ServeHTTP answers 200, with partial_success in the body if some was refused
// for good; 4xx for what can never be stored; 5xx, with Retry-After where that
// helps, if nothing was stored that might have been.
func (h *otlp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	media, no := negotiateOTLP(r)
	if no != nil {
		h.refuse(w, no)
		return
	}
	t, no := h.gate.enter()
	if no != nil {
		h.refuse(w, no)
		return
	}
	defer t.leave()
	inFlight := h.metrics.inFlight.WithLabelValues(protocolOTLP)
	inFlight.Inc()
	defer inFlight.Dec()
	defer func(start time.Time) { h.mine.duration.Observe(time.Since(start).Seconds()) }(time.Now())

	body, no := h.readBody(t, r)
	if no != nil {
		h.refuse(w, no)
		return
	}
	o := &outcome{}
	answer, no := h.translate(r, media, body, o)
	if no == nil {
		no = o.judge(answer)
		o.problems.count(h.metrics, protocolOTLP)
	}
	if no != nil {
		h.refuse(w, no)
		return
	}
	h.mine.floats.Add(float64(o.floats))
	h.mine.histograms.Add(float64(o.histograms))
	h.succeed(w, media, o)
}

func (h *otlp) refuse(w http.ResponseWriter, no *refusal) {
	if no.reason != "" { // else its reasons are counted one by one
		h.metrics.rejected.WithLabelValues(protocolOTLP, no.reason).Inc()
	}
	h.metrics.answered(protocolOTLP, no.status)
	level := slog.LevelDebug
	if no.status == http.StatusInternalServerError || no.reason == reasonPanic {
		level = slog.LevelError
	}
	h.logger.Log(context.Background(), level, "otlp request refused", "status", no.status, "reason", no.reason, "err", no.err)
	no.write(w)
}

func negotiateOTLP(r *http.Request) (media string, no *refusal) {
	if r.Method != http.MethodPost {
		return "", refuse(http.StatusMethodNotAllowed, reasonMethod, "receiving OTLP: got method %s, must be POST", r.Method)
	}
	contentType := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != mediaProtobuf && media != mediaJSON {
		return "", refuse(http.StatusUnsupportedMediaType, reasonMediaType, "receiving OTLP: got Content-Type %.64q, must be %s or %s", contentType, mediaProtobuf, mediaJSON)
	}
	switch e := r.Header.Get("Content-Encoding"); e {
	case "", "identity", "gzip":
		return media, nil
	default:
		return "", refuse(http.StatusUnsupportedMediaType, reasonEncoding, "receiving OTLP: got Content-Encoding %.64q, must be gzip or none", e)
	}
}

// readBody returns the body decompressed, and reserves what it will grow to.
func (h *otlp) readBody(t *ticket, r *http.Request) ([]byte, *refusal) {
	body, no := t.readBody(r, nil)
	if no != nil {
		return nil, no
	}
	h.mine.wireBytes.Add(float64(len(body)))
	limit := h.cfg.MaxDecodedBytes
	if r.Header.Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, refuse(http.StatusBadRequest, reasonMalformed, "decompressing the body: %w", err)
		}
		var plain bytes.Buffer
		if _, err = io.Copy(&plain, &meteredReader{r: io.LimitReader(zr, int64(limit)+1), ticket: t}); err != nil {
			if full, ok := err.(*refusal); ok { //nolint:errorlint // made below, never wrapped
				return nil, full
			}
			return nil, refuse(http.StatusBadRequest, reasonMalformed, "decompressing the body: %w", err)
		}
		body = plain.Bytes()
	}
	if len(body) > int(limit) {
		return nil, refuse(http.StatusRequestEntityTooLarge, reasonDecodedTooLarge,
			"decoding the body: it has more than %s (max_decoded_bytes); send smaller batches", limit.Short())
	}
	h.mine.decodedBytes.Add(float64(len(body)))
	return body, t.reserve((otlpExpansion - 1) * int64(len(body)))
}

// meteredReader reserves what is read.
type meteredReader struct {
	r      io.Reader
	ticket *ticket
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if full := m.ticket.reserve(int64(n)); full != nil {
		return n, full
	}
	return n, err
}

// translate runs Prometheus' handler on the plain body. A panic in there is the
// fault of content it did not expect, which would come again with each retry.
func (h *otlp) translate(r *http.Request, media string, body []byte, o *outcome) (a *answer, no *refusal) {
	defer func() {
		if p := recover(); p != nil {
			o.abandon()
			h.logger.Error("panic while translating an otlp request", "panic", p, "stack", string(debug.Stack()))
			no = refuse(http.StatusBadRequest, reasonPanic, "translating the request: its content cannot be translated; nothing of it is stored")
		}
	}()
	inner := r.Clone(context.WithValue(flow.WithSender(r.Context(), senderOf(r)), outcomeKey{}, o))
	inner.Body = io.NopCloser(bytes.NewReader(body))
	inner.ContentLength = int64(len(body))
	inner.Header.Set("Content-Type", media)
	inner.Header.Del("Content-Encoding")
	a = &answer{header: http.Header{}, status: http.StatusOK}
	h.next.ServeHTTP(a, inner)
	return a, nil
}

// answer takes what the inner handler says.
type answer struct {
	header http.Header
	status int
	text   strings.Builder
}

const maxAnswerBytes = 4 << 10

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(s int)   { a.status = s }
func (a *answer) Write(p []byte) (int, error) {
	if room := maxAnswerBytes - a.text.Len(); room > 0 {
		a.text.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (h *otlp) succeed(w http.ResponseWriter, media string, o *outcome) {
	body, err := o.response(media)
	if err != nil { // the samples are stored: an empty answer says so too
		h.logger.Error("otlp response not encoded", "err", fmt.Errorf("encoding the response: %w", err))
	}
	h.metrics.answered(protocolOTLP, http.StatusOK)
	w.Header().Set("Content-Type", media)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the sender has gone: it will find out by itself
}

// response must leave partial_success out if there is nothing to say, which
// pdata's encoders do not.
func (o *outcome) response(media string) ([]byte, error) {
	full := len(o.problems.all) == 0
	r := pmetricotlp.NewExportResponse()
	if !full {
		r.PartialSuccess().SetRejectedDataPoints(int64(max(1, o.problems.samples())))
		r.PartialSuccess().SetErrorMessage(o.problems.text(o.floats + o.histograms))
	}
	switch {
	case full && media == mediaJSON:
		return []byte("{}"), nil
	case full:
		return nil, nil
	case media == mediaJSON:
		return r.MarshalJSON()
	default:
		return r.MarshalProto()
	}
}
