package budget

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	overSeries, overDisk         prometheus.Counter
	seriesLimit                  prometheus.Gauge
	diskFree, diskReserve, ended prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, b *Budget) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	read := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_budget_dropped_samples_total",
		Help: "Samples not stored because of a limit: series_limit for new series over budget.series, disk_reserve while free space is below budget.disk.reserve (a sender may repeat these).",
	}, []string{"reason"})
	m := &metrics{
		overSeries:  dropped.WithLabelValues("series_limit"),
		overDisk:    dropped.WithLabelValues("disk_reserve"),
		seriesLimit: gauge("atoll_budget_series_limit", "Series the store may hold before new ones are dropped; 0 for no limit."),
		diskFree:    gauge("atoll_budget_disk_free_bytes", "Free space on the file system of the data directory."),
		diskReserve: gauge("atoll_budget_disk_reserve_bytes", "Free space below which ingestion stops; 0 for none."),
		ended:       gauge("atoll_budget_ingestion_stopped", "1 while ingestion is stopped for want of disk space."),
	}
	if reg != nil {
		reg.MustRegister(dropped, m.seriesLimit, m.diskFree, m.diskReserve, m.ended,
			read("atoll_budget_series", "Series the store holds in its head.", func() float64 { return float64(b.numSeries()) }),
			read("atoll_budget_memory_limit_bytes", "Soft memory limit of the Go runtime in force.", func() float64 { return float64(debug.SetMemoryLimit(-1)) }),
			read("atoll_budget_cpu_limit_cores", "CPUs that may run Go code at once.", func() float64 { return float64(runtime.GOMAXPROCS(0)) }),
		)
	}
	return m
}

type warnings struct{ series, disk *health.Handle }

func declare(l *health.List) warnings {
	return warnings{
		series: l.Declare(health.Warning{
			Code: "budget-series-limit", Severity: health.SeverityWarning,
			Title:  "New series are dropped",
			Remedy: "Raise budget.series, or find what makes new series (/api/v1/status/tsdb) and drop its labels by relabelling.",
		}),
		disk: l.Declare(health.Warning{
			Code: "budget-disk-reserve", Severity: health.SeverityCritical,
			Title:  "Ingestion is stopped for want of disk space",
			Remedy: "Free space, lower store.retention, or lower budget.disk.reserve; ingestion goes on by itself.",
		}),
	}
}
