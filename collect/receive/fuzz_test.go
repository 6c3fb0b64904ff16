package receive

import (
	"net/http"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Whole requests of any bytes: no panic, an answer of 2xx or of 4xx with a reason,
// no transaction left open, and nothing appended of what cannot be decoded.

func FuzzRemoteWriteV1(f *testing.F) {
	for _, m := range seedsV1() {
		p, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	g := newFuzzGenerator()
	for range 10 {
		p, err := toV1(g.request()).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	fuzzRemoteWrite(f, typeV1)
}

func FuzzRemoteWriteV2(f *testing.F) {
	for _, m := range seedsV2() {
		p, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	g := newFuzzGenerator()
	for range 10 {
		p, err := g.toV2(g.request()).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	fuzzRemoteWrite(f, typeV2)
}

func fuzzRemoteWrite(f *testing.F, contentType string) {
	store := &faulty{next: sink{}}
	h := newReceiver(f, store, func(c *Config) {
		c.RemoteWrite.MaxSeries, c.RemoteWrite.MaxLabels = 100, 10
		c.RemoteWrite.MaxDecodedBytes, c.RemoteWrite.Cache.MaxSeries = 1<<20, 64
	})
	f.Fuzz(func(t *testing.T, p []byte) {
		b := newBatch()
		decodes := b.decodeV1(p, nil) == nil
		if contentType == typeV2 {
			b = newBatch()
			decodes = b.decodeV2(p) == nil
		}
		before := store.appends.Load()
		w := post(h, contentType, snappy.Encode(nil, p))
		checkAnswer(t, w.Code, w.Body.Len(), http.StatusNoContent)
		if store.open.Load() != 0 {
			t.Fatal("a transaction was left open")
		}
		if !decodes && (w.Code == http.StatusNoContent || store.appends.Load() != before) {
			t.Fatalf("status %d, %d samples appended of a request that cannot be decoded", w.Code, store.appends.Load()-before)
		}
	})
}

func checkAnswer(t *testing.T, code, length, success int) {
	t.Helper()
	if code != success && (code < 400 || code > 499 || length == 0) {
		t.Fatalf("status %d with %d bytes of text", code, length)
	}
}

func newFuzzGenerator() *generator { return newGenerator(5, time.Now().Add(-time.Hour)) }

func FuzzOTLPProtobuf(f *testing.F) { fuzzOTLP(f, mediaProtobuf) }
func FuzzOTLPJSON(f *testing.F)     { fuzzOTLP(f, mediaJSON) }

func fuzzOTLP(f *testing.F, media string) {
	at := time.Unix(1_700_000_000, 0)
	r := gauges(at, "a", "b")
	addHistogram(r, at, "latency", pmetric.AggregationTemporalityCumulative)
	addHistogram(r, at, "delta", pmetric.AggregationTemporalityDelta)
	seed, err := r.MarshalProto()
	if media == mediaJSON {
		seed, err = r.MarshalJSON()
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	store := &faulty{next: sink{}}
	h := newOTLP(f, store, func(c *Config) { c.OTLP.MaxDecodedBytes = 1 << 20 })
	f.Fuzz(func(t *testing.T, p []byte) {
		w := postOTLP(h, media, "", p)
		checkAnswer(t, w.Code, w.Body.Len(), http.StatusOK)
		if store.open.Load() != 0 {
			t.Fatal("a transaction was left open")
		}
	})
}
