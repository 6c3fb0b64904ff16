package mesh

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/query/global"
)

// fill gives islands their histories, and returns what they have together.
func fill(t *testing.T, sites ...*site) *merged {
	t.Helper()
	var names []string
	for _, s := range sites {
		names = append(names, s.name)
	}
	m := merge(t, time.Now().Add(-30*time.Second).Truncate(10*time.Second), names)
	for n, s := range sites {
		raw, err := (&prompb.WriteRequest{Timeseries: history(n, s.name, m.end)}).Marshal()
		if err == nil {
			err = (&feed{to: s}).send(s.node.HTTPClient(), snappy.Encode(nil, raw))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestDetourOfAQuestion swallows all packets of the direct path between two islands
// while the answer to a question is on its way over it: the question is put once
// more, goes around by a relay, and its answer is complete before the deadline.
func TestDetourOfAQuestion(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 150 * time.Millisecond} // an answer is there 600 ms after its question
	near := lab.LinkOptions{Delay: 5 * time.Millisecond}
	relay, a, b := newSite(t, l.Public("eu-0", near), "eu"), newSite(t, l.Public("eu-1", link), "eu"), newSite(t, l.Public("us-1", link), "us")
	allUp(relay, a, b)
	found(t, relay, a, b)
	connected(t, relay, a, b)
	m := fill(t, relay, a, b)
	for range 5 {
		onPath(t, time.Minute, a, b, "direct")
		onPath(t, time.Minute, b, a, "direct")
		if detoured(t, m, a, b) {
			return
		}
	}
	t.Error("five answers were faster than the hole")
}

// detoured reports false where the answer was there before the hole was.
func detoured(t *testing.T, m *merged, a, b *site) bool {
	t.Helper()
	const expr, each = "sum by (job) (load)", 20 * time.Second
	type said struct {
		globalAnswer
		err  error
		took time.Duration
	}
	done, began := make(chan said, 1), time.Now()
	go func() {
		answer, err := a.within(each, stalls, "query", url.Values{"query": {expr}, "time": {fmt.Sprint(m.end.Unix())}})
		done <- said{answer, err, time.Since(began)}
	}()
	wait(t, 200*time.Millisecond)
	defer a.node.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(b.node.SeenFrom(), 32)})()
	if len(done) > 0 {
		return false
	}
	got := <-done
	if got.err == nil {
		got.err = m.check(got.globalAnswer, expr, m.end)
	}
	if got.err != nil || len(got.Warnings) > 0 {
		t.Fatalf("%v %s", got.err, show(got.globalAnswer))
	}
	peers, err := a.peers()
	if err != nil || peers[b.name].Path != "relayed" {
		t.Errorf("the answer came by another way than a relay: %v %s", err, show(peers[b.name]))
	}
	hedged, err := a.metric("atoll_query_hedges_total", `result="won"`)
	t.Logf("complete %s after it was asked for, %s before each island's time was over; answers to a second call: %v %v",
		got.took.Round(time.Millisecond), (each - got.took).Round(time.Millisecond), hedged, err)
	return true
}

// TestOneRoundTrip asks islands that are 100 to 200 ms away for expressions of one
// to twelve parts: each of them gets one call, whatever the expression.
func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	var sites []*site
	for _, node := range lab.ThreeRegions(l).All {
		if name := node.Name(); strings.HasSuffix(name, "-1") {
			sites = append(sites, newSite(t, node, name[:2]))
		}
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	m := fill(t, sites...)
	asker, others := sites[0], sites[1:]
	served := func(s *site) float64 {
		n, err := s.metric("atoll_mesh_rpc_calls_total", `side="server"`, `method="Answer"`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var over []float64
	for _, expr := range []string{
		`sum(load)`,
		`sum(load) / count(load)`,
		`avg(load) + max(load) - min(depth)`,
		`sum by (job) (rate(requests_total[1m])) / on (job) avg by (job) (load) + on (job) max by (job) (depth) - on (job) count by (job) (room)`,
		`sum(load) + sum(depth) + count(load) + count(depth) + max(load) + max(depth) + min(load) + min(depth) + avg(load) + avg(depth)`,
	} {
		for range 3 {
			var before []float64
			for _, s := range others {
				before = append(before, served(s))
			}
			began := time.Now()
			a, err := asker.within(deadline, stalls, "query", url.Values{"query": {expr}, "time": {fmt.Sprint(m.end.Unix())}})
			took := time.Since(began)
			if err == nil {
				err = m.check(a, expr, m.end) // in one round
			}
			if err != nil {
				t.Fatalf("%s: %v %s", expr, err, show(a))
			}
			hedged, err := asker.metric("atoll_query_hedges_total", `result!="denied"`)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range others { // a call is counted once it has ended, which may be after its answer is there
				eventually(t, time.Minute, s.name+" got one call for "+expr, func() error {
					if calls := served(s) - before[i]; calls != 1 && hedged == 0 {
						return fmt.Errorf("it got %v", calls)
					}
					return nil
				})
			}
			slowest := slices.MaxFunc(a.Receipt.Islands, func(x, y global.IslandReceipt) int { return int(x.Took - y.Took) }).Took
			over = append(over, float64(took)/float64(slowest)-1)
			t.Logf("%d parts: %s, of which the slowest island took %s", len(a.Receipt.Pushed), took.Round(time.Millisecond), slowest.Round(time.Millisecond))
		}
	}
	slices.Sort(over)
	t.Logf("beyond the slowest island: %.1f %% in the middle, %.1f %% at most", 100*over[len(over)/2], 100*over[len(over)-1])
}
