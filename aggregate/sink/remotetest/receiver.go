// Package remotetest is a real remote write receiver for tests.
//
// In: requests of either version, sent to URL. Out: what upstream's own handler
// stored of them in a TSDB. A test can spoil its answers.
package remotetest

import (
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Receiver is upstream's receiver in front of a TSDB that refuses out-of-order samples.
type Receiver struct {
	t     testing.TB
	db    *tsdb.DB
	srv   *httptest.Server
	write http.Handler
	spoil atomic.Pointer[http.HandlerFunc]
	// Requests counts all, Refused those answered 4xx.
	Requests, Refused atomic.Int64
}

// New starts a Receiver that lives as long as the test.
func New(t testing.TB) *Receiver {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.RetentionDuration = (365 * 24 * time.Hour).Milliseconds()
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{t: t, db: db}
	r.write = remote.NewWriteHandler(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), db,
		remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, false, false)
	r.srv = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(func() {
		r.srv.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

type note struct {
	http.ResponseWriter
	status int
}

func (w *note) WriteHeader(code int) { w.status = code; w.ResponseWriter.WriteHeader(code) }

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	r.Requests.Add(1)
	n := &note{ResponseWriter: w}
	if f := r.spoil.Load(); f != nil {
		(*f)(n, req)
	} else {
		r.write.ServeHTTP(n, req)
	}
	if n.status/100 == 4 {
		r.Refused.Add(1)
	}
}

// URL is where to send.
func (r *Receiver) URL() string { return r.srv.URL }

// Spoil lets f answer instead; nil ends that.
func (r *Receiver) Spoil(f http.HandlerFunc) {
	if f == nil {
		r.spoil.Store(nil)
		return
	}
	r.spoil.Store(&f)
}

// Answer makes every answer the given status.
func (r *Receiver) Answer(status int) {
	r.Spoil(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "spoiled by the test", status) })
}

// Swallow takes the samples and answers that it did not.
func (r *Receiver) Swallow() {
	r.Spoil(func(w http.ResponseWriter, req *http.Request) {
		r.write.ServeHTTP(httptest.NewRecorder(), req)
		http.Error(w, "spoiled by the test", http.StatusBadGateway)
	})
}

// Point is one stored sample: the bits of a float, or the text of a histogram.
type Point struct {
	T int64
	V uint64
	H string
}

// Contents reads everything that was stored, by the text of a series' labels.
func (r *Receiver) Contents() map[string][]Point {
	r.t.Helper()
	q, err := r.db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		r.t.Fatal(err)
	}
	defer q.Close()
	out := map[string][]Point{}
	set := q.Select(r.t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "", ""))
	for set.Next() {
		var ps []Point
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind == chunkenc.ValFloat {
				ts, v := it.At()
				ps = append(ps, Point{T: ts, V: math.Float64bits(v)})
				continue
			}
			ts, fh := it.AtFloatHistogram(nil)
			ps = append(ps, Point{T: ts, H: fh.String()})
		}
		if it.Err() != nil {
			r.t.Fatal(it.Err())
		}
		out[set.At().Labels().String()] = ps
	}
	if set.Err() != nil {
		r.t.Fatal(set.Err())
	}
	return out
}

// Count is the number of samples in what Contents returned.
func Count(all map[string][]Point) int {
	n := 0
	for _, ps := range all {
		n += len(ps)
	}
	return n
}

// Eventually polls until ok, a minute at most.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		wait := time.NewTimer(10 * time.Millisecond)
		<-wait.C
	}
}
