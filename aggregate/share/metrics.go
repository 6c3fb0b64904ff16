package share

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	messages, dropped, rows *prometheus.CounterVec
	sentBytes               prometheus.Counter
	noteBytes               prometheus.Counter
	receivedBytes           prometheus.Counter
	samples, refused        prometheus.Counter
	changes, plans          prometheus.Counter
	incomplete              *prometheus.CounterVec
	unreached, unknown      *prometheus.GaugeVec
	stuck, without, differ  *health.Handle
}

func newMetrics(s *Share, reg prometheus.Registerer, list *health.List) (*metrics, error) {
	name := func(n string) string { return "atoll_aggregate_share_" + n }
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name(n), Help: help})
	}
	vec := func(n, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name(n), Help: help}, []string{label})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		return v
	}
	m := &metrics{
		messages:      vec("messages_total", "Messages to and from other islands, by result. Each failed one is tried again.", "result", "delivered", "failed", "malformed", "unknown_rule"),
		dropped:       vec("dropped_total", "Parts of this island that no owner will get, by reason.", "reason", "overflow", "damaged", "unknown_rule", "too_old"),
		rows:          vec("rows_total", "Groups of windows that came in, this island's own among them, by result.", "result", "taken", "duplicate", "late", "corrected", "unknown", "too_old"),
		incomplete:    vec("incomplete_windows_total", "Windows that this island published without an island that had been silent for longer than it is waited for: for all that aggregate (most), or for itself, out of reach of the others (apart).", "side", "most", "apart"),
		sentBytes:     counter("sent_bytes_total", "Bytes of messages to other islands, compressed."),
		noteBytes:     counter("note_bytes_total", "Bytes of notes of what is published, for the journal, compressed."),
		receivedBytes: counter("received_bytes_total", "Bytes of messages of other islands, compressed."),
		samples:       counter("samples_total", "Samples that this island published as an owner."),
		refused:       counter("publications_refused_total", "Publications that were refused and are tried again."),
		changes:       counter("member_changes_total", "Changes of the members, or of who is within reach, or of the plan; after each of them parts go to their new owners."),
		plans:         counter("plans_total", "Plans that this island made to spread the load of slots."),
		unreached:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("unreached_seconds"), Help: "For how long nothing gets through to a member."}, []string{"member"}),
		unknown:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("unknown_rules"), Help: "Rules of this island that a member does not have."}, []string{"member"}),
	}
	m.declare(list)
	if reg == nil {
		return m, nil
	}
	gauge := func(n, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name(n), Help: help}, f)
	}
	slots := &slotRates{s: s, at: s.o.Now()}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.messages, m.dropped, m.rows, m.sentBytes, m.noteBytes, m.receivedBytes, m.samples, m.refused, m.changes, m.plans, m.incomplete, m.unreached, m.unknown,
		gauge("pending_parts", "Parts in memory that are not known to be published.", func() float64 { n, _ := s.waiting(); return float64(n) }),
		gauge("pending_bytes", "Bytes of the parts in memory.", func() float64 { _, b := s.waiting(); return float64(b) }),
		gauge("owned_slots", "Slots, of 4096, whose groups this island publishes.", func() float64 { return float64(s.ownedSlots()) }),
		slots,
	} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of shared aggregation: %w", err)
	}
	return m, nil
}

func (m *metrics) declare(list *health.List) {
	if list == nil {
		return
	}
	m.stuck = list.Declare(health.Warning{
		Code: "aggregate-parts-stuck", Severity: health.SeverityWarning,
		Title:  "Parts of shared aggregation cannot be delivered",
		Remedy: "Bring the named islands back, or have them leave the network. The parts for them wait in memory and on disk.",
	})
	m.without = list.Declare(health.Warning{
		Code: "aggregate-apart", Severity: health.SeverityWarning,
		Title:  "Windows of shared aggregation are published without some islands",
		Remedy: "Bring the named islands back, or have them leave the network. What they saw is missing in the windows of this time; rules with late: correct publish it then, and the totals have it with their next window.",
	})
	m.differ = list.Declare(health.Warning{
		Code: "aggregate-rules-differ", Severity: health.SeverityWarning,
		Title:  "Islands do not have the same rules of shared aggregation",
		Remedy: "Give all islands the same rules with distribute: true. Until then windows of the named rules are late or wait.",
	})
}

func (m *metrics) lacking(apart bool) {
	side := "most"
	if apart {
		side = "apart"
	}
	m.incomplete.WithLabelValues(side).Inc()
}

func (m *metrics) drop(reason string, n int) { m.dropped.WithLabelValues(reason).Add(float64(n)) }

func (m *metrics) forgetPeer(name string) {
	m.unreached.DeleteLabelValues(name)
	m.unknown.DeleteLabelValues(name)
}

func (s *Share) waiting() (parts, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range s.order {
		parts += len(rs.pending)
	}
	return parts, s.bytes
}

func (s *Share) ownedSlots() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil || s.self == none {
		return 0
	}
	return len(s.view.own[s.self])
}

// Loads are the rows that came in so far for each slot.
func (s *Share) Loads() [Slots]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load
}

// slotRates shows how rows spread over slots: all 4096 would be too many series.
type slotRates struct {
	s      *Share
	before [Slots]uint64
	at     time.Time
}

const slotRatesName = "atoll_aggregate_share_slot_rows_per_second"

func slotRatesDesc() *prometheus.Desc {
	return prometheus.NewDesc(slotRatesName, "Rows per second that came in since the last scrape, by slot: all together, the median and the busiest.", []string{"slot"}, nil)
}

// Describe implements prometheus.Collector.
func (r *slotRates) Describe(ch chan<- *prometheus.Desc) { ch <- slotRatesDesc() }

// Collect implements prometheus.Collector.
func (r *slotRates) Collect(ch chan<- prometheus.Metric) {
	loads := r.s.Loads()
	r.s.turn.Lock()
	defer r.s.turn.Unlock()
	now := r.s.o.Now()
	seconds := max(now.Sub(r.at).Seconds(), 1)
	rates := make([]float64, Slots)
	sum := 0.0
	for k := range rates {
		rates[k] = float64(loads[k]-min(loads[k], r.before[k])) / seconds
		sum += rates[k]
	}
	r.before, r.at = loads, now
	slices.Sort(rates)
	for slot, v := range map[string]float64{"all": sum, "median": rates[Slots/2], "busiest": rates[Slots-1]} {
		ch <- prometheus.MustNewConstMetric(slotRatesDesc(), prometheus.GaugeValue, v, slot)
	}
}
