package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// job is what one contender of the aggregation benchmarks is asked to do. It runs
// in a process of its own, alone.
type job struct {
	Who      string // victoriametrics, atoll
	Output   string // of the rule
	Fleet    fleet
	Cores    int
	Rounds   int
	Duration time.Duration
	// Churn, if set, is how many fleets live and die after the first one.
	Churn int
}

// result is what it measured.
type result struct {
	Samples int64
	CPU     time.Duration // user and system, decode and garbage collection included
	Wall    time.Duration
	Heap    int64   // bytes above what was there before the first sample
	Allocs  float64 // per sample
	Left    int64   // bytes above before, after the churn was forgotten
	Pause   time.Duration
}

func (r result) nanos() float64 { return float64(r.CPU.Nanoseconds()) / float64(r.Samples) }

// folder takes requests of remote write 1.0 as they come from the wire.
type folder interface {
	push(body []byte) error
	close()
}

const (
	jobVariable = "ATOLL_BENCH_JOB"
	// profileVariable, if set, names the file of a CPU profile of a job.
	profileVariable = "ATOLL_BENCH_PROFILE"
)

func runJob(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	runtime.GOMAXPROCS(j.Cores)
	if file := os.Getenv(profileVariable); file != "" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	r, err := j.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func (j job) run() (r result, err error) {
	before := heap()
	f, err := folders[j.Who](j)
	if err != nil {
		return r, err
	}
	defer f.close()
	clock := newScrapes()
	for range j.Rounds {
		if _, err := j.round(f, clock); err != nil {
			return r, err
		}
	}
	r.Heap = heap() - before
	for start := time.Now(); time.Since(start) < j.Duration; {
		one, err := j.round(f, clock)
		if err != nil {
			return r, err
		}
		r.Allocs += one.Allocs
		r.Samples += one.Samples
		r.CPU += one.CPU
		r.Wall += one.Wall
		r.Pause = max(r.Pause, one.Pause)
	}
	r.Allocs /= float64(r.Samples)
	return r, nil
}

// scrapes is the clock of the senders: a scrape every second.
type scrapes struct {
	t int64
	v float64
}

func newScrapes() *scrapes { return &scrapes{t: time.Now().Add(-10 * time.Minute).UnixMilli(), v: 1e6} }

// round pushes one sample of each series. Requests are made beforehand, some at a
// time, and their making is not counted.
func (j job) round(f folder, clock *scrapes) (r result, err error) {
	clock.t += 1000
	clock.v += 100
	var plain []byte
	const ahead = 100
	for from := 0; from < j.Fleet.Series; {
		var bodies [][]byte
		for ; len(bodies) < ahead && from < j.Fleet.Series; from += fleetRequest {
			var body []byte
			body, plain = j.Fleet.encode(plain, from, min(from+fleetRequest, j.Fleet.Series), clock.t, clock.v)
			bodies = append(bodies, body)
		}
		one, err := pushAll(f, bodies, j.Cores)
		if err != nil {
			return r, err
		}
		r.CPU += one.CPU
		r.Wall += one.Wall
		r.Allocs += one.Allocs
		r.Pause = max(r.Pause, one.Pause)
	}
	r.Samples = int64(j.Fleet.Series)
	return r, nil
}

// pushAll pushes the bodies from as many goroutines as there are cores.
func pushAll(f folder, bodies [][]byte, workers int) (r result, err error) {
	mallocs, cpu, wall := allocated(), cpuTime(), time.Now()
	errs := make(chan error, workers)
	pauses := make([]time.Duration, workers)
	for w := range workers {
		go func() {
			var err error
			for i := w; i < len(bodies) && err == nil; i += workers {
				start := time.Now()
				err = f.push(bodies[i])
				pauses[w] = max(pauses[w], time.Since(start))
			}
			errs <- err
		}()
	}
	for range workers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	r = result{CPU: cpuTime() - cpu, Wall: time.Since(wall), Pause: slices.Max(pauses)}
	r.Allocs = float64(allocated() - mallocs)
	return r, err
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func heap() int64 {
	debug.FreeOSMemory()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// runAggregate prints what a sample costs lib/streamaggr and Atoll.
func runAggregate(ctx context.Context, o options) error {
	fmt.Println("## Stream aggregation: `without: [instance, pod]`, snappy and protobuf decoding included")
	fmt.Println()
	fmt.Println("| rule, series to groups, cores | VictoriaMetrics, ns CPU/sample (rounds) | Atoll (rounds) | ratio of medians (worst to best) | heap B/series | ratio | allocations/sample |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, c := range aggregateCases(o) {
		got := map[string][]result{}
		for range o.rounds {
			for _, who := range []string{"victoriametrics", "atoll"} {
				c.Who = who
				r, err := spawn(ctx, c)
				if err != nil {
					return fmt.Errorf("%s %s: %w", who, c.Output, err)
				}
				got[who] = append(got[who], r)
			}
		}
		printAggregate(c, got["victoriametrics"], got["atoll"])
	}
	fmt.Println()
	return nil
}

func aggregateCases(o options) []job {
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
		with(func(j *job) { j.Output = "quantiles(0.5, 0.99)" }),
		with(func(j *job) { j.Output = "increase" }),
		with(func(j *job) { j.Output = "count_samples" }),
	}
}

func printAggregate(c job, theirs, ours []result) {
	nanos := func(rs []result) (out []float64) {
		for _, r := range rs {
			out = append(out, math.Round(r.nanos()))
		}
		return out
	}
	perSeries := func(rs []result) float64 {
		var out []float64
		for _, r := range rs {
			out = append(out, float64(r.Heap)/float64(c.Fleet.Series))
		}
		return median(out)
	}
	a, b := nanos(theirs), nanos(ours)
	pods := "20 series a pod"
	if c.Fleet.UniquePods {
		pods = "a pod each"
	}
	fmt.Printf("| %s, %dk to %d, %s, %d | %.0f (%s) | %.0f (%s) | **%.1f** (%.1f to %.1f) | %.0f → %.0f | %.2f | %.3f → %.3f |\n",
		c.Output, c.Fleet.Series/1000, c.Fleet.Groups, pods, c.Cores, median(a), list(a), median(b), list(b),
		median(a)/median(b), slices.Min(a)/slices.Max(b), slices.Max(a)/slices.Min(b),
		perSeries(theirs), perSeries(ours), perSeries(ours)/perSeries(theirs), theirs[0].Allocs, ours[0].Allocs)
}

func spawn(ctx context.Context, j job) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, err
	}
	line, err := bufio.NewReader(strings.NewReader(string(out))).ReadString('\n')
	if err != nil {
		return r, fmt.Errorf("its answer: %w", err)
	}
	return r, json.Unmarshal([]byte(line), &r)
}
