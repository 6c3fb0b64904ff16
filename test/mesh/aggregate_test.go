package mesh

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// trade is what the senders of each site send, and the rule for it.
type trade struct {
	metric         string
	services, pods int // pods of a service on each island
	every          time.Duration
	interval       time.Duration
	maxLag         time.Duration
	checkpoint     time.Duration
	outputs        []string
}

// rule makes the windows of all islands together. An island that is silent holds
// them back for max_lag and the grace of ten seconds.
func (d trade) rule() string {
	return fmt.Sprintf(`rules:
  - name: shop
    match: %s
    interval: %s
    without: [instance]
    outputs: [%s]
    max_lag: %s
    keep_input: false
    distribute: true
`, d.metric, d.interval, strings.Join(d.outputs, ", "), d.maxLag)
}

// shop are islands that aggregate together, each with the senders of its own site.
type shop struct {
	whole *testing.T // what lives as long as all
	t     *testing.T // what runs now
	trade
	lab   *lab.Lab
	sites []*site
	feeds []*feed
	begin time.Time
	owned map[string]int // samples by island
}

// newShop brings up three islands far from each other, and their senders.
func newShop(t *testing.T, of trade) *shop {
	t.Helper()
	h := &shop{whole: t, t: t, trade: of, lab: lab.New(t)}
	w := h.lab.WAN(lab.WANOptions{})
	w.SetDelay("eu", "us", 40*time.Millisecond)
	w.SetDelay("us", "ap", 60*time.Millisecond)
	w.SetDelay("eu", "ap", 80*time.Millisecond)
	for _, region := range []string{"eu", "us", "ap"} {
		h.sites = append(h.sites, h.site(region+"-1", region))
	}
	allUp(h.sites...)
	found(t, h.sites[0], h.sites[1:]...)
	meshed(t, h.sites...)
	h.sites[0].set("aggregate/shop", h.rule())
	h.obey(h.sites...)
	h.begin = h.next()
	for _, s := range h.sites {
		h.feeds = append(h.feeds, h.feed(s, h.begin))
	}
	return h
}

func (h *shop) site(name, region string) *site {
	return newSite(h.whole, h.lab.Public(name, lab.LinkOptions{Region: region, Delay: time.Millisecond}), region).
		with(fmt.Sprintf("aggregate: {checkpoint_interval: %s}", h.checkpoint))
}

func (h *shop) feed(s *site, begin time.Time) *feed {
	return newFeed(h.whole, s, h.metric, h.services, h.pods, h.every, begin)
}

// next is the end of a window that is not over yet.
func (h *shop) next() time.Time {
	return time.Now().Add(time.Second).Truncate(h.interval).Add(h.interval)
}

// obey waits until islands have the rule.
func (h *shop) obey(sites ...*site) {
	h.t.Helper()
	for _, s := range sites {
		eventually(h.t, time.Minute, s.name+" has the rule", func() error {
			_, err := s.metric("atoll_aggregate_groups", `rule="shop"`)
			if err != nil {
				return err
			}
			body, err := s.port("/metrics")
			if err == nil && !strings.Contains(string(body), `rule="shop"`) {
				err = fmt.Errorf("%s has no rule shop", s.name)
			}
			return err
		})
	}
}

// goOn lets the senders go on for a while.
func (h *shop) goOn(d time.Duration) { wait(h.t, d) }

// check waits until every window to now is published, and compares all of them from
// the begin on: one sample for each group and window, on one island, as the senders
// make it.
func (h *shop) check(within time.Duration, sites ...*site) {
	h.t.Helper()
	to := time.Now().Truncate(h.interval)
	for _, f := range h.feeds {
		eventually(h.t, time.Minute, "the senders come along", func() error {
			select {
			case <-f.stopped:
				return nil
			default:
			}
			if _, _, last := f.sent(); last.Before(to) {
				return fmt.Errorf("%s has taken what was before %s", f.to.name, last)
			}
			return nil
		})
	}
	took := eventually(h.t, within, "every window is right", func() error { return h.compare(to, sites...) })
	h.t.Logf("%d windows of %d groups are right, %s later; samples by island: %v",
		int(to.Sub(h.begin)/h.interval), h.services, took.Round(100*time.Millisecond), h.owned)
}

// outputs are what the rules compute of a cell.
var outputs = map[string]func(cell) float64{
	"total":        func(c cell) float64 { return c.total },
	"increase":     func(c cell) float64 { return c.increase },
	"count_series": func(c cell) float64 { return float64(c.series) },
	"avg":          func(c cell) float64 { return c.sum / float64(c.samples) },
}

func (h *shop) compare(to time.Time, sites ...*site) error {
	want := truth(h.interval, h.feeds...)
	h.owned = map[string]int{}
	for _, output := range h.outputs {
		value := outputs[output]
		got, err := results(fmt.Sprintf("%s:%s_without_instance_%s", h.metric, h.interval, output), sites...)
		if err != nil {
			return err
		}
		for key, all := range got {
			if len(all) > 1 {
				return h.twice(output, key, all)
			}
			h.owned[all[0].by.name]++
		}
		for key, c := range want {
			end := time.UnixMilli(key.end)
			if !end.After(h.begin) || end.After(to) {
				continue // of the first window only first values were seen
			}
			w, all := value(c), got[key]
			if len(all) == 0 {
				return fmt.Errorf("%s of %s has no window to %s, %d s from the begin", output, key.service, end.Format(time.TimeOnly), int(end.Sub(h.begin).Seconds()))
			}
			if g := all[0].value; math.Abs(g-w) > 1e-9*math.Abs(w) {
				return fmt.Errorf("%s of %s, window to %s, %d s from the begin, by %s: got %v, want %v",
					output, key.service, end.Format(time.TimeOnly), int(end.Sub(h.begin).Seconds()), all[0].by.name, g, w)
			}
		}
	}
	return nil
}

// twice fails the test: a second sample does not go away by waiting.
func (h *shop) twice(output string, key cellKey, all []published) error {
	names := ""
	for _, p := range all {
		names += fmt.Sprintf(" %s: %v;", p.by.name, p.value)
	}
	h.t.Helper()
	h.t.Fatalf("%s of %s, window to %s, was published %d times:%s", output, key.service, time.UnixMilli(key.end).Format(time.TimeOnly), len(all), names)
	return nil
}

// pods are what most of these tests aggregate.
func pods(lag, checkpoint time.Duration) trade {
	return trade{
		metric: "shop_requests_total", services: 30, pods: 4, every: time.Second, interval: 5 * time.Second,
		maxLag: lag, checkpoint: checkpoint, outputs: []string{"total", "increase", "count_series", "avg"},
	}
}

// TestAggregateTogether has three islands make windows together while one of them is
// killed and one is cut off: over all stores there is one sample for each group and
// window, and it is the truth.
func TestAggregateTogether(t *testing.T) {
	t.Parallel()
	apart, lag := 15*time.Second, 30*time.Second
	if long() {
		apart, lag = time.Minute, 90*time.Second
	} else {
		t.Logf("cut off for %s only; ATOLL_LONG=1 makes it a minute", apart)
	}
	h := newShop(t, pods(lag, 3*time.Second))
	h.goOn(time.Until(h.begin) + 11*time.Second)
	h.check(30*time.Second, h.sites...)
	if len(h.owned) < len(h.sites) {
		t.Errorf("only these islands own groups: %v", h.owned)
	}
	t.Log("an owner is killed and starts again")
	h.sites[1].kill()
	h.goOn(3 * time.Second)
	h.sites[1].up()
	h.goOn(h.interval)
	h.check(lag+30*time.Second, h.sites...)
	t.Log("one is cut off")
	h.sites[2].node.Link().Cut()
	h.goOn(apart)
	h.sites[2].node.Link().Heal()
	h.check(lag+time.Minute, h.sites...)
}

// TestAggregateKilledBeforeCheckpoint kills an island that has sent parts of windows
// and has kept no state yet but its journal: nothing of that counts twice.
func TestAggregateKilledBeforeCheckpoint(t *testing.T) {
	t.Parallel()
	h := newShop(t, pods(30*time.Second, 10*time.Minute))
	h.goOn(time.Until(h.begin) + 11*time.Second)
	h.check(30*time.Second, h.sites...)
	h.sites[1].kill()
	h.sites[1].up()
	h.goOn(h.interval)
	h.check(time.Minute, h.sites...)
}

// TestAggregateMembers has islands make windows together while one joins and another
// leaves: what the one that left had counted stays in the totals, and what it had of
// the window that was under way is in it.
func TestAggregateMembers(t *testing.T) {
	t.Parallel()
	lag := 20 * time.Second
	h := newShop(t, pods(lag, 3*time.Second))
	h.goOn(time.Until(h.begin) + 6*time.Second)
	h.check(30*time.Second, h.sites...)
	t.Log("one joins")
	d := h.site("us-2", "us").up()
	d.join(h.sites[0].invite("us"))
	h.obey(d)
	h.sites = append(h.sites, d)
	h.feeds = append(h.feeds, h.feed(d, h.next()))
	h.goOn(12 * time.Second)
	h.check(lag+30*time.Second, h.sites...)
	if h.owned[d.name] == 0 {
		t.Errorf("the island that joined owns nothing: %v", h.owned)
	}
	t.Log("one leaves in the midst of a window")
	h.goOn(time.Until(h.next().Add(-h.interval / 2)))
	h.feeds[2].stop()
	begin := time.Now()
	h.sites[2].must("leave")
	t.Logf("leaving took %s", time.Since(begin).Round(10*time.Millisecond))
	h.goOn(2 * h.interval)
	h.check(lag+30*time.Second, h.sites...)
}

// TestAggregateTraffic counts what islands send each other for a rule of a thousand
// groups, beside what their senders send them.
func TestAggregateTraffic(t *testing.T) {
	t.Parallel()
	h := newShop(t, trade{
		metric: "mesh_requests_total", services: 1000, pods: 30, every: 5 * time.Second,
		interval: 20 * time.Second, maxLag: 20 * time.Second, checkpoint: 30 * time.Second, outputs: []string{"total"},
	})
	sent := func() (parts float64, packets uint64) {
		for _, s := range h.sites {
			n, err := s.metric("atoll_aggregate_share_sent_bytes_total")
			if err != nil {
				t.Fatal(err)
			}
			parts, packets = parts+n, packets+s.node.Link().Counters().OutBytes
		}
		return parts, packets
	}
	parts, packets := sent()
	wait(t, time.Until(h.begin)+2*h.interval)
	for _, f := range h.feeds {
		f.stop() // at a window's end, give or take a second
	}
	h.check(2*time.Minute, h.sites...)
	partsNow, packetsNow := sent()
	raw, samples := int64(0), 0
	for _, f := range h.feeds {
		ticks, n, _ := f.sent()
		raw, samples = raw+n, samples+len(ticks)*h.services*h.pods
	}
	share := 100 * (partsNow - parts) / float64(raw)
	t.Logf("%d samples of %d series came in %d bytes of remote write; parts of windows took %.0f bytes, %.2f %% of that; all packets of the mesh %d bytes, %.2f %%",
		samples, 3*h.services*h.pods, raw, partsNow-parts, share, packetsNow-packets, 100*float64(packetsNow-packets)/float64(raw))
	if parts == partsNow || share > 2 {
		t.Errorf("parts took %.2f %% of what came in, want at most 2 %%", share)
	}
}
