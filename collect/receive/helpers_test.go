package receive

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	typeV1 = "application/x-protobuf"
	typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

func openDB(t testing.TB, window time.Duration) *tsdb.DB {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.OutOfOrderTimeWindow = window.Milliseconds()
	o.EnableExemplarStorage = true
	o.MaxExemplars = 10_000
	o.EnableSTStorage, o.FloatChunkEncoding, o.EnableHistogramSTEncoding = true, chunkenc.EncXOR2, true
	o.EnableMetadataWALRecords = true
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.DisableCompactions()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// options enable both receivers over a, with a registry of their own.
func options(a storage.AppendableV2) Options {
	c := Default()
	c.RemoteWrite.Enabled, c.OTLP.Enabled = true, true
	return Options{Config: c, Appendable: a, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
}

type marshaler interface{ Marshal() ([]byte, error) }

func encode(t testing.TB, m marshaler) []byte {
	t.Helper()
	p, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, p)
}

func post(h http.Handler, contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Content-Encoding", "snappy")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func mustPost(t testing.TB, h http.Handler, contentType string, body []byte, want int) *httptest.ResponseRecorder {
	t.Helper()
	w := post(h, contentType, body)
	if w.Code != want {
		t.Fatalf("status %d, want %d: %s", w.Code, want, w.Body)
	}
	return w
}

// v1 makes a request of one sample per series.
func v1(t0 int64, names ...string) *prompb.WriteRequest {
	r := &prompb.WriteRequest{}
	for i, n := range names {
		r.Timeseries = append(r.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: n}, {Name: "job", Value: "j"}},
			Samples: []prompb.Sample{{Timestamp: t0, Value: float64(i)}},
		})
	}
	return r
}

// v2 makes the same request in version 2.
func v2(t0 int64, names ...string) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	r := &writev2.Request{}
	for i, n := range names {
		r.Timeseries = append(r.Timeseries, writev2.TimeSeries{
			LabelsRefs: symbols.SymbolizeLabels(labels.FromStrings("__name__", n, "job", "j"), nil),
			Samples:    []writev2.Sample{{Timestamp: t0, Value: float64(i)}},
		})
	}
	r.Symbols = symbols.Symbols()
	return r
}

// dump writes down all that is stored, one line per series.
func dump(t testing.TB, db *tsdb.DB) string {
	t.Helper()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	any := labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".*")
	var b strings.Builder
	set := q.Select(context.Background(), true, nil, any)
	for set.Next() {
		samples := 0
		var line strings.Builder
		for it := set.At().Iterator(nil); ; samples++ {
			kind := it.Next()
			if kind == chunkenc.ValNone {
				break
			}
			fmt.Fprintf(&line, " %d(st %d)=", it.AtT(), it.AtST())
			switch kind {
			case chunkenc.ValFloat:
				_, v := it.At()
				fmt.Fprintf(&line, "%x", math.Float64bits(v))
			case chunkenc.ValHistogram:
				_, h := it.AtHistogram(nil)
				fmt.Fprintf(&line, "%+v", *h)
			case chunkenc.ValFloatHistogram:
				_, h := it.AtFloatHistogram(nil)
				fmt.Fprintf(&line, "%+v", *h)
			}
		}
		if samples > 0 {
			fmt.Fprintf(&b, "%s:%s\n", set.At().Labels(), line.String())
		}
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	eq, err := db.ExemplarQuerier(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	all, err := eq.Select(math.MinInt64, math.MaxInt64, []*labels.Matcher{any})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		fmt.Fprintf(&b, "exemplars %s: %v\n", s.SeriesLabels, s.Exemplars)
	}
	return b.String()
}

func counter(t testing.TB, c prometheus.Collector) float64 {
	t.Helper()
	return testutil.ToFloat64(c)
}
