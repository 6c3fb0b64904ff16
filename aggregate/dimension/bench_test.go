package dimension

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	runmetrics "runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
)

const benchExpr = `sum by (service, code) (rate(requests_total[1m]))`

// BenchmarkTick evaluates one tick of a rule over ATOLL_BENCH_SERIES series
// (200,000) of 1,000 services: undivided, divided, and divided but one at a
// time. ns/op is the time from the tick to the last result committed, the look
// for values included.
//
//	go test -run '^$' -bench Tick -benchtime 5x ./aggregate/dimension
func BenchmarkTick(b *testing.B) {
	total := 200_000
	if s := os.Getenv("ATOLL_BENCH_SERIES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatalf("ATOLL_BENCH_SERIES: %v", err)
		}
		total = n
	}
	r := newRig(b)
	defer r.close()
	last := time.Now().Truncate(time.Minute)
	fillMesh(r, total, 1000, last)
	tick := last
	b.Run("discovery", func(b *testing.B) { r.benchDiscovery(b, last) })
	b.Run("undivided", func(b *testing.B) {
		e, err := experimental().ParseExpr(benchExpr)
		if err != nil {
			b.Fatal(err)
		}
		whole := rules.NewGroup(rules.GroupOptions{
			Name: "whole", Interval: time.Minute, Rules: []rules.Rule{rules.NewRecordingRule("whole", e, labels.EmptyLabels())},
			Opts: &rules.ManagerOptions{
				QueryFunc: rules.EngineQueryFunc(r.engine, r.db), AppendableV2: r.db, Metrics: rules.NewGroupMetrics(nil),
			},
		})
		measure(b, func() {
			tick = tick.Add(time.Millisecond)
			whole.Eval(b.Context(), tick)
			if err := whole.Rules()[0].LastError(); err != nil {
				b.Fatal(err)
			}
		})
	})
	for _, slots := range []int{runtime.GOMAXPROCS(0), 1} {
		b.Run(fmt.Sprintf("divided-%d-at-once", slots), func(b *testing.B) {
			r.benchDivided(b, slots, &tick)
		})
	}
}

// benchDiscovery lists the values and looks for samples of each, which a tick
// does only for those whose rule found nothing.
func (r *rig) benchDiscovery(b *testing.B, now time.Time) {
	p, found := compiler{parser: experimental()}.compile(Rule{Record: "x", Expr: benchExpr, SplitBy: []string{"service"}})
	if p == nil {
		b.Fatal(found)
	}
	s := source{queryable: r.db, plan: p}
	measure(b, func() {
		values, _, err := s.list(b.Context(), now)
		if err != nil || len(values) != 1000 {
			b.Fatalf("%d values, %v", len(values), err)
		}
		if _, err := s.alive(b.Context(), now, slices.Collect(maps.Values(values))); err != nil {
			b.Fatal(err)
		}
	})
}

func (r *rig) benchDivided(b *testing.B, slots int, tick *time.Time) {
	none := model.Duration(0)
	o := r.options(Config{Concurrency: slots, Rules: []Rule{{
		Record: fmt.Sprint("divided_", slots, "_", b.N), Expr: benchExpr, SplitBy: []string{"service"}, Spread: &none,
	}}})
	o.Registerer, o.Health = nil, nil
	g, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	f := g.newFamily(g.plans[0], nil)
	ctx := context.Background()
	f.refresh(ctx, ctx, *tick) // as before the first tick
	measure(b, func() {
		*tick = tick.Add(time.Millisecond)
		f.refresh(ctx, ctx, *tick)
		f.sweep(ctx, ctx, *tick)
		f.evals.Wait()
	})
	if len(f.order) != 1000 || f.status.Failing > 0 {
		b.Fatalf("%d rules, %d fail: %s", len(f.order), f.status.Failing, f.status.LastError)
	}
}

// fillMesh appends nine samples, 15 s apart, to each of so many series, 20 a pod
// as scrapes bring them, the pods of all services mixed.
func fillMesh(r *rig, total, services int, last time.Time) {
	refs := make([]storage.SeriesRef, total)
	for k := range 9 {
		app := r.db.Appender(context.Background())
		at := last.Add(time.Duration(k-8) * 15 * time.Second).UnixMilli()
		for i := range refs {
			var ls labels.Labels
			if refs[i] == 0 {
				pod, route := i/20, i%20
				ls = labels.FromStrings(labels.MetricName, "requests_total", "code", []string{"200", "500"}[route%2],
					"pod", strconv.Itoa(pod), "route", strconv.Itoa(route), "service", strconv.Itoa(pod%services))
			}
			ref, err := app.Append(refs[i], ls, at, float64(k*i%1000+k*1000))
			if err != nil {
				r.t.Fatal(err)
			}
			refs[i] = ref
		}
		if err := app.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// measure reports, beside the time, the processor time of one run and the most
// heap in use above what there was before.
func measure(b *testing.B, run func()) {
	heap := func() uint64 {
		s := []runmetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		runmetrics.Read(s)
		return s[0].Value.Uint64()
	}
	runtime.GC()
	before, most := heap(), uint64(0)
	stop, wg := make(chan struct{}), sync.WaitGroup{}
	wg.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				most = max(most, heap())
			}
		}
	})
	cpu := processorTime(b)
	for b.Loop() {
		run()
	}
	cpu = processorTime(b) - cpu
	close(stop)
	wg.Wait()
	b.ReportMetric(cpu.Seconds()/float64(b.N)*1000, "cpu-ms/op")
	b.ReportMetric(float64(most-min(before, most))/(1<<20), "peak-MiB")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
