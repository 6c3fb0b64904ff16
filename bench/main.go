// Command bench measures Atoll side by side with Prometheus of the version that
// it embeds: the same data, the same TSDB underneath, in one run, in interleaved
// rounds. Questions about several sites (query) are counted in bytes, beside Thanos.
//
// Each contender runs in a process of its own, this same binary started again, so
// that its CPU time (user and system, getrusage) holds nothing of the sender. CPU
// time of one round still varies with what else the machine does; the table gives
// the median of the rounds and their spread, and ratios are the thing to compare.
//
//	go run . [-run receive|scrape|aggregate|aggregate-room|query|probe] [-rounds 3] [-series 100800] [-scrapes 20]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
)

// options of a run, the same for every contender.
type options struct {
	rounds  int
	series  int
	scrapes int
	request int
}

// benchmark is one table.
type benchmark struct {
	name string
	run  func(context.Context, options) error
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		if err := contend(role); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		return
	}
	if text := os.Getenv(jobVariable); text != "" {
		if err := runJob(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	pattern := flag.String("run", ".", "regular expression of the benchmarks to run: receive, scrape, aggregate, aggregate-room, query, probe")
	flag.IntVar(&o.rounds, "rounds", 3, "interleaved rounds")
	flag.IntVar(&o.series, "series", 100_800, "series")
	flag.IntVar(&o.scrapes, "scrapes", 20, "samples per series that are measured")
	flag.IntVar(&o.request, "request", 2_000, "samples per remote write request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *pattern, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pattern string, o options) error {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("flag -run: %w", err)
	}
	fmt.Printf("%s, %s/%s, %d CPUs, %d rounds, %d series, %d samples each\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds, o.series, o.scrapes)
	for _, b := range []benchmark{{"receive", runReceive}, {"scrape", runScrape}, {"aggregate", runAggregate}, {"aggregate-room", runRoom}, {"query", runQuery}, {"probe", runProbe}} {
		if !wanted.MatchString(b.name) {
			continue
		}
		if err := b.run(ctx, o); err != nil {
			return fmt.Errorf("benchmark %s: %w", b.name, err)
		}
	}
	return nil
}
