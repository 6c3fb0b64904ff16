package conform

import "github.com/prometheus/prometheus/model/labels"

// Scenario is one story of deliveries and the numbers it has to end in.
type Scenario struct {
	Name, About string
	Deliveries  Flight
	Observed    Flight // what counts: of the leading replica, without what was lost; nil: Deliveries
	Interval    int64
	MaxGap      int64   // 0: Interval
	Until       int64   // the last tick
	Restarts    []int64 // instants at which the node is killed and restored
	Nodes       int     // 0 is 1
	Group       string  // the one group that is looked at

	// Increase is the final value of every window. First is what is published
	// first if nothing is waited for (patience: a max_lag beyond every delay)
	// where that differs: the value of a window whose gap begins after the
	// source's last sample of that window.
	Increase, First Row
	Rate            Row // rate_sum
	Count           Row // count_samples
	// Slack is by how much a window may differ while all of them together are
	// exact: where one step at a replica's death may slide into the next window.
	Slack float64
}

// CounterName is the metric all scenarios use.
const CounterName = "requests_total"

// Pod returns the labels of the series that the scenarios scrape from an instance.
func Pod(instance string, more ...string) labels.Labels {
	return labels.FromStrings(append([]string{
		labels.MetricName, CounterName, "job", "shop", "instance", instance, "path", "/",
	}, more...)...)
}

// group is what is left of Pod's labels without instance and pod.
const group = `{job="shop", path="/"}`

// steady is the series "a" of all scenarios: 100 per second, scraped every ten seconds.
func steady() Flight { return scrapeTen(Pod("a"), Linear(1_000_000, 100)) }

func scrapeTen(ls labels.Labels, v func(int64) float64) Flight {
	return Scrape(ls, 5*Second, 595*Second, 10*Second, v)
}

func minutes(text string) Row { return ParseRow(Minute, Minute, text) }

const (
	plain   = "5000 6000x9"
	hundred = "100x10"
)

// Scenarios returns every case with the numbers it must give.
func Scenarios() []Scenario {
	all := append(gaps(), replicas()...)
	all = append(all, nodes()...)
	for i := range all {
		s := &all[i]
		s.Interval, s.Group = Minute, group
		if s.Until == 0 {
			s.Until = 720 * Second
		}
		if s.Observed == nil {
			s.Observed = s.Deliveries
		}
		if s.First == nil {
			s.First = s.Increase
		}
		s.Nodes = max(s.Nodes, 1)
	}
	return all
}

// gaps are the scenarios of one sender: samples missing, late, out of order.
func gaps() []Scenario {
	reset := ResetAt(Linear(1_000_000, 100), 240*Second, 100)
	return []Scenario{
		{
			Name: "S0", About: "steady", Deliveries: steady(),
			Increase: minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S1", About: "collection gap: no samples 185..295",
			Deliveries: steady().Without(185*Second, 295*Second),
			Increase:   minutes("5000 6000 6500 6000 6000 5500 6000x4"),
			First:      minutes("5000 6000 6000 6000 6000 5500 6000x4"),
			Rate:       minutes(hundred),
		},
		{
			Name: "S2", About: "delivery gap: 185..295 arrive in order at 300.5",
			Deliveries: steady().Hold(185*Second, 295*Second, 300_500),
			Increase:   minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S3", About: "live again at 305, the backlog arrives at 350.5",
			Deliveries: steady().Hold(185*Second, 295*Second, 350_500),
			Increase:   minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S3r", About: "live again at 305, the backlog arrives newest first",
			Deliveries: steady().Newest(185*Second, 295*Second, 350_500),
			Increase:   minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S4", About: "constant lag of 70 s", Deliveries: steady().Late(70 * Second),
			Increase: minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S4/at once with a look", About: "constant lag of 70 s, and windows are looked at the instants of arrival",
			Deliveries: steady().Late(70*Second - transit),
			Increase:   minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S4/15 s", About: "constant lag of 70 s, scraped every 15 s",
			Deliveries: Scrape(Pod("a"), 5*Second, 595*Second, 15*Second, Linear(1_000_000, 100)).Late(70 * Second),
			Increase:   minutes("4500 6000x9"), Rate: minutes(hundred), Count: minutes("4x10"),
		},
		{
			Name: "S4/30 s", About: "constant lag of 70 s, scraped every 30 s",
			Deliveries: Scrape(Pod("a"), 5*Second, 595*Second, 30*Second, Linear(1_000_000, 100)).Late(70 * Second),
			Increase:   minutes("3000 6000x9"), Rate: minutes(hundred), Count: minutes("2x10"),
		},
		{
			Name: "S5", About: "samples at :55 arrive 8 s late",
			Deliveries: steady().Map(func(a *Arrival) {
				if a.T%Minute == 55*Second {
					a.At += 8 * Second
				}
			}),
			Increase: minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
		{
			Name: "S6", About: "reset to 0 at 240 inside the collection gap",
			Deliveries: scrapeTen(Pod("a"), reset).Without(185*Second, 295*Second),
			Increase:   minutes("5000 6000 6250 3000 3000 5250 6000x4"),
			First:      minutes("5000 6000 6000 3000 3000 5250 6000x4"),
		},
		{
			Name: "S6b", About: "the same reset, backlog in order at 300.5",
			Deliveries: scrapeTen(Pod("a"), reset).Hold(185*Second, 295*Second, 300_500),
			Increase:   minutes("5000 6000 6000 6000 5500 6000x5"),
		},
		{
			Name: "S7", About: "killed at 206, back at 214, no scrape missed",
			Deliveries: steady(), Restarts: []int64{206 * Second},
			Increase: minutes(plain), Rate: minutes(hundred), Count: minutes("6x10"),
		},
	}
}

// replicas are the scenarios in which two senders deliver one source.
func replicas() []Scenario {
	a := steady().Label("replica", "a")
	shifted := Scrape(Pod("a"), 8*Second, 598*Second, 10*Second, Linear(1_000_000, 100))
	count := minutes("6x10")
	return []Scenario{
		{
			Name: "S8", About: "identical samples twice, by replica label",
			Deliveries: Join(a, steady().Label("replica", "b").From(2).Late(800)), Observed: a,
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
		{
			Name: "S8/senders", About: "identical samples twice, without a label, by two senders",
			Deliveries: Join(steady(), steady().From(2).Late(800)), Observed: steady(),
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
		{
			Name: "S8/one sender", About: "identical samples twice by one sender",
			Deliveries: Join(steady(), steady().Late(800)), Observed: steady(),
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
		{
			Name: "S8b", About: "replicas scrape at :05 and :08, by replica label",
			Deliveries: Join(a, shifted.Label("replica", "b").From(2)), Observed: a,
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
		{
			Name: "S8b/senders", About: "replicas scrape at :05 and :08, replica label dropped",
			Deliveries: Join(steady(), shifted.From(2)), Observed: steady(),
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
		{
			Name: "S8b/merged", About: "replicas scrape at :05 and :08, merged by the sender",
			Deliveries: Join(steady(), shifted),
			Increase:   minutes("5300 6000x9"), Rate: minutes(hundred), Count: minutes("12x10"),
		},
		{
			Name: "S8c", About: "replica b is 9 s behind, by replica label",
			Deliveries: Join(a, shifted.Label("replica", "b").From(2).Late(9*Second)), Observed: a,
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
		{
			Name: "S8c/senders", About: "replica b is 9 s behind, replica label dropped",
			Deliveries: Join(steady(), shifted.From(2).Late(9*Second)), Observed: steady(),
			Increase: minutes(plain), Rate: minutes(hundred), Count: count,
		},
	}
}

// nodes are the scenarios of series that appear and of several nodes.
func nodes() []Scenario {
	born := Linear(-20_000, 100)
	later := func(ls labels.Labels) Flight {
		return Scrape(ls, 205*Second, 595*Second, 10*Second, born)
	}
	old := Scrape(Pod("b"), -1795*Second, 595*Second, 10*Second, Linear(1_000_000, 100))
	past := ParseRow(-1740*Second, Minute, "5000 6000x29 11000 12000x9")
	pastFirst := ParseRow(-1740*Second, Minute, "5000 6000x29 5000 6000x4 12000x5")
	return []Scenario{
		{
			Name: "S10", About: "a series is born at 200 from 0 on a known source",
			Deliveries: Join(steady(), later(Pod("a", "pod", "2"))),
			Increase:   minutes("5000 6000x2 9500 12000x6"),
		},
		{
			Name: "S10/new source", About: "a series appears on a new source, created when is unknown",
			Deliveries: Join(steady(), later(Pod("b"))),
			Increase:   minutes("5000 6000x2 9000 12000x6"),
		},
		{
			Name: "S10/created", About: "a series appears on a new source, created at 200",
			Deliveries: Join(steady(), later(Pod("b")).Created(200*Second)),
			Increase:   minutes("5000 6000x2 9500 12000x6"),
		},
		{
			Name: "S12", About: "backlog of 30 minutes of instance b at 300.5, then live",
			Deliveries: Join(steady(), old.Hold(-1795*Second, 295*Second, 300_500)),
			Increase:   past, First: pastFirst,
		},
		{
			Name: "S13", About: "ten pods on two nodes, six and four", Deliveries: tenPods(), Nodes: 2,
			Increase: minutes("50000 60000x9"), Rate: minutes("1000x10"), Count: minutes("60x10"),
		},
	}
}

func tenPods() Flight {
	var f Flight
	for i := range 10 {
		node := 0
		if i >= 6 {
			node = 1
		}
		f = append(f, scrapeTen(Pod(string(rune('a'+i))), Linear(1_000_000, 100)).To(node)...)
	}
	return f
}
