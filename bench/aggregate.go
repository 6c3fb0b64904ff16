package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

const quantilesOutput = "quantiles(0.5, 0.99)"

var contenders = []string{"victoriametrics", "atoll"}

// runAggregate prints what a sample costs lib/streamaggr and Atoll.
func runAggregate(ctx context.Context, o options) error {
	fmt.Println("## Stream aggregation: `without: [instance, pod]`, snappy and protobuf decoding included")
	fmt.Println()
	fmt.Println("| rule, series to groups, cores | VictoriaMetrics, ns CPU/sample (rounds) | Atoll (rounds) | ratio of medians (worst to best) | heap B/series | ratio | allocations/sample |")
	fmt.Println("|---|---|---|---|---|---|---|")
	rates := map[string]map[int]float64{"victoriametrics": {}, "atoll": {}}    // of a million series, by cores
	costs := map[string]map[string]float64{"victoriametrics": {}, "atoll": {}} // of 100,000 series, ns by output
	for _, c := range aggregateCases() {
		got, err := c.all(ctx, o.rounds, contenders...)
		if err != nil {
			return err
		}
		printAggregate(c, got["victoriametrics"], got["atoll"])
		for _, who := range contenders {
			if c.scales() {
				rates[who][c.Cores] = rate(got[who])
			}
			if !c.Fleet.UniquePods && c.Fleet.Series == 100_000 {
				costs[who][c.Output] = median(nanos(got[who]))
			}
		}
	}
	fmt.Println()
	fmt.Println("| throughput, M samples a second, the fastest rounds | one core | two cores | times |")
	fmt.Println("|---|---|---|---|")
	for _, who := range contenders {
		one, two := rates[who][1]/1e6, rates[who][2]/1e6
		fmt.Printf("| %s | %.2f | %.2f | **%.2f** |\n", who, one, two, two/one)
	}
	fmt.Println()
	fmt.Println("| ns CPU/sample, 100k series | total | quantiles | times |")
	fmt.Println("|---|---|---|---|")
	for _, who := range contenders {
		total, quantiles := costs[who]["total"], costs[who][quantilesOutput]
		fmt.Printf("| %s | %.0f | %.0f | **%.2f** |\n", who, total, quantiles, quantiles/total)
	}
	fmt.Println()
	return nil
}

// all runs a job as often as said for each contender.
func (c job) all(ctx context.Context, rounds int, who ...string) (map[string][]result, error) {
	got := map[string][]result{}
	for range rounds {
		for _, w := range who {
			c.Who = w
			r, err := spawn(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("%s %s %s: %w", w, c.Kind, c.Output, err)
			}
			got[w] = append(got[w], r)
		}
	}
	return got, nil
}

func (c job) scales() bool {
	return c.Output == "total" && c.Fleet.Series == 1_000_000 && !c.Fleet.UniquePods
}

// runRoom prints what cannot be seen in CPU time: pauses, lag, what churn leaves.
func runRoom(ctx context.Context, o options) error {
	million := job{Output: "total", Cores: 2, Rounds: 3, Fleet: fleet{Series: 1_000_000, Groups: 1000}}
	fmt.Println("## Stream aggregation of 1M series: pauses, lag, churn")
	fmt.Println()
	fmt.Println("| | | median | longest | of |")
	fmt.Println("|---|---|---|---|---|")
	for _, output := range []string{"total", "rate_sum"} {
		c := million
		c.Kind, c.Output, c.Interval, c.Duration = "pause", output, 5*time.Second, time.Minute
		got, err := c.all(ctx, o.rounds, contenders...)
		if err != nil {
			return err
		}
		for _, who := range contenders {
			printTimes("longest time of a small request while a window of 5 s is sealed, "+output, who, got[who])
		}
	}
	c := million
	c.Kind, c.Interval, c.Duration = "lag", 10*time.Second, 30*time.Second
	got, err := c.all(ctx, o.rounds, "atoll")
	if err != nil {
		return err
	}
	printTimes("rule lag, scrapes and windows of 10 s", "atoll", got["atoll"])
	fmt.Println()
	c = million
	c.Kind = "churn"
	if got, err = c.all(ctx, 1, "atoll"); err != nil {
		return err
	}
	r := got["atoll"][0]
	fmt.Printf("Churn: heap with 1M series %.1f MB, after 10M more came and went %.1f MB: %+.1f %%.\n\n",
		float64(r.Heap)/1e6, float64(r.Left)/1e6, 100*(float64(r.Left)/float64(r.Heap)-1))
	return nil
}

func printTimes(what, who string, rs []result) {
	var ms []float64
	for _, r := range rs {
		for _, t := range r.Times {
			ms = append(ms, t.Seconds()*1e3)
		}
	}
	fmt.Printf("| %s | %s | %.1f ms | %.1f ms | %d windows |\n", what, who, median(ms), slices.Max(ms), len(ms))
}

func aggregateCases() []job {
	base := job{Output: "total", Cores: 1, Rounds: 3, Duration: 6 * time.Second, Fleet: fleet{Series: 100_000, Groups: 1000}}
	with := func(change func(*job)) job {
		j := base
		change(&j)
		return j
	}
	return []job{
		base,
		with(func(j *job) { j.Fleet.Series = 1_000_000 }),
		with(func(j *job) { j.Fleet.UniquePods = true }),
		with(func(j *job) { j.Fleet.Series, j.Fleet.UniquePods = 1_000_000, true }),
		with(func(j *job) { j.Fleet.Series, j.Cores = 1_000_000, 2 }),
		with(func(j *job) { j.Output = quantilesOutput }),
		with(func(j *job) { j.Output = "increase" }),
		with(func(j *job) { j.Output = "count_samples" }),
	}
}

func printAggregate(c job, theirs, ours []result) {
	a, b := nanos(theirs), nanos(ours)
	fmt.Printf("| %s | %.0f (%s) | %.0f (%s) | **%.1f** (%.1f to %.1f) | %.0f → %.0f | %.2f | %.3f → %.3f |\n",
		c.name(), median(a), list(a), median(b), list(b),
		median(a)/median(b), slices.Min(a)/slices.Max(b), slices.Max(a)/slices.Min(b),
		c.perSeries(theirs), c.perSeries(ours), c.perSeries(ours)/c.perSeries(theirs), theirs[0].Allocs, ours[0].Allocs)
}

func (c job) name() string {
	pods := "20 series a pod"
	if c.Fleet.UniquePods {
		pods = "a pod each"
	}
	return fmt.Sprintf("%s, %dk to %d, %s, %d", c.Output, c.Fleet.Series/1000, c.Fleet.Groups, pods, c.Cores)
}

func (c job) perSeries(rs []result) float64 {
	var out []float64
	for _, r := range rs {
		out = append(out, float64(r.Heap)/float64(c.Fleet.Series))
	}
	return median(out)
}

// nanos is what a sample took of CPU time, the median round of each process.
func nanos(rs []result) (out []float64) {
	for _, r := range rs {
		out = append(out, math.Round(median(r.PerCPU)))
	}
	return out
}

// rate is how many samples a second there were in the fastest round of all.
func rate(rs []result) float64 {
	least := math.Inf(1)
	for _, r := range rs {
		least = min(least, slices.Min(r.PerWall))
	}
	return 1e9 / least
}
