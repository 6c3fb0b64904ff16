package router

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	routed, outside, moved, opened *prometheus.CounterVec
	breaker                        *prometheus.GaugeVec
	unroutable, exemplars          prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_router_" + name, Help: help}, []string{"backend"})
	}
	m := &metrics{
		routed:     vec("routed_samples_total", "Samples put into the backend's queue."),
		outside:    vec("outside_window_samples_total", "Samples that the hash gave to the backend and its time window did not take; the next backend got them, if there is one."),
		moved:      vec("moved_samples_total", "Samples that waited for a backend that went, and moved to this one."),
		opened:     vec("breaker_opened_total", "Times the backend's circuit breaker opened."),
		breaker:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "atoll_router_breaker_state", Help: "0: requests are made, 1: one is tried, 2: the backend is left alone."}, []string{"backend"}),
		unroutable: prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_router_unroutable_samples_total", Help: "Samples dropped because no backend's time window takes them."}),
		exemplars:  prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_router_ignored_exemplars_total", Help: "Exemplars not passed on."}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.routed, m.outside, m.moved, m.opened, m.breaker, m.unroutable, m.exemplars} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of the router: %w", err)
	}
	return m, nil
}

func (m *metrics) forget(backend string) {
	for _, v := range []*prometheus.CounterVec{m.routed, m.outside, m.moved, m.opened} {
		v.DeleteLabelValues(backend)
	}
	m.breaker.DeleteLabelValues(backend)
}
