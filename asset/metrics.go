package asset

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	resources *prometheus.GaugeVec
	bytes     prometheus.Gauge
	leftOff   prometheus.Gauge
	refreshed *prometheus.CounterVec
	took      *prometheus.GaugeVec
	searched  prometheus.Histogram
	asked     *prometheus.CounterVec
}

// What came of listing a source, and of asking an island.
const (
	resultChanged = "changed"
	resultSame    = "same"
	resultFailed  = "failed"
	resultOK      = "ok"
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		resources: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_asset_resources", Help: "Resources in the inventory, by kind.",
		}, []string{"kind"}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_asset_inventory_bytes", Help: "Memory that the inventory takes.",
		}),
		leftOff: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_asset_left_out_resources", Help: "Resources that the inventory has no room for.",
		}),
		refreshed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_asset_listings_total", Help: "Times that a source was listed, by what came of it.",
		}, []string{"source", "result"}),
		took: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_asset_listing_duration_seconds", Help: "Time that the last listing of a source took.",
		}, []string{"source"}),
		searched: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "atoll_asset_search_duration_seconds",
			Help:    "Time of a search of this island's inventory.",
			Buckets: []float64{.0005, .002, .005, .01, .025, .05, .1, .25},
		}),
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_asset_islands_asked_total", Help: "Searches that other islands were asked for, by result.",
		}, []string{"result"}),
	}
	for _, k := range kindNames {
		m.resources.WithLabelValues(k)
	}
	for _, r := range []string{resultOK, resultFailed} {
		m.asked.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.resources, m.bytes, m.leftOff, m.refreshed, m.took, m.searched, m.asked} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
