package receive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/flow"
)

func newReceiver(t testing.TB, f *faulty, change func(*Config)) *remoteWrite {
	t.Helper()
	o := options(f)
	if change != nil {
		change(&o.Config)
	}
	if err := o.Config.Validate(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := f.open.Load(); n != 0 {
			t.Errorf("%d transactions were left open", n)
		}
	})
	return newRemoteWrite(o, time.Now)
}

func (h *remoteWrite) rejectedFor(t testing.TB, protocol, reason string) float64 {
	t.Helper()
	return counter(t, h.metrics.rejected.WithLabelValues(protocol, reason))
}

func now() int64 { return time.Now().UnixMilli() }

func TestNegotiationIsPrometheus(t *testing.T) {
	db := openDB(t, 0)
	theirs, ours := upstream(db), NewRemoteWrite(options(db))
	body := encode(t, &prompb.WriteRequest{})
	for _, c := range []struct{ method, contentType, encoding string }{
		{"POST", "", ""},
		{"POST", typeV1, "snappy"},
		{"POST", typeV2, "snappy"},
		{"POST", typeV2, ""},
		{"POST", "application/x-protobuf;proto=prometheus.WriteRequest", "snappy"},
		{"POST", "application/x-protobuf;proto=yolo", "snappy"},
		{"POST", "application/x-protobuf;proto", "snappy"},
		{"POST", "application/json", "snappy"},
		{"POST", typeV1, "zstd"},
		{"POST", typeV1, "gzip"},
		{"GET", typeV1, "snappy"},
		{"PUT", typeV1, "snappy"},
	} {
		codes := map[string]int{}
		for name, h := range map[string]http.Handler{"theirs": theirs, "ours": ours} {
			r := httptest.NewRequest(c.method, "/", bytes.NewReader(body))
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			codes[name] = w.Code
		}
		if codes["ours"] != codes["theirs"] {
			t.Errorf("%+v: status %d, Prometheus answers %d", c, codes["ours"], codes["theirs"])
		}
	}
}

func TestBodyLimits(t *testing.T) {
	f := &faulty{next: openDB(t, 0)}
	h := newReceiver(t, f, func(c *Config) {
		c.RemoteWrite.MaxBodyBytes, c.RemoteWrite.MaxDecodedBytes = 1000, 4000
	})
	bomb := binary.AppendUvarint(nil, 1<<31)
	impossible := append(binary.AppendUvarint(nil, 3000), 0, 'x')
	for name, c := range map[string]struct {
		body   []byte
		status int
		reason string
		says   string
	}{
		"too large":           {make([]byte, 1001), 413, reasonBodyTooLarge, "the limit is 1000 B (max_body_bytes)"},
		"announces too much":  {bomb, 413, reasonDecodedTooLarge, "it announces 2 GiB, the limit is 3.9 KiB (max_decoded_bytes)"},
		"announces nonsense":  {impossible, 400, reasonMalformed, "it announces 3000 bytes, which 4 bytes cannot hold"},
		"not snappy":          {[]byte("\x05hello"), 400, reasonMalformed, "snappy"},
		"empty":               {nil, 400, reasonMalformed, "snappy"},
		"snappy, not a proto": {[]byte("\x02\x04\x0a\x05"), 400, reasonMalformed, "WriteRequest"},
	} {
		before := h.rejectedFor(t, protocolV1, c.reason)
		w := post(h, typeV1, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %q, want %d with %q", name, w.Code, w.Body, c.status, c.says)
		}
		if got := h.rejectedFor(t, protocolV1, c.reason) - before; got != 1 {
			t.Errorf("%s: counted %v times as %s", name, got, c.reason)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/", io.LimitReader(neverEnding{}, 1<<20)) // of unknown length
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked: %d %s, want 413", w.Code, w.Body)
	}
	if n := h.gate.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are still reserved", n)
	}
	if n := f.appends.Load(); n != 0 {
		t.Errorf("%d samples appended", n)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

func TestSeriesLimit(t *testing.T) {
	h := newReceiver(t, &faulty{next: openDB(t, 0)}, func(c *Config) { c.RemoteWrite.MaxSeries = 2 })
	for contentType, m := range map[string]marshaler{typeV1: v1(now(), "a", "b", "c"), typeV2: v2(now(), "a", "b", "c")} {
		w := mustPost(t, h, contentType, encode(t, m), 413)
		if !strings.Contains(w.Body.String(), "more than 2 series (max_series)") {
			t.Error(w.Body)
		}
	}
}

// A series over a limit is refused alone, whether it is cached or not.
func TestLabelLimits(t *testing.T) {
	db := openDB(t, 0)
	h := newReceiver(t, &faulty{next: db}, func(c *Config) {
		c.RemoteWrite.MaxLabels, c.RemoteWrite.MaxLabelNameBytes, c.RemoteWrite.MaxLabelValueBytes = 3, 10, 20
	})
	t0 := now()
	for i, c := range []struct {
		extra  []prompb.Label
		reason string
		says   string
	}{
		{[]prompb.Label{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}, reasonTooManyLabels, "has 4 labels, the limit is 3 (max_labels)"},
		{[]prompb.Label{{Name: strings.Repeat("n", 11), Value: "1"}}, reasonLabelTooLong, "label name has 11 bytes, the limit is 10B"},
		{[]prompb.Label{{Name: "v", Value: strings.Repeat("v", 1<<20)}}, reasonLabelTooLong, "label value has 1048576 bytes, the limit is 20B"},
	} {
		for range 2 {
			t0++
			r := v1(t0, "good", "bad", "better")
			r.Timeseries[1].Labels = append(r.Timeseries[1].Labels, c.extra...)
			w := mustPost(t, h, typeV1, encode(t, r), http.StatusBadRequest)
			for _, says := range []string{"1 samples refused, the other 2 are stored", c.says} {
				if !strings.Contains(w.Body.String(), says) {
					t.Errorf("%d: got %q, want %q", i, w.Body, says)
				}
			}
		}
		if got := counter(t, h.metrics.refused.WithLabelValues(protocolV1, c.reason)); got < 2 {
			t.Errorf("%s: counted %v times", c.reason, got)
		}
	}
	if got := strings.Count(dump(t, db), "(st 0)="); got != 12 {
		t.Errorf("%d samples stored, want 12:\n%s", got, dump(t, db))
	}
}

func TestUnavailableStoresNothing(t *testing.T) {
	for _, err := range []error{fmt.Errorf("disk full: %w", flow.ErrUnavailable), tsdb.ErrNotReady} {
		for contentType, m := range map[string]marshaler{typeV1: v1(now(), "a", "b"), typeV2: v2(now(), "a", "b")} {
			db := openDB(t, 0)
			f := &faulty{next: db}
			h := newReceiver(t, f, nil)
			body := encode(t, m)

			f.onAppend = func(ls labels.Labels) error {
				if ls.Get("__name__") == "b" {
					return err
				}
				return nil
			}
			w := mustPost(t, h, contentType, body, http.StatusServiceUnavailable)
			if w.Header().Get("Retry-After") == "" {
				t.Error("Append: no Retry-After")
			}
			f.onAppend, f.onCommit = nil, func() error { return err }
			if w := mustPost(t, h, contentType, body, http.StatusServiceUnavailable); w.Header().Get("Retry-After") == "" {
				t.Error("Commit: no Retry-After")
			}
			if got := dump(t, db); got != "" {
				t.Errorf("stored: %s", got)
			}
			f.onCommit = nil
			mustPost(t, h, contentType, body, http.StatusNoContent)
			if got := strings.Count(dump(t, db), "\n"); got != 2 {
				t.Errorf("%d series stored after the retry, want 2", got)
			}
		}
	}
}

func TestInternalErrorStoresNothing(t *testing.T) {
	db := openDB(t, 0)
	f := &faulty{next: db}
	h := newReceiver(t, f, nil)
	f.onCommit = func() error { return errors.New("log broken") }
	w := mustPost(t, h, typeV2, encode(t, v2(now(), "a")), http.StatusInternalServerError)
	if got := w.Header().Get("X-Prometheus-Remote-Write-Samples-Written"); got != "0" {
		t.Errorf("says %q samples are written", got)
	}
	if got := dump(t, db); got != "" {
		t.Errorf("stored: %s", got)
	}
}

func TestOverLimitIsPartial(t *testing.T) {
	for contentType, m := range map[string]marshaler{typeV1: v1(now(), "a", "b", "c"), typeV2: v2(now(), "a", "b", "c")} {
		db := openDB(t, 0)
		f := &faulty{next: db}
		h := newReceiver(t, f, nil)
		f.onAppend = func(ls labels.Labels) error {
			if ls.Get("__name__") == "b" {
				return fmt.Errorf("series limit of 2 reached: %w", flow.ErrOverLimit)
			}
			return nil
		}
		w := mustPost(t, h, contentType, encode(t, m), http.StatusBadRequest)
		if !strings.Contains(w.Body.String(), "over_limit, 1 times") || !strings.Contains(w.Body.String(), "series limit of 2") {
			t.Error(w.Body)
		}
		if got := strings.Count(dump(t, db), "\n"); got != 2 {
			t.Errorf("%d series stored, want 2", got)
		}
	}
}

func TestPanicBelowLeavesNothingOpen(t *testing.T) {
	f := &faulty{next: openDB(t, 0), onAppend: func(labels.Labels) error { panic("below") }}
	h := newReceiver(t, f, nil) // checks at the end
	defer func() {
		if recover() == nil {
			t.Error("the panic was swallowed")
		}
	}()
	post(h, typeV1, encode(t, v1(now(), "a")))
}

// A request whose end is missing leaves not even its series behind.
func TestMalformedLeavesNothing(t *testing.T) {
	db := openDB(t, 0)
	f := &faulty{next: db}
	h := newReceiver(t, f, nil)
	p, err := v1(now(), "a", "b").Marshal()
	if err != nil {
		t.Fatal(err)
	}
	mustPost(t, h, typeV1, encode(t, raw(p[:len(p)-1])), http.StatusBadRequest)
	if n := db.Head().NumSeries() + uint64(f.appends.Load()); n != 0 {
		t.Errorf("%d series or samples were made", n)
	}
}

type raw []byte

func (r raw) Marshal() ([]byte, error) { return r, nil }

func TestInFlightLimit(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := &faulty{next: openDB(t, 0), onCommit: func() error { entered <- struct{}{}; <-leave; return nil }}
	h := newReceiver(t, f, func(c *Config) { c.RemoteWrite.MaxInFlight = 1 })
	first := make(chan int)
	go func() { first <- post(h, typeV1, encode(t, v1(now(), "a"))).Code }()
	<-entered
	w := mustPost(t, h, typeV1, encode(t, v1(now(), "b")), http.StatusServiceUnavailable)
	if w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "(max_in_flight)") {
		t.Errorf("Retry-After %q: %s", w.Header().Get("Retry-After"), w.Body)
	}
	close(leave)
	if code := <-first; code != http.StatusNoContent {
		t.Errorf("the first got %d", code)
	}
	if n := h.rejectedFor(t, protocolV1, reasonBusy); n != 1 {
		t.Errorf("counted %v times as busy", n)
	}
}

func TestInFlightBytes(t *testing.T) {
	h := newReceiver(t, &faulty{next: openDB(t, 0)}, nil)
	h.gate.bytes.Store(int64(h.cfg.MaxInFlightBytes) - 10)
	w := mustPost(t, h, typeV1, encode(t, v1(now(), "a")), http.StatusServiceUnavailable)
	if !strings.Contains(w.Body.String(), "(max_in_flight_bytes)") {
		t.Error(w.Body)
	}
	if got, want := h.gate.bytes.Load(), int64(h.cfg.MaxInFlightBytes)-10; got != want {
		t.Errorf("%d bytes reserved after it, want %d", got, want)
	}
}

// Receivers of two islands in one process, and two receivers of one island.
func TestRegistries(t *testing.T) {
	db := openDB(t, 0)
	one, two := options(db), options(db)
	a, b := newRemoteWrite(one, time.Now), newRemoteWrite(two, time.Now)
	NewOTLP(one)
	NewOTLP(two)
	mustPost(t, a, typeV1, encode(t, v1(now(), "a")), http.StatusNoContent)
	if got := counter(t, a.byVersion["prometheus.WriteRequest"].floats); got != 1 {
		t.Errorf("a counts %v samples", got)
	}
	if got := counter(t, b.byVersion["prometheus.WriteRequest"].floats); got != 0 {
		t.Errorf("b counts %v samples of a", got)
	}
	again := newRemoteWrite(one, time.Now)
	if again.metrics.requests != a.metrics.requests {
		t.Error("a second receiver of one registry does not share its metrics")
	}
	problems, err := one.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if n := p.GetName(); !strings.HasPrefix(n, "atoll_receive_") && !strings.HasPrefix(n, "prometheus_api_otlp_") {
			t.Errorf("unexpected metric %s", n)
		}
	}
}

func TestDisabled(t *testing.T) {
	o := options(openDB(t, 0))
	o.Config.RemoteWrite.Enabled, o.Config.OTLP.Enabled = false, false
	for field, h := range map[string]http.Handler{"remote_write": NewRemoteWrite(o), "otlp": NewOTLP(o)} {
		w := post(h, typeV1, nil)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), field+".enabled") {
			t.Errorf("%s: %d %s", field, w.Code, w.Body)
		}
	}
}

func TestMetadataIsStored(t *testing.T) {
	db := openDB(t, 0)
	h := newReceiver(t, &faulty{next: db}, func(c *Config) { c.RemoteWrite.StoreMetadata = true })
	r := v2(now(), "a")
	r.Symbols = append(r.Symbols, "the help", "seconds")
	r.Timeseries[0].Metadata.Type = 1
	r.Timeseries[0].Metadata.HelpRef = uint32(len(r.Symbols) - 2)
	r.Timeseries[0].Metadata.UnitRef = uint32(len(r.Symbols) - 1)
	mustPost(t, h, typeV2, encode(t, r), http.StatusNoContent)
	want := "counter the help seconds"
	if got := lastMetadata(t, db); got != want {
		t.Errorf("stored %q, want %q", got, want)
	}
}

// Prometheus sends exemplars apart from samples, and refuses them so itself.
func TestExemplarsAlone(t *testing.T) {
	db := openDB(t, 0)
	h := newReceiver(t, &faulty{next: db}, nil)
	t0 := now()
	mustPost(t, h, typeV2, encode(t, v2(t0, "a")), http.StatusNoContent)
	r := v2(t0, "a", "never_seen")
	for i := range r.Timeseries {
		r.Timeseries[i].Samples = nil
		r.Timeseries[i].Exemplars = []writev2.Exemplar{{LabelsRefs: []uint32{3, 4}, Value: 1, Timestamp: t0}}
	}
	w := mustPost(t, h, typeV2, encode(t, r), http.StatusNoContent)
	if got := w.Header().Get("X-Prometheus-Remote-Write-Exemplars-Written"); got != "1" {
		t.Errorf("says %s exemplars are written, want 1", got)
	}
	if got := dump(t, db); strings.Count(got, "exemplars {") != 1 || strings.Count(got, "\n") != 2 {
		t.Errorf("stored: %s", got)
	}
	r.Timeseries[0].Exemplars = nil
	mustPost(t, h, typeV2, encode(t, r), http.StatusBadRequest)
}
