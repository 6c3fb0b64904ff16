package witness

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	looks, asks, served, postponed *prometheus.CounterVec
	statements                     *prometheus.CounterVec
	alone                          prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, w *Witness) *metrics {
	vec := func(name, help string, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_mesh_witness_" + name, Help: help}, []string{label})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		return v
	}
	m := &metrics{
		looks:     vec("looks_total", "Direct looks at islands, by outcome.", "outcome", "reached", "failed"),
		asks:      vec("asks_total", "Others asked to look at an island, by what they said; silent for no answer, alone for one that is cut off itself.", "outcome", "reached", "not_reached", "alone", "silent"),
		served:    vec("served_total", "Looks that others asked for, by outcome.", "outcome", "reached", "not_reached", "malformed", "stranger", "not_member", "limited", "busy", "stopping"),
		postponed: vec("postponed_total", "Looks and rounds of asking put off for a second because of looks_per_second or asks_per_second.", "what", "look", "ask"),
		statements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_mesh_witness_statements_total",
			Help: "Statements about islands: published and withdrawn by this island, and failed tries.",
		}, []string{"kind", "action"}),
		alone: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_mesh_witness_cut_off", Help: "1 while this island reaches less than a third of the others."}),
	}
	for _, k := range []Kind{KindLost, KindCutOff} {
		for _, a := range []string{"published", "withdrawn", "failed"} {
			m.statements.WithLabelValues(string(k), a)
		}
	}
	if reg != nil {
		reg.MustRegister(m.looks, m.asks, m.served, m.postponed, m.statements, m.alone, islands{w, prometheus.NewDesc(
			"atoll_mesh_witness_islands", "Other members as seen from here, by state.", []string{"state"}, nil)})
	}
	return m
}

// islands counts the views by state when it is asked.
type islands struct {
	w    *Witness
	desc *prometheus.Desc
}

func (i islands) Describe(ch chan<- *prometheus.Desc) { ch <- i.desc }

func (i islands) Collect(ch chan<- prometheus.Metric) {
	names := map[State]string{Unknown: "unknown", Alive: "alive", Suspect: "suspect", Unreachable: "unreachable", Lost: "lost"}
	var n [Lost + 1]int
	i.w.mu.Lock()
	for _, v := range i.w.views {
		n[v.state]++
	}
	i.w.mu.Unlock()
	for s, name := range names {
		ch <- prometheus.MustNewConstMetric(i.desc, prometheus.GaugeValue, float64(n[s]), name)
	}
}

// warnings may have no list to go to.
type warnings struct{ cut, part *health.Handle }

func declare(l *health.List) *warnings {
	if l == nil {
		return &warnings{}
	}
	return &warnings{
		cut: l.Declare(health.Warning{
			Code: "mesh-cut-off", Severity: health.SeverityCritical,
			Title:  "This island is cut off",
			Remedy: "Look at its uplink and firewall. It goes on collecting and alerting by itself, and catches up when it is back.",
		}),
		part: l.Declare(health.Warning{
			Code: "mesh-parted", Severity: health.SeverityWarning,
			Title:  "The network is parted, seen from here",
			Remedy: "Look at the links between the sites. More than a third of the islands is not reached from here, so that none of them is stated lost.",
		}),
	}
}

func (w *warnings) cutOff(t tally) {
	if w.cut != nil {
		w.cut.Set("%d of %d islands that were reached before are not", t.missing, t.reached+t.missing)
	}
}

func (w *warnings) joined() {
	if w.cut != nil {
		w.cut.Clear()
	}
}

func (w *warnings) parted(t tally) {
	if w.part != nil {
		w.part.Set("%d of %d islands that were reached before are not", t.missing, t.reached+t.missing)
	}
}

func (w *warnings) whole() {
	if w.part != nil {
		w.part.Clear()
	}
}
