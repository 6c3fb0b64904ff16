package reach

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	pbv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reachable    *prometheus.GaugeVec
	probes       *prometheus.CounterVec
	changes      prometheus.Counter
	reservations prometheus.Gauge
	reserve      *prometheus.CounterVec
	punches      *prometheus.CounterVec
	backoffs     prometheus.Counter
	relay        *relayMetrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		reachable: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_mesh_reachability", Help: "1 for how this island can be reached: public, private or unknown."}, []string{"state"}),
		probes:       counter("atoll_mesh_reachability_probes_total", "Dial-backs asked for, by result: public, private, refused, error.", "result"),
		changes:      one("atoll_mesh_network_changes_total", "Times that addresses or routes of this machine changed, or it slept."),
		reservations: gauge("atoll_mesh_relay_reservations", "Relays that keep a slot for this island."),
		reserve:      counter("atoll_mesh_relay_reserve_total", "Reservations asked for at relays, by result: ok, refused, unreachable.", "result"),
		punches:      counter("atoll_mesh_punch_total", "Attempts to replace a relayed path by a direct one, by result: direct, failed.", "result"),
		backoffs:     one("atoll_mesh_dial_backoff_cleared_total", "Peers whose dial backoff was cleared because something changed."),
		relay: &relayMetrics{
			serving: gauge("atoll_mesh_relay_serving", "1 while this island relays for members."),
			slots:   gauge("atoll_mesh_relay_slots", "Members that this island keeps a relay slot for."),
			open:    gauge("atoll_mesh_relay_circuits", "Connections that are relayed now."),
			bytes:   one("atoll_mesh_relay_bytes_total", "Bytes relayed for others."),
			held:    one("atoll_mesh_relay_throttled_seconds_total", "Time that relayed bytes waited because of relay_rate."),
			asked:   counter("atoll_mesh_relay_requests_total", "Requests to the relay service, by kind (reserve, connect) and status.", "kind", "status"),
		},
	}
	if reg != nil {
		r := m.relay
		reg.MustRegister(m.reachable, m.probes, m.changes, m.reservations, m.reserve, m.punches, m.backoffs,
			r.serving, r.slots, r.open, r.bytes, r.held, r.asked)
	}
	return m
}

func (m *metrics) setReachability(r network.Reachability) {
	for _, s := range []network.Reachability{network.ReachabilityUnknown, network.ReachabilityPublic, network.ReachabilityPrivate} {
		v := 0.0
		if s == r {
			v = 1
		}
		m.reachable.WithLabelValues(word(s)).Set(v)
	}
}

func word(r network.Reachability) string {
	switch r {
	case network.ReachabilityPublic:
		return Public
	case network.ReachabilityPrivate:
		return Private
	}
	return "unknown"
}

type relayMetrics struct {
	serving, slots, open prometheus.Gauge
	bytes, held          prometheus.Counter
	asked                *prometheus.CounterVec
}

// relayTracer is told by the relay what it does; BytesTransferred is called in
// the copy loop itself, so that waiting in it slows the sender down.
type relayTracer struct {
	m       *relayMetrics
	wait    func(n int)
	limited bool
}

func (t relayTracer) RelayStatus(bool)  {}
func (t relayTracer) ConnectionOpened() { t.m.open.Inc() }
func (t relayTracer) ConnectionClosed(time.Duration) {
	t.m.open.Dec()
}
func (t relayTracer) ConnectionRequestHandled(s pbv2.Status) {
	t.m.asked.WithLabelValues("connect", s.String()).Inc()
}
func (t relayTracer) ReservationAllowed(renewal bool) {
	if !renewal {
		t.m.slots.Inc()
	}
}
func (t relayTracer) ReservationClosed(n int) { t.m.slots.Sub(float64(n)) }
func (t relayTracer) ReservationRequestHandled(s pbv2.Status) {
	t.m.asked.WithLabelValues("reserve", s.String()).Inc()
}
func (t relayTracer) BytesTransferred(n int) {
	t.m.bytes.Add(float64(n))
	if t.limited {
		begin := time.Now()
		t.wait(n)
		t.m.held.Add(time.Since(begin).Seconds())
	}
}
