package probe

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/probe/evidence"
)

type evidenceMetrics struct {
	bundles *prometheus.CounterVec
	skipped *prometheus.CounterVec
	asked   *prometheus.CounterVec
	refused prometheus.Counter
}

func newEvidenceMetrics(k *keeper, reg prometheus.Registerer) (*evidenceMetrics, error) {
	m := &evidenceMetrics{
		bundles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_evidence_bundles_total", Help: "Bundles of evidence that were gathered, by role (failing or healthy) and result: kept, lost because they could not be written, or refused because they would not have left budget.disk.reserve alone.",
		}, []string{"role", "result"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_evidence_skipped_total", Help: "Failures of which no evidence was gathered, by why: off, recent (of the same target), busy, unsent (nothing had left this island), disk_reserve (of budget.disk).",
		}, []string{"why"}),
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_evidence_asked_total", Help: "Requests of other islands for evidence of a healthy vantage, by the answer.",
		}, []string{"answer"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_probe_evidence_refused_total", Help: "Answers of other islands about evidence that were not believed: too large, not readable, or of another failure.",
		}),
	}
	for _, role := range []string{evidence.Failing, evidence.Healthy} {
		m.bundles.WithLabelValues(role, "kept")
		m.bundles.WithLabelValues(role, "lost")
		m.bundles.WithLabelValues(role, "refused")
	}
	for _, why := range []string{errOff.Error(), errRecent.Error(), errBusy.Error(), errReserve.Error(), "unsent"} {
		m.skipped.WithLabelValues(why)
	}
	if reg == nil {
		return m, nil
	}
	room := func(name, help string, of func(bundles int, size int64) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if k.store == nil {
				return 0
			}
			return of(k.store.Room())
		})
	}
	for _, c := range []prometheus.Collector{
		m.bundles, m.skipped, m.asked, m.refused,
		room("atoll_probe_evidence_kept", "Bundles of evidence that are kept.", func(n int, _ int64) float64 { return float64(n) }),
		room("atoll_probe_evidence_kept_bytes", "Bytes of the bundles of evidence that are kept.", func(_ int, size int64) float64 { return float64(size) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of evidence: %w", err)
		}
	}
	return m, nil
}
