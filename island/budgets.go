package island

import (
	"math"
	"runtime"
	"runtime/debug"
	rtmetrics "runtime/metrics"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/portal"
)

// budgets says how much of each limit is used.
func (i *Island) budgets(r *rooms) []portal.BudgetStatus {
	cfg := i.Config().Budget
	out := []portal.BudgetStatus{
		{Name: "memory", Unit: "bytes", Used: goMemory(), Limit: memoryLimit()},
		{Name: "cpu", Unit: "cores", Used: i.cores(), Limit: float64(runtime.GOMAXPROCS(0))},
		{Name: "series", Unit: "series", Used: float64(r.store.NumSeries()), Limit: float64(cfg.Series)},
	}
	if free, total, err := budget.Space(r.store.Dir()); err == nil {
		out = append(out, portal.BudgetStatus{Name: "disk", Unit: "bytes", Used: float64(total - free), Limit: float64(total)})
	}
	return out
}

// memoryLimit is GOMEMLIMIT in bytes, 0 for none.
func memoryLimit() float64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	return float64(limit)
}

// goMemory is what the Go runtime holds, as GOMEMLIMIT counts it, in bytes.
func goMemory() float64 {
	samples := []rtmetrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	rtmetrics.Read(samples)
	return float64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// cores is how many CPU cores the process uses, from its own metrics.
func (i *Island) cores() float64 {
	v, err := i.instant(`rate(process_cpu_seconds_total{job="atoll"}[1m])`)
	if err != nil {
		return 0 // without a self-scrape nobody knows
	}
	return v
}
