package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/portal"
)

// TestAlertFiresAndResolves runs the whole demo with a real island, at a quicker
// pace: the shop breaks, the island sees it, notifies, and says when it is over.
func TestAlertFiresAndResolves(t *testing.T) {
	out := &terminal{}
	d, err := New(Options{
		Listen: "127.0.0.1:0", Out: out,
		BurstEvery: 24 * time.Second, BurstFor: 10 * time.Second,
		pace: pace{
			Scrape: 2 * time.Second, Evaluate: time.Second, Window: 8 * time.Second, For: time.Second,
			Host: 5 * time.Second, Probe: 2 * time.Second, Aggregate: 5 * time.Second, Calm: 2 * time.Second,
			GroupWait: time.Second, GroupInterval: time.Second, Day: 6 * time.Minute, Poll: time.Second,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	defer http.DefaultClient.CloseIdleConnections()
	stopped := false
	defer func() {
		if !stopped {
			cancel()
			<-done
		}
	}()
	says := func(what string) {
		t.Helper()
		waitFor(t, what, 3*time.Minute, func() bool { return strings.Contains(out.String(), what) })
	}
	says("Look at it")
	base := regexp.MustCompile(`Look at it +(http://[^/]+)/`).FindStringSubmatch(out.String())[1]

	says("FIRING    ShopErrors  payment: payment answers")
	says("RESOLVED  ShopErrors  payment: over after")

	// What the welcome offers to ask has an answer.
	for _, expr := range []string{
		"service:shop_requests:rate", "service:shop_latency_seconds:p95 > 0", "topk(5, rate(shop_http_requests_total[1m]))",
		`max_over_time(service:shop_errors:ratio{service="payment"}[5m]) > 0.05`, `histogram_count(shop_http_request_duration_seconds) > 0`,
	} {
		var answer struct {
			Data struct{ Result []any }
		}
		if err := json.Unmarshal([]byte(get(t, base+"/api/v1/query?query="+url.QueryEscape(expr))), &answer); err != nil {
			t.Errorf("%s: %v", expr, err)
		} else if len(answer.Data.Result) == 0 {
			t.Errorf("%s: no result", expr)
		}
	}
	if text := get(t, base+"/api/v1/query_exemplars?query=shop_http_request_duration_seconds_bucket&start=0&end=9999999999"); !strings.Contains(text, "trace_id") {
		t.Errorf("no exemplar: %.300s", text)
	}
	client := newClient(strings.TrimPrefix(base, "http://"))
	defer client.close()
	var s seen
	waitFor(t, "every target to be up", 90*time.Second, func() bool {
		if s, err = client.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.up >= 4 && s.up == s.targets
	})
	if s.status.Name != "beijing" || s.status.Version.Version != "test" || s.status.HeadSeries == 0 {
		t.Errorf("seen %+v", s)
	}

	checkIslands(t, client)
	checkPage(t, client)

	cancel()
	stopped = true
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if others := regexp.MustCompile(`(?m)^  (?:singapore|frankfurt) +http://127\.0\.0\.1:\d+/$`).FindAllString(out.String(), -1); len(others) != 2 {
		t.Errorf("the welcome names the islands %q:\n%s", others, out)
	}
	if !strings.Contains(out.String(), "Stopped. Removed ") {
		t.Errorf("no farewell:\n%s", out)
	}
}

// checkIslands wants the two others connected, each in its own region.
func checkIslands(t *testing.T, client *client) {
	t.Helper()
	regions := map[string]string{}
	waitFor(t, "two connected islands", time.Minute, func() bool {
		var peers []mesh.PeerStatus
		if err := client.get(t.Context(), "/api/atoll/v1/mesh/peers", &peers); err != nil {
			t.Fatal(err)
		}
		clear(regions)
		for _, p := range peers {
			if p.State == mesh.StateConnected && p.Path == "direct" {
				regions[p.Name] = p.Region
			}
		}
		return len(regions) == 2
	})
	if diff := cmp.Diff(map[string]string{"singapore": "ap-southeast", "frankfurt": "eu-central"}, regions); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	var status portal.Status
	if err := client.get(t.Context(), "/api/atoll/v1/status", &status); err != nil {
		t.Fatal(err)
	}
	if n := status.Network; n == nil || n.Name != "acme" || n.Members != 3 || n.Connected != 2 || n.ID == "" {
		t.Errorf("network %+v", n)
	}
}

// checkPage wants the page, and what it asks of all to be answered.
func checkPage(t *testing.T, client *client) {
	t.Helper()
	if page := get(t, client.base+"/"); !strings.Contains(page, "<title>Atoll</title>") {
		t.Errorf("the page is %.200q", page)
	}
	for _, path := range []string{"/api/atoll/v1/session", "/api/atoll/v1/health", "/api/atoll/v1/alerts", "/api/atoll/v1/aggregate/rules",
		"/api/v1/probes/matrix", "/api/v1/probes/vantages", "/api/atoll/v1/search?q=shop", "/api/atoll/v1/documents/dashboard/shop"} {
		if err := client.get(t.Context(), path, nil); err != nil {
			t.Errorf("the page asks in vain: %v", err)
		}
	}
}
