package receive

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// Options are what a receiver needs.
type Options struct {
	// Config must be valid.
	Config Config
	// Appendable takes the samples. It must not give one series reference to two
	// series for as long as the process runs. Exemplars of remote write need an appender
	// that is a storage.ExemplarAppenderV2; without it they are refused.
	Appendable storage.AppendableV2
	Logger     *slog.Logger
	// Registerer may be shared by several receivers.
	Registerer prometheus.Registerer
	// ConfigFunc gives the otlp section of the Prometheus configuration in
	// force; NewOTLP needs it.
	ConfigFunc func() promconfig.Config
	// LookbackDelta spaces the target_info samples of OTLP; 5m if zero.
	LookbackDelta time.Duration
}

// remoteWrite serves remote write 1.0 and 2.0.
type remoteWrite struct {
	cfg        RemoteWriteConfig
	appendable storage.AppendableV2
	logger     *slog.Logger
	metrics    *metrics
	byVersion  map[remoteapi.WriteMessageType]*protocolMetrics
	cache      *cache
	gate       gate
	scratch    sync.Pool
	now        func() time.Time
}

// NewRemoteWrite returns the handler for remote write 1.0 and 2.0.
func NewRemoteWrite(o Options) http.Handler {
	if !o.Config.RemoteWrite.Enabled {
		return disabled("remote write", "collect.receive.remote_write.enabled")
	}
	return newRemoteWrite(o, time.Now)
}

func newRemoteWrite(o Options, now func() time.Time) *remoteWrite {
	m := newMetrics(o.Registerer)
	return &remoteWrite{
		cfg:        o.Config.RemoteWrite,
		appendable: o.Appendable,
		logger:     o.Logger,
		metrics:    m,
		byVersion: map[remoteapi.WriteMessageType]*protocolMetrics{
			remoteapi.WriteV1MessageType: m.of(protocolV1),
			remoteapi.WriteV2MessageType: m.of(protocolV2),
		},
		cache:   newCache(o.Config.RemoteWrite.Cache, &m.cache, now),
		gate:    gate{limits: o.Config.RemoteWrite.Limits},
		scratch: sync.Pool{New: func() any { return new(scratch) }},
		now:     now,
	}
}

func disabled(what, field string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, what+" is not received here; set "+field+" to true", http.StatusNotFound)
	})
}

// scratch is the memory of one request, used again by later ones.
type scratch struct {
	body, decoded []byte
	batch         batch
	writer        writer
}

// keepBytes is the largest buffer worth keeping between requests.
const keepBytes = 8 << 20

func (h *remoteWrite) release(s *scratch) {
	if cap(s.body) > keepBytes {
		s.body = nil
	}
	if cap(s.decoded) > keepBytes || cap(s.batch.series)*seriesCost > keepBytes {
		s.decoded, s.batch = nil, batch{}
	}
	s.writer.release()
	h.scratch.Put(s)
}

// ServeHTTP answers 204 if all is stored, 400 with a summary if some was refused
// for good, another 4xx for requests that are refused whole, and 5xx, with
// Retry-After where that helps, if nothing was stored that might have been.
func (h *remoteWrite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	message, no := negotiate(r)
	if no != nil {
		h.answer(w, protocolRW, no)
		return
	}
	m := h.byVersion[message]
	t, no := h.gate.enter()
	if no != nil {
		h.answer(w, m.protocol, no)
		return
	}
	defer t.leave()
	inFlight := h.metrics.inFlight.WithLabelValues(protocolRW)
	inFlight.Inc()
	defer inFlight.Dec()
	defer func(start time.Time) { m.duration.Observe(h.now().Sub(start).Seconds()) }(h.now())

	s := h.scratch.Get().(*scratch)
	defer h.release(s)
	if s.body, no = t.readBody(r, s.body); no == nil {
		s.decoded, no = t.unsnappy(s.body, s.decoded)
	}
	if no != nil {
		h.answer(w, m.protocol, no)
		return
	}
	m.wireBytes.Add(float64(len(s.body)))
	m.decodedBytes.Add(float64(len(s.decoded)))

	stats, no := h.store(r, s, m)
	if message == remoteapi.WriteV2MessageType {
		stats.setHeaders(w.Header())
	}
	h.answer(w, m.protocol, no)
	h.cache.sweepIfAny()
}

// answer writes the response and counts it; no is nil for success.
func (h *remoteWrite) answer(w http.ResponseWriter, protocol string, no *refusal) {
	if no == nil {
		w.WriteHeader(http.StatusNoContent)
		h.metrics.answered(protocol, http.StatusNoContent)
		return
	}
	if no.reason != "" { // else its reasons are counted one by one
		h.metrics.rejected.WithLabelValues(protocol, no.reason).Inc()
	}
	h.metrics.answered(protocol, no.status)
	level := slog.LevelDebug
	if no.status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	h.logger.Log(context.Background(), level, "write request refused", "protocol", protocol, "status", no.status, "reason", no.reason, "err", no.err)
	no.write(w)
}

// negotiate finds the message type as Prometheus does: no Content-Type and one
// without a proto parameter mean 1.0, no Content-Encoding means snappy.
func negotiate(r *http.Request) (remoteapi.WriteMessageType, *refusal) {
	if r.Method != http.MethodPost {
		return "", refuse(http.StatusMethodNotAllowed, reasonMethod, "receiving remote write: got method %s, must be POST", r.Method)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != string(remoteapi.SnappyBlockCompression) {
		return "", refuse(http.StatusUnsupportedMediaType, reasonEncoding, "receiving remote write: got Content-Encoding %.64q, must be %q", e, remoteapi.SnappyBlockCompression)
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		return remoteapi.WriteV1MessageType, nil
	}
	message, err := remoteapi.ParseProtoMsg(contentType)
	if err != nil {
		return "", refuse(http.StatusUnsupportedMediaType, reasonMediaType, "receiving remote write: %w", err)
	}
	return message, nil
}

// store decodes and appends the request in s.
func (h *remoteWrite) store(r *http.Request, s *scratch, m *protocolMetrics) (stats, *refusal) {
	s.batch.reset(h.cfg.MaxSeries, 2*int(h.cfg.MaxDecodedBytes))
	w := &s.writer
	w.begin(h, &s.batch, m.protocol == protocolV2, h.appendable.AppenderV2(flow.WithSender(flow.Strict(r.Context()), senderOf(r))))
	if no := w.write(s.decoded); no != nil {
		return stats{}, no
	}
	m.floats.Add(float64(w.stats.samples))
	m.histograms.Add(float64(w.stats.histograms))
	m.exemplars.Add(float64(w.stats.exemplars))
	if len(w.problems.all) == 0 {
		return w.stats, nil
	}
	w.problems.count(h.metrics, m.protocol)
	return w.stats, &refusal{status: http.StatusBadRequest, err: errors.New(w.problems.text(w.stats.samples + w.stats.histograms))}
}

// senderOf tells senders apart by the address they come from, and not by their
// port, which changes. Behind a proxy all of them look like one: there replicas
// must carry a replica label.
func senderOf(r *http.Request) uint64 {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(host)) // it never fails
	return h.Sum64()
}

// stats are what 2.0 tells its sender was written.
type stats struct{ samples, histograms, exemplars int }

func (s stats) setHeaders(h http.Header) {
	h.Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(s.samples))
	h.Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.Itoa(s.histograms))
	h.Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.Itoa(s.exemplars))
}
