package council

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	sent, sentBytes, received, again prometheus.Counter

	casts, refused, asks *prometheus.CounterVec
	judged, waiting      prometheus.Gauge
}

// What came of a message of votes.
const (
	resultOK     = "ok"
	resultFailed = "failed"
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		sent:      counter("atoll_probe_votes_sent_total", "Votes that were sent to islands that judge."),
		sentBytes: counter("atoll_probe_votes_sent_bytes_total", "Bytes of messages of votes, before compression."),
		received:  counter("atoll_probe_votes_received_total", "Votes that came from other islands."),
		again:     counter("atoll_probe_votes_again_total", "Times that an island asked for all votes anew."),
		casts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_votes_messages_total", Help: "Messages of votes to other islands, by result: ok or failed.",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_votes_refused_total", Help: "Votes of other islands that do not count, by reason: unknown_target (no such definition or target here), other_definition (this island has one of its own by that name), not_selected (the definition does not select the voter), malformed, too_many, twice.",
		}, []string{"reason"}),
		asks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_origin_asks_total", Help: "Questions to origins that vantages' answers are compared with, by result: ok or failed.",
		}, []string{"result"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_probe_origins_waiting", Help: "Origins that are due and wait, since as many are asked already as may be at once.",
		}),
		judged: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_probe_targets_judged", Help: "Targets that this island judges, as the first or the second of two.",
		}),
	}
	for _, result := range []string{resultOK, resultFailed} {
		m.casts.WithLabelValues(result)
		m.asks.WithLabelValues(result)
	}
	for _, reason := range []string{refusedUnknown, refusedOther, refusedSelected, refusedMalformed, refusedMany, refusedTwice} {
		m.refused.WithLabelValues(reason)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.sent, m.sentBytes, m.received, m.again, m.casts, m.refused, m.judged, m.asks, m.waiting} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of verdicts: %w", err)
		}
	}
	return m, nil
}
