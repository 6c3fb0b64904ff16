package replicate

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	sentBytes, sentSamples, acknowledged, filled *prometheus.CounterVec
	left, cuts, resets, overflows, waited        *prometheus.CounterVec
	connected, newest                            *prometheus.GaugeVec
	refused                                      *prometheus.CounterVec
	copies                                       prometheus.Gauge
	receivedBytes, receivedSamples, dropped      *prometheus.CounterVec
	copyNewest                                   *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	sent, received := []string{"stream", "to"}, []string{"origin", "stream"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_replicate_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "atoll_replicate_" + name, Help: help}, labels)
	}
	m := &metrics{
		sentBytes:       counter("sent_bytes_total", "Bytes of frames sent, those sent again included.", sent...),
		sentSamples:     counter("encoded_samples_total", "Samples put into frames.", sent...),
		acknowledged:    counter("acknowledged_samples_total", "Samples that the receiver has on disk.", sent...),
		filled:          counter("gap_samples_total", "Samples read from the store because the stream was not live.", sent...),
		left:            counter("left_out_total", "Series and samples that do not fit into the stream.", sent...),
		cuts:            counter("cuts_total", "How often a stream broke or could not begin.", sent...),
		resets:          counter("resets_total", "How often a stream began without the state of before.", sent...),
		overflows:       counter("queue_overflows_total", "How often samples came faster than they could be sent, and were read from the store later.", sent...),
		waited:          counter("budget_wait_seconds_total", "Time that frames waited for the budget.", sent...),
		connected:       gauge("connected", "1 while the stream is open.", sent...),
		newest:          gauge("acknowledged_timestamp_seconds", "Time of the newest sample that the receiver has on disk.", sent...),
		refused:         counter("refused_streams_total", "Streams of other islands that were ended, by reason.", "reason"),
		copies:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "atoll_replicate_copies", Help: "Copies of other islands' series kept here."}),
		receivedBytes:   counter("received_bytes_total", "Bytes of frames that were stored.", received...),
		receivedSamples: counter("received_samples_total", "Samples that were stored in a copy.", received...),
		dropped:         counter("dropped_samples_total", "Samples of a stream that its copy does not take, by reason; for over_limit series.", append(received, "reason")...),
		copyNewest:      gauge("copy_newest_timestamp_seconds", "Time of the newest sample of a copy.", received...),
	}
	for _, reason := range []string{"open", "name", "match", "times", "labels", "frame", "copies"} {
		m.refused.WithLabelValues(reason)
	}
	if reg != nil {
		reg.MustRegister(m.sentBytes, m.sentSamples, m.acknowledged, m.filled, m.left, m.cuts, m.resets, m.overflows, m.waited,
			m.connected, m.newest, m.refused, m.copies, m.receivedBytes, m.receivedSamples, m.dropped, m.copyNewest)
	}
	return m
}

// outletMetrics are those of one stream to one member.
type outletMetrics struct {
	bytes, samples, acknowledged, filled, left, cuts, resets, overflows, waited prometheus.Counter
	connected, newest                                                           prometheus.Gauge
}

func (m *metrics) outlet(stream, to string) *outletMetrics {
	c := func(v *prometheus.CounterVec) prometheus.Counter { return v.WithLabelValues(stream, to) }
	return &outletMetrics{
		bytes: c(m.sentBytes), samples: c(m.sentSamples), acknowledged: c(m.acknowledged), filled: c(m.filled), left: c(m.left),
		cuts: c(m.cuts), resets: c(m.resets), overflows: c(m.overflows), waited: c(m.waited),
		connected: m.connected.WithLabelValues(stream, to), newest: m.newest.WithLabelValues(stream, to),
	}
}

// forget takes the gauges of an outlet that ended away; its counters stay.
func (m *metrics) forget(stream, to string) {
	m.connected.DeleteLabelValues(stream, to)
	m.newest.DeleteLabelValues(stream, to)
}

// copyMetrics are those of one copy.
type copyMetrics struct {
	bytes, samples, time, unfit, over prometheus.Counter
}

func (m *metrics) copy(a About) *copyMetrics {
	drop := func(reason string) prometheus.Counter {
		return m.dropped.WithLabelValues(a.Origin.Name, a.Stream, reason)
	}
	return &copyMetrics{
		bytes: m.receivedBytes.WithLabelValues(a.Origin.Name, a.Stream), samples: m.receivedSamples.WithLabelValues(a.Origin.Name, a.Stream),
		time: drop("time"), unfit: drop("unfit"), over: drop("over_limit"),
	}
}
