package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// job is what one contender of the aggregation benchmarks is asked to do. It runs
// in a process of its own, alone.
type job struct {
	Who      string // victoriametrics, atoll
	Output   string // of the rule
	Kind     string // one of kinds; empty is speed
	Fleet    fleet
	Cores    int
	Rounds   int           // before anything is measured
	Duration time.Duration // measured
	Interval time.Duration // of the rule's windows; 0 for one that does not end
}

var kinds = map[string]func(job) (result, error){
	"":      job.speed,
	"pause": job.pause,
	"churn": job.churn,
	"lag":   job.lag,
}

// result is what it measured.
type result struct {
	Samples int64
	CPU     time.Duration // user and system, decode and garbage collection included
	Wall    time.Duration
	Heap    int64   // bytes above what was there before the first sample
	Allocs  float64 // per sample
	// PerCPU and PerWall are the ns a sample of each round.
	PerCPU, PerWall []float64
	Left            int64 // bytes above before, after the churn was forgotten
	// Times are the longest pause in each window, or the lag of each.
	Times []time.Duration
}

// folder takes requests of remote write 1.0 as they come from the wire.
type folder interface {
	push(body []byte) error
	close()
}

const (
	jobVariable = "ATOLL_BENCH_JOB"
	// profileVariable, if set, names the file of a CPU profile of a job or a
	// contender.
	profileVariable = "ATOLL_BENCH_PROFILE"
)

// profile begins what profileVariable asks for.
func profile() (stop func(), err error) {
	file := os.Getenv(profileVariable)
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // it is for looking at
	}, nil
}

func runJob(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	runtime.GOMAXPROCS(j.Cores)
	stop, err := profile()
	if err != nil {
		return err
	}
	defer stop()
	run, ok := kinds[j.Kind]
	if !ok {
		return fmt.Errorf("%s: no kind of job is called %q", jobVariable, j.Kind)
	}
	r, err := run(j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
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
