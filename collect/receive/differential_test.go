package receive

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
)

// The same requests go to Prometheus' receiver and to ours, each over a TSDB of
// its own. Answers and contents must be equal, but for the differences that the
// package documentation lists.

func upstream(a storage.AppendableV2) http.Handler {
	return remote.NewWriteHandler(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), a,
		remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, false, true)
}

func TestLikePrometheusV2(t *testing.T) {
	forEachWindow(t, func(t *testing.T, window time.Duration, cache bool) {
		theirDB, ourDB := openDB(t, window), openDB(t, window)
		o := options(ourDB)
		o.Config.RemoteWrite.StoreMetadata = true
		if !cache {
			o.Config.RemoteWrite.Cache.MaxSeries = 0
		}
		theirs, ours := upstream(theirDB), NewRemoteWrite(o)
		g := newGenerator(1, time.Now().Add(-4*time.Hour))
		codes := map[int]int{}
		for i := range 800 {
			body := encode(t, g.toV2(g.request()))
			want, got := post(theirs, typeV2, body), post(ours, typeV2, body)
			codes[want.Code]++
			if got.Code != want.Code {
				t.Fatalf("request %d: status %d, want %d\nours: %s\ntheirs: %s", i, got.Code, want.Code, got.Body, want.Body)
			}
			for _, h := range []string{"Samples", "Histograms", "Exemplars"} {
				h = "X-Prometheus-Remote-Write-" + h + "-Written"
				if got.Header().Get(h) != want.Header().Get(h) {
					t.Fatalf("request %d: %s is %q, want %q\nours: %s\ntheirs: %s", i, h, got.Header().Get(h), want.Header().Get(h), got.Body, want.Body)
				}
			}
		}
		if diff := cmp.Diff(dump(t, theirDB), dump(t, ourDB)); diff != "" {
			t.Fatalf("contents (-theirs +ours):\n%s", diff)
		}
		if codes[http.StatusNoContent] == 0 || codes[http.StatusBadRequest] == 0 {
			t.Fatalf("the requests were not mixed: %v", codes)
		}
	})
}

// Prometheus rolls back a 1.0 request of which one sample is refused. What it
// would have kept of it otherwise, it keeps when given the samples one by one:
// that is what ours must hold.
func TestLikePrometheusV1(t *testing.T) {
	forEachWindow(t, func(t *testing.T, window time.Duration, cache bool) {
		theirDB, ourDB := openDB(t, window), openDB(t, window)
		o := options(ourDB)
		if !cache {
			o.Config.RemoteWrite.Cache.MaxSeries = 0
		}
		theirs, ours := upstream(theirDB), NewRemoteWrite(o)
		g := newGenerator(2, time.Now().Add(-4*time.Hour))
		codes := map[int]int{}
		for i := range 800 {
			all := g.request()
			body := encode(t, toV1(all))
			want, got := post(theirs, typeV1, body).Code, post(ours, typeV1, body)
			codes[want]++
			if want == http.StatusBadRequest {
				for _, s := range split(all) {
					post(theirs, typeV1, encode(t, toV1([]genSeries{s})))
				}
			}
			if hasInvalidLabels(all) && want == http.StatusNoContent {
				want = http.StatusBadRequest
			}
			if got.Code != want {
				t.Fatalf("request %d: status %d, want %d: %s", i, got.Code, want, got.Body)
			}
		}
		if diff := cmp.Diff(dump(t, theirDB), dump(t, ourDB)); diff != "" {
			t.Fatalf("contents (-theirs +ours):\n%s", diff)
		}
		if codes[http.StatusNoContent] == 0 || codes[http.StatusBadRequest] == 0 {
			t.Fatalf("the requests were not mixed: %v", codes)
		}
	})
}

func forEachWindow(t *testing.T, f func(t *testing.T, window time.Duration, cache bool)) {
	for _, window := range []time.Duration{0, 10 * time.Minute} {
		for _, cache := range []bool{true, false} {
			t.Run(fmt.Sprintf("window=%s,cache=%t", window, cache), func(t *testing.T) { f(t, window, cache) })
		}
	}
}

func split(all []genSeries) (out []genSeries) {
	for _, s := range all {
		for _, p := range s.points {
			out = append(out, genSeries{labels: s.labels, points: []point{p}})
		}
		if len(s.exemplars) > 0 {
			out = append(out, genSeries{labels: s.labels, exemplars: s.exemplars})
		}
	}
	return out
}

func hasInvalidLabels(all []genSeries) bool {
	for _, s := range all {
		seen := map[string]bool{}
		for _, l := range s.labels {
			if seen[l[0]] || l[0] == "" || l[0] == "\xff" || l[1] == "\xff" || l[0] == "__name__" && l[1] == "" {
				return true
			}
			seen[l[0]] = true
		}
		if !seen["__name__"] {
			return true
		}
	}
	return false
}
