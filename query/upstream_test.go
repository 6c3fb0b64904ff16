//go:build upstream

// Side by side with upstream's whole web server. Its packages need two modules
// that the product does not (fgprof and httpfs), hence the tag; run with
//
//	cp go.mod go.sum /tmp/ && go test -tags upstream -modfile /tmp/go.mod -mod=mod -run Upstream ./query

package query

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	grafana "github.com/grafana/regexp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/web"
)

// upstreamStorage is db under upstream's interface.
type upstreamStorage struct{ db }

func mustCORS(t *testing.T, c Config) *grafana.Regexp {
	t.Helper()
	re, err := c.corsRegexp()
	if err != nil {
		t.Fatal(err)
	}
	return re
}

// upstream serves r's store and engine with the real web.Handler.
func upstream(t *testing.T, r *rig) http.Handler {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := web.New(promslog.NewNopLogger(), &web.Options{
		Context:         context.Background(),
		TSDBDir:         r.db.Dir(),
		LocalStorage:    upstreamStorage{r.db},
		Storage:         r.db.DB,
		ExemplarStorage: r.db,
		QueryEngine:     r.engine.Engine,
		LookbackDelta:   time.Duration(r.Config().LookbackDelta),
		QueryTimeout:    time.Duration(r.Config().Timeout),
		ListenAddresses: []string{l.Addr().String()},
		CORSOrigin:      mustCORS(t, r.Config()),
		ExternalURL:     r.options.ExternalURL,
		RoutePrefix:     "/",
		EnableQueryCost: true,
		EnableSearch:    true,
		MaxSearchLimit:  r.Config().Search.MaxLimit,
		Version:         r.options.Version.prometheus(),

		RemoteReadSampleLimit:      r.Config().RemoteRead.SampleLimit,
		RemoteReadConcurrencyLimit: r.Config().RemoteRead.Concurrency,
		RemoteReadBytesInFrame:     r.Config().RemoteRead.MaxBytesInFrame,
		Gatherer:                   prometheus.NewRegistry(),
		Parser:                     r.Parser(),
	})
	cfg := r.Query.prometheusConfig()
	if err := h.ApplyConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	h.SetReady(web.Ready)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, []net.Listener{l}, "") }()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		<-done
		l.Close()
	})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		out := req.Clone(req.Context())
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", l.Addr().String()
		resp, err := tr.RoundTrip(out)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			t.Error(err)
		}
	})
}

func TestUpstreamFederate(t *testing.T) {
	r := newRig(t)
	federateSeries(t, r.db, time.Now())
	for _, c := range federateCases {
		r.prom.GlobalConfig.ExternalLabels = c.external
		if d := cmp.Diff(c.ask(t, upstream(t, r)), c.ask(t, r.Handler())); d != "" {
			t.Errorf("%s (-upstream +ours):\n%s", c.name, d)
		}
	}
}

// timings are the parts of an answer that differ from run to run.
var timings = regexp.MustCompile(`"(evalTotalTime|resultSortTime|queryPreparationTime|innerEvalTime|execQueueTime|execTotalTime)":[0-9.e-]+`)

func TestUpstreamAPI(t *testing.T) {
	r := newRig(t)
	load(t, r.db)
	up := upstream(t, r)
	from, to := fmt.Sprint(t0.Unix()), fmt.Sprint(t0.Add(9*time.Minute).Unix())
	for _, path := range []string{
		"/query?query=shop_orders_total&time=" + to,
		"/query?query=rate(shop_orders_total[5m])&stats=all&time=" + to,
		"/query?query=sum(&time=" + to,
		"/query?query=1&time=soon",
		"/query?query=up&timeout=1ns",
		"/query?query=up&lookback_delta=x",
		"/query?query=shop_orders_total&limit=1&time=" + to,
		"/query_range?query=shop_orders_total&step=60&start=" + from + "&end=" + to,
		"/query_range?query=shop_orders_total&step=0&start=" + from + "&end=" + to,
		"/query_range?query=shop_orders_total[5m]&step=60&start=" + from + "&end=" + to,
		"/query_exemplars?query=shop_latency_bucket&start=" + from + "&end=" + to,
		"/query_cost?query=shop_orders_total&time=" + to,
		"/format_query?query=sum(up)by(job)",
		"/parse_query?query=sum(up)by(job)",
		"/labels", "/labels?match[]=shop_orders_total", "/label/instance/values", "/label/in-valid/values",
		"/series?match[]=shop_orders_total", "/series",
		"/search/metric_names?search=shop",
		"/status/buildinfo", "/status/config", "/status/tsdb/blocks", "/status/walreplay",
		"/openapi.yaml", "/nothing",
	} {
		for _, header := range []string{"", "gzip"} {
			ask := func(h http.Handler) string {
				u, err := url.Parse("/api/v1" + path)
				if err != nil {
					t.Fatal(err)
				}
				req := httptest.NewRequest(http.MethodGet, u.String(), http.NoBody)
				req.Header.Set("Origin", "https://grafana.example")
				if header != "" {
					req.Header.Set("Accept-Encoding", header)
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, req)
				body := timings.ReplaceAllString(rec.Body.String(), "")
				if header != "" {
					body = ""
				}
				head := rec.Header()
				head.Del("Date")
				head.Del("Content-Length")
				head.Del("X-Content-Type-Options")
				return fmt.Sprintln(rec.Code, head, body)
			}
			if d := cmp.Diff(ask(up), ask(r.Handler())); d != "" {
				t.Errorf("%s (-upstream +ours):\n%s", path, d)
			}
		}
	}
}
