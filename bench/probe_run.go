package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	// probeTargets are probed every probeEvery: 300 probes a second.
	probeTargets = 1500
	probeEvery   = 5 * time.Second
	probeLength  = 20 * time.Second
)

// runProbe compares what a probe costs until its samples are stored, and then loads
// one core.
func runProbe(ctx context.Context, o options) error {
	pages, err := start(ctx, "probe-pages")
	if err != nil {
		return err
	}
	defer func() { _ = pages.end() }()
	at := pagesVariable + "=" + strings.TrimPrefix(pages.url, "http://")
	load := fmt.Sprintf("%s=%d %s", loadVariable, probeTargets, probeEvery)

	fmt.Printf("## HTTP probes without keep-alive, until stored\n\n%d targets every %s, medians of %d rounds.\n\n", probeTargets, probeEvery, o.rounds)
	fmt.Println("| | ms of CPU per probe (rounds) | samples per probe |\n|---|---|---|")
	costs := map[string][]float64{}
	samples := map[string]float64{}
	for range o.rounds {
		for _, who := range []string{"blackbox_exporter and Prometheus", "atoll"} {
			cost, n, err := probeRound(ctx, who, pages, at, load)
			if err != nil {
				return err
			}
			costs[who], samples[who] = append(costs[who], cost), n
		}
	}
	for _, who := range []string{"blackbox_exporter and Prometheus", "atoll"} {
		fmt.Printf("| %s | %.3f (%s) | %.1f |\n", who, median(costs[who]), list(costs[who]), samples[who])
	}
	theirs, ours := costs["blackbox_exporter and Prometheus"], costs["atoll"]
	fmt.Printf("\nRatio of medians %.1f (%.1f to %.1f).\n\n", median(theirs)/median(ours), slices.Min(theirs)/slices.Max(ours), slices.Max(theirs)/slices.Min(ours))
	return runProbeLoad(ctx, pages, at)
}

// probeRound returns milliseconds of CPU and samples per probe.
func probeRound(ctx context.Context, who string, pages *process, env ...string) (cost, samples float64, err error) {
	names := []string{"probe-atoll"}
	if who != "atoll" {
		names = []string{"probe-blackbox", "probe-prometheus"}
	}
	all := []*process{pages}
	defer func() {
		for _, p := range all[1:] {
			err = errors.Join(err, p.end())
		}
	}()
	for _, name := range names {
		p, err := start(ctx, name, env...)
		if err != nil {
			return 0, 0, err
		}
		all = append(all, p)
		env = append(env, proberVariable+"="+strings.TrimPrefix(p.url, "http://"))
	}
	used, err := watch(ctx, all, 2*probeEvery, probeLength)
	if err != nil {
		return 0, 0, err
	}
	probes := used[0].Samples
	for _, u := range used[1:] {
		cost += float64(u.CPU.Microseconds()) / 1000 / probes
		samples += u.Samples / probes
	}
	return cost, samples, nil
}

// watch returns what each process used in a time after warm.
func watch(ctx context.Context, all []*process, warm, length time.Duration) ([]usage, error) {
	if err := wait(ctx, warm); err != nil {
		return nil, err
	}
	before := make([]usage, len(all))
	for i, p := range all {
		var err error
		if before[i], err = p.usage(); err != nil {
			return nil, err
		}
	}
	if err := wait(ctx, length); err != nil {
		return nil, err
	}
	for i, p := range all {
		now, err := p.usage()
		if err != nil {
			return nil, err
		}
		before[i] = now.since(before[i])
	}
	return before, nil
}

// runProbeLoad gives one processor's worth of targets to one that has one.
func runProbeLoad(ctx context.Context, pages *process, at string) error {
	fmt.Print("## Atoll with GOMAXPROCS=1\n\n| targets, every 10 s | probes/s | CPU of one core | began late by at most, p99 | heap per target | peak RSS, MiB |\n|---|---|---|---|---|---|\n")
	var idle int64
	for _, n := range []int{1, 2000, 10_000, 20_000} {
		const every, length = 10 * time.Second, 30 * time.Second
		p, err := start(ctx, "probe-atoll", at, "GOMAXPROCS=1", fmt.Sprintf("%s=%d %s", loadVariable, n, every))
		if err != nil {
			return err
		}
		used, err := watch(ctx, []*process{pages, p}, 2*every, length)
		if err = errors.Join(err, p.end()); err != nil {
			return err
		}
		u := used[1]
		if n == 1 {
			idle = u.Heap
			continue
		}
		fmt.Printf("| %d | %.0f | %.0f %% | %s | %.1f KiB | %d |\n", n, used[0].Samples/length.Seconds(), 100*u.CPU.Seconds()/length.Seconds(),
			quantile(u.Late), float64(u.Heap-idle)/float64(n)/1024, u.PeakRSS>>20)
	}
	fmt.Println()
	return nil
}

// quantile is the bound of the bucket in which the 99th percentile lies.
func quantile(late []bucket) string {
	for _, b := range late {
		if n := late[len(late)-1].Count; float64(b.Count) >= .99*float64(n) {
			if b.Most == math.MaxFloat64 {
				break
			}
			return fmt.Sprintf("%g ms", 1000*b.Most)
		}
	}
	return "more than 5 s"
}
