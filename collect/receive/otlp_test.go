package receive

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/atoll-mesh/atoll/flow"
)

func newOTLP(t testing.TB, f *faulty, change func(*Config)) *otlp {
	t.Helper()
	o := options(f)
	if change != nil {
		change(&o.Config)
	}
	if err := o.Config.Validate(); err != nil {
		t.Fatal(err)
	}
	o.ConfigFunc = func() promconfig.Config { return promconfig.DefaultConfig }
	t.Cleanup(func() {
		if n := f.open.Load(); n != 0 {
			t.Errorf("%d transactions were left open", n)
		}
	})
	return NewOTLP(o).(*otlp)
}

// gauges makes a request of one data point per name.
func gauges(at time.Time, names ...string) pmetricotlp.ExportRequest {
	m := pmetric.NewMetrics()
	scope := m.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	for i, n := range names {
		metric := scope.Metrics().AppendEmpty()
		metric.SetName(n)
		p := metric.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(at))
		p.SetDoubleValue(float64(i))
		p.Attributes().PutStr("zone", "eu")
	}
	return pmetricotlp.NewExportRequestFromMetrics(m)
}

func addHistogram(r pmetricotlp.ExportRequest, at time.Time, name string, temporality pmetric.AggregationTemporality) {
	metric := r.Metrics().ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty()
	metric.SetName(name)
	h := metric.SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(temporality)
	p := h.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetCount(3)
	p.SetSum(3)
	p.Positive().BucketCounts().FromRaw([]uint64{1, 2})
}

func postOTLP(h http.Handler, media, encoding string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/otlp/v1/metrics", bytes.NewReader(body))
	r.Header.Set("Content-Type", media)
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func sendOTLP(t testing.TB, h http.Handler, m pmetricotlp.ExportRequest, want int) *httptest.ResponseRecorder {
	t.Helper()
	body, err := m.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	w := postOTLP(h, mediaProtobuf, "", body)
	if w.Code != want {
		t.Fatalf("status %d, want %d: %s", w.Code, want, w.Body)
	}
	return w
}

func zipped(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if _, err := zw.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOTLPFormats(t *testing.T) {
	at := time.Now()
	req := gauges(at, "first", "second")
	addHistogram(req, at, "latency", pmetric.AggregationTemporalityCumulative)
	proto, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	json, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		media, encoding string
		body            []byte
		answer          string
	}{
		"protobuf":      {mediaProtobuf, "", proto, ""},
		"protobuf gzip": {mediaProtobuf, "gzip", zipped(t, proto), ""},
		"json":          {mediaJSON, "", json, "{}"},
		"json charset":  {mediaJSON + "; charset=utf-8", "identity", json, "{}"},
		"json gzip":     {mediaJSON, "gzip", zipped(t, json), "{}"},
	} {
		db := openDB(t, 0)
		h := newOTLP(t, &faulty{next: db}, nil)
		w := postOTLP(h, c.media, c.encoding, c.body)
		if w.Code != http.StatusOK || w.Body.String() != c.answer || !strings.HasPrefix(c.media, w.Header().Get("Content-Type")) {
			t.Errorf("%s: %d %q as %s", name, w.Code, w.Body, w.Header().Get("Content-Type"))
		}
		got := dump(t, db)
		for _, want := range []string{`__name__="first"`, `__name__="second"`, `zone="eu"`, `__name__="latency"`, "PositiveBuckets:[1 1]"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %s in\n%s", name, want, got)
			}
		}
		if floats, hs := counter(t, h.mine.floats), counter(t, h.mine.histograms); floats != 2 || hs != 1 {
			t.Errorf("%s: counted %v floats and %v histograms", name, floats, hs)
		}
	}
}

func TestOTLPBounds(t *testing.T) {
	f := &faulty{next: openDB(t, 0)}
	h := newOTLP(t, f, func(c *Config) { c.OTLP.MaxBodyBytes, c.OTLP.MaxDecodedBytes = 10_000, 100_000 })
	bomb := zipped(t, make([]byte, 5<<20)) // 5 MiB in 5 KB
	for name, c := range map[string]struct {
		media, encoding string
		body            []byte
		status          int
		reason          string
	}{
		"too large":        {mediaProtobuf, "", make([]byte, 10_001), 413, reasonBodyTooLarge},
		"bomb":             {mediaProtobuf, "gzip", bomb, 413, reasonDecodedTooLarge},
		"not gzip":         {mediaProtobuf, "gzip", []byte("hello"), 400, reasonMalformed},
		"cut gzip":         {mediaProtobuf, "gzip", zipped(t, []byte("hello"))[:20], 400, reasonMalformed},
		"not a protobuf":   {mediaProtobuf, "", []byte("hello"), 400, reasonMalformed},
		"not json":         {mediaJSON, "", []byte("{"), 400, reasonMalformed},
		"unknown media":    {"text/plain", "", nil, 415, reasonMediaType},
		"no media":         {"", "", nil, 415, reasonMediaType},
		"unknown encoding": {mediaProtobuf, "br", nil, 415, reasonEncoding},
	} {
		before := counter(t, h.metrics.rejected.WithLabelValues(protocolOTLP, c.reason))
		w := postOTLP(h, c.media, c.encoding, c.body)
		if w.Code != c.status || w.Body.Len() == 0 {
			t.Errorf("%s: %d %q, want %d", name, w.Code, w.Body, c.status)
		}
		if got := counter(t, h.metrics.rejected.WithLabelValues(protocolOTLP, c.reason)) - before; got != 1 {
			t.Errorf("%s: counted %v times as %s", name, got, c.reason)
		}
	}
	if n := h.gate.bytes.Load() + h.gate.requests.Load() + f.appends.Load(); n != 0 {
		t.Errorf("%d bytes, requests or samples remain", n)
	}
}

// A bomb is not unpacked beyond the limit.
func TestOTLPBombIsNotUnpacked(t *testing.T) {
	h := newOTLP(t, &faulty{next: openDB(t, 0)}, func(c *Config) { c.OTLP.MaxDecodedBytes = 100_000 })
	body := zipped(t, make([]byte, 50<<20))
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Encoding", "gzip")
	ticket, _ := h.gate.enter()
	defer ticket.leave()
	if _, no := h.readBody(ticket, r); no == nil || no.reason != reasonDecodedTooLarge {
		t.Errorf("refusal %v", no)
	}
	if most := int64(len(body)) + 100_001; ticket.bytes > most {
		t.Errorf("%d bytes reserved, want at most %d", ticket.bytes, most)
	}
}

func partialSuccess(t *testing.T, w *httptest.ResponseRecorder) (int64, string) {
	t.Helper()
	r := pmetricotlp.NewExportResponse()
	if err := r.UnmarshalProto(w.Body.Bytes()); err != nil {
		t.Fatal(err)
	}
	return r.PartialSuccess().RejectedDataPoints(), r.PartialSuccess().ErrorMessage()
}

// What is refused does not throw away the rest.
func TestOTLPPartialSuccess(t *testing.T) {
	at := time.Now()
	for name, c := range map[string]struct {
		prepare func(*faulty, *otlp, pmetricotlp.ExportRequest)
		change  func(*Config)
		says    string
	}{
		"out of order": {
			prepare: func(_ *faulty, h *otlp, _ pmetricotlp.ExportRequest) {
				sendOTLP(t, h, gauges(at.Add(time.Minute), "bad"), 200)
			},
			says: "out_of_order, 1 times",
		},
		"over limit": {
			prepare: func(f *faulty, _ *otlp, _ pmetricotlp.ExportRequest) {
				f.onAppend = func(ls labels.Labels) error {
					if ls.Get("__name__") == "bad" {
						return fmt.Errorf("no more: %w", flow.ErrOverLimit)
					}
					return nil
				}
			},
			says: "no more",
		},
		"label too long": {
			prepare: func(_ *faulty, _ *otlp, r pmetricotlp.ExportRequest) {
				r.Metrics().ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(1).Gauge().DataPoints().At(0).Attributes().PutStr("long", strings.Repeat("x", 101))
			},
			change: func(c *Config) { c.OTLP.MaxLabelValueBytes = 100 },
			says:   "has 101 bytes, the limit is 100B",
		},
		"delta": {
			prepare: func(_ *faulty, _ *otlp, r pmetricotlp.ExportRequest) {
				addHistogram(r, at, "delta", pmetric.AggregationTemporalityDelta)
				r.Metrics().ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().RemoveIf(func(m pmetric.Metric) bool { return m.Name() == "bad" })
			},
			says: "invalid temporality",
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, 0)
			f := &faulty{next: db}
			h := newOTLP(t, f, c.change)
			r := gauges(at, "good", "bad", "better")
			c.prepare(f, h, r)
			rejected, message := partialSuccess(t, sendOTLP(t, h, r, http.StatusOK))
			if rejected != 1 || !strings.Contains(message, c.says) {
				t.Errorf("%d rejected: %s", rejected, message)
			}
			got := dump(t, db)
			for _, want := range []string{`__name__="good"`, `__name__="better"`} {
				if !strings.Contains(got, want) {
					t.Errorf("no %s in\n%s", want, got)
				}
			}
		})
	}
}

func TestOTLPNothingStored(t *testing.T) {
	at := time.Now()
	unavailable := fmt.Errorf("disk full: %w", flow.ErrUnavailable)
	for name, c := range map[string]struct {
		onAppend, onCommit error
		panics             bool
		request            pmetricotlp.ExportRequest
		status             int
	}{
		"unavailable":           {onAppend: unavailable, status: 503},
		"unavailable at commit": {onCommit: unavailable, status: 503},
		"commit fails":          {onCommit: errors.New("log broken"), status: 500},
		"append fails":          {onAppend: errors.New("broken"), status: 500},
		"panic":                 {panics: true, status: 400},
		"only refused":          {onAppend: flow.ErrOverLimit, status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, 0)
			f := &faulty{next: db}
			h := newOTLP(t, f, nil)
			f.onAppend = func(labels.Labels) error {
				if c.panics {
					panic("below")
				}
				return c.onAppend
			}
			f.onCommit = func() error { return c.onCommit }
			w := sendOTLP(t, h, gauges(at, "a", "b"), c.status)
			if (w.Header().Get("Retry-After") != "") != (c.status == 503) {
				t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
			}
			if got := dump(t, db); got != "" {
				t.Errorf("stored: %s", got)
			}
		})
	}
}

// A sender that has gone gets its transaction rolled back, also if something of it
// could not be translated.
func TestOTLPSenderGone(t *testing.T) {
	db := openDB(t, 0)
	h := newOTLP(t, &faulty{next: db}, nil)
	r := gauges(time.Now(), "a")
	addHistogram(r, time.Now(), "delta", pmetric.AggregationTemporalityDelta)
	body, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
	req.Header.Set("Content-Type", mediaProtobuf)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != http.StatusServiceUnavailable && w.Code != http.StatusInternalServerError {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if got := dump(t, db); got != "" {
		t.Errorf("stored: %s", got)
	}
}
