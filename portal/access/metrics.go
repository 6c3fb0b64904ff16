package access

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	logins       *prometheus.CounterVec
	refusals     *prometheus.CounterVec
	auditDropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, a *Access) (*metrics, error) {
	m := &metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_portal_logins_total",
			Help: "Attempts to sign in or to use the set-up code, by how they ended: ok, wrong, limited, error.",
		}, []string{"result"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_portal_refusals_total",
			Help: "Requests that were refused for want of a right, by the code of the refusal.",
		}, []string{"code"}),
		auditDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_portal_audit_dropped_total",
			Help: "Refusals that were not written to the audit log because there were too many.",
		}),
	}
	for _, result := range []string{"ok", "wrong", "limited", "error"} {
		m.logins.WithLabelValues(result)
	}
	for _, code := range []string{"unauthenticated", "forbidden", "csrf"} {
		m.refusals.WithLabelValues(code)
	}
	sessions := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "atoll_portal_sessions",
		Help: "Sessions that are open.",
	}, func() float64 {
		if on := a.on.Load(); on != nil {
			return float64(on.sessions.count())
		}
		return 0
	})
	buckets := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "atoll_portal_login_buckets",
		Help: "Names and addresses whose attempts to sign in are being counted; at most 4096 and one for all others.",
	}, func() float64 { return float64(a.limiter.size()) })
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.logins, m.refusals, m.auditDropped, sessions, buckets} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
