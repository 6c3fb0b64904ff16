package mesh

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	refused    *prometheus.CounterVec // by reason
	guests     *prometheus.CounterVec // by outcome
	words      *prometheus.CounterVec // by direction and outcome
	hellos     *prometheus.CounterVec // by outcome
	turnedAway *prometheus.CounterVec // by standing
	probes     *prometheus.CounterVec // by outcome
	detours    *prometheus.CounterVec // by outcome
	dead       prometheus.Counter
	bookErrors prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, m *Mesh) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_mesh_" + name, Help: help}, labels)
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	one := func(name, help string) prometheus.Counter { return counter(name, help).WithLabelValues() }
	if reg != nil {
		reg.MustRegister(&collector{m: m})
	}
	return &metrics{
		refused:    counter("connections_refused_total", "Connections turned away by the gate.", "reason"),
		guests:     counter("guests_total", "Conversations with guests.", "outcome"),
		words:      counter("words_total", "Words of the roots that were brought past the roster.", "direction", "outcome"),
		hellos:     counter("hellos_total", "Hellos heard from members.", "outcome"),
		turnedAway: counter("streams_refused_total", "Streams reset because of their peer's standing.", "standing"),
		probes:     counter("probes_total", "Probes of connections.", "outcome"),
		detours:    counter("detours_total", "Times another way was made beside a silent connection that a call waited for.", "outcome"),
		dead:       one("connections_dead_total", "Connections closed because they did not answer."),
		bookErrors: one("address_book_errors_total", "Times the address book could not be written."),
	}
}

// collector computes at scrape time what would otherwise have to be kept up to date.
type collector struct{ m *Mesh }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("atoll_mesh_"+name, help, labels, nil)
}

func (c *collector) descs() (peers, conns, handshakes, bytes *prometheus.Desc) {
	return desc("peers", "Members by state.", "state"),
		desc("connections", "Open connections.", "path", "transport"),
		desc("handshakes_ongoing", "Inbound connections whose peer is not known yet."),
		desc("stream_bytes_total", "Bytes of all streams.", "direction")
}

// Describe is prometheus.Collector's.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	peers, conns, handshakes, bytes := c.descs()
	for _, d := range []*prometheus.Desc{peers, conns, handshakes, bytes} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	peers, conns, handshakes, bytes := c.descs()
	for state, n := range c.m.countStates() {
		ch <- prometheus.MustNewConstMetric(peers, prometheus.GaugeValue, float64(n), string(state))
	}
	for way, n := range c.m.countConns() {
		ch <- prometheus.MustNewConstMetric(conns, prometheus.GaugeValue, float64(n), way[0], way[1])
	}
	ch <- prometheus.MustNewConstMetric(handshakes, prometheus.GaugeValue, float64(c.m.pressure.Ongoing()))
	in, out := c.m.traffic.Total()
	ch <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(in), "in")
	ch <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(out), "out")
}
