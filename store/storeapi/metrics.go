package storeapi

import (
	"path"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/status"
)

type metrics struct {
	calls  *prometheus.CounterVec
	series prometheus.Counter
	bytes  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_storeapi_calls_total", Help: "Calls of Thanos' StoreAPI answered, by method and gRPC code.",
		}, []string{"method", "code"}),
		series: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_storeapi_series_total", Help: "Series sent.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_storeapi_sent_bytes_total", Help: "Bytes of labels and chunks sent.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.calls, m.series, m.bytes)
	}
	return m
}

func (m *metrics) done(method string, err error) {
	m.calls.WithLabelValues(path.Base(method), status.Code(err).String()).Inc()
}
