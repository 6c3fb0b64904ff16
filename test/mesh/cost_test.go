package mesh

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// costs are questions about three islands of 16,800 series each, over an hour or at
// its end, with what the answers to them may weigh on their way, in KiB.
var costs = []struct {
	question, step string
	most           float64
}{
	{`sum by (job) (rate(http_requests_total[5m]))`, "60s", 7},
	{`histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`, "60s", 14},
	{`topk(10, rate(http_requests_total[5m]))`, "60s", 13},
	{`node_cpu_seconds_total{mode=~"idle|user|system",cpu=~"[01]"}`, "60s", 65},
	{`quantile(0.9, rate(http_requests_total[5m]))`, "15s", 2017},
	{`sum by (job) (rate(http_requests_total[5m])) > 1`, "", 0.7},
}

// load sends an hour of a fleet, and the five minutes before it, up to end; without
// ATOLL_LONG only the series that costs ask for.
func load(s *site, seed uint64, end time.Time) error {
	var keep func(string) bool
	if !long() {
		keep = func(metric string) bool {
			return metric == "http_requests_total" || metric == "http_request_duration_seconds_bucket" || metric == "node_cpu_seconds_total"
		}
	}
	return lab.LoadFleet(s.t.Context(), s.node.HTTPClient(), "http://127.0.0.1:59080", seed, end, keep)
}

// TestCost has three of six islands hold a fleet each, and asks each of the six what
// dashboards and alerts ask: answers are complete, in one round, and weigh no more
// than is stated, and much less when they are asked for again.
func TestCost(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	var sites []*site
	for _, node := range append(lab.ThreeRegions(l).All, l.Public("eu-3", lab.LinkOptions{Region: "eu"}))[:6] {
		sites = append(sites, newSite(t, node, node.Name()[:2]).with("store: {out_of_order_window: 2h}"))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	end := time.Now().Add(-time.Minute).Truncate(time.Minute)
	each(3, 2, func(n int) {
		if err := load(sites[2*n], uint64(n+1), end); err != nil {
			t.Errorf("load %s: %v", sites[2*n].name, err)
		}
	})
	if t.Failed() {
		return
	}
	for _, s := range sites {
		// The first answer of an island to another says once what it promises, some 45 bytes.
		if a, err := s.everywhere("query", url.Values{"query": {"count(up)"}}); err != nil {
			t.Fatalf("%s asks what is up: %v %s", s.name, err, show(a))
		}
		for _, c := range costs {
			path, form := "query_range", url.Values{
				"query": {c.question}, "step": {c.step}, "time": {fmt.Sprint(end.Unix())},
				"start": {fmt.Sprint(end.Add(-time.Hour).Unix())}, "end": {fmt.Sprint(end.Unix())},
			}
			if c.step == "" {
				path = "query"
			}
			var moved [2]float64
			var wire [3]float64
			for i := range moved {
				wire[i], _ = s.metric("atoll_mesh_rpc_wire_bytes_total")
				a, err := s.within(20*time.Second, 20*time.Second, path, form) // bytes matter here, a busy machine does not
				if err != nil || a.Receipt.Partial || a.Receipt.Rounds != 1 || len(a.Data) < 100 {
					t.Fatalf("%s asks %s: %v %s", s.name, c.question, err, show(a))
				}
				for _, island := range a.Receipt.Islands {
					moved[i] += float64(island.Bytes) / 1024
				}
				wire[i+1], _ = s.metric("atoll_mesh_rpc_wire_bytes_total")
			}
			t.Logf("%s: %8.2f KiB, again %8.2f (calls of all kinds both ways: %.2f, %.2f) %s %s", s.name, moved[0], moved[1],
				(wire[1]-wire[0])/1024, (wire[2]-wire[1])/1024, c.question, c.step)
			if moved[0] > c.most {
				t.Errorf("%s asks %s every %s: %.2f KiB, want at most %g", s.name, c.question, c.step, moved[0], c.most)
			}
		}
	}
}
