package enrol

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type authorityMetrics struct {
	redeemed  *prometheus.CounterVec
	forwarded *prometheus.CounterVec
	issued    prometheus.Counter
	adopted   prometheus.Counter
}

func newAuthorityMetrics(reg prometheus.Registerer) *authorityMetrics {
	m := &authorityMetrics{
		redeemed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_enrol_redeem_requests_total",
			Help: "Requests of guests to become members, by how they ended: admitted, again (the same island asked once more), refused, failed.",
		}, []string{"result"}),
		forwarded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_enrol_forwarded_requests_total",
			Help: "Requests of guests passed on to the island that made the invitation, by result: answered, unreachable.",
		}, []string{"result"}),
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_enrol_certificates_issued_total",
			Help: "Certificates signed by this island.",
		}),
		adopted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_enrol_documents_adopted_total",
			Help: "Documents signed again because their author loses the right.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.redeemed, m.forwarded, m.issued, m.adopted)
	}
	return m
}

type renewerMetrics struct {
	attempts *prometheus.CounterVec
	notAfter prometheus.Gauge
}

func newRenewerMetrics(reg prometheus.Registerer) *renewerMetrics {
	m := &renewerMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_enrol_renewals_total",
			Help: "Attempts to renew this island's certificate, by result: renewed, failed.",
		}, []string{"result"}),
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_enrol_certificate_not_after_timestamp_seconds",
			Help: "When this island's certificate ends, in Unix seconds.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.notAfter)
	}
	return m
}

type renewerWarnings struct{ expiring, expired, outside, clock *health.Handle }

func declareRenewer(l *health.List) renewerWarnings {
	return renewerWarnings{
		expiring: l.Declare(health.Warning{
			Code: "certificate-expiring", Severity: health.SeverityWarning,
			Title:  "This island's certificate ends soon and could not be renewed",
			Remedy: "See that this island reaches an island of role admin (atoll peers); the certificate renews by itself from then on.",
		}),
		expired: l.Declare(health.Warning{
			Code: "certificate-expired", Severity: health.SeverityCritical,
			Title:  "This island's certificate is not valid, so other islands answer nothing but renewals",
			Remedy: "See that this island reaches an island of role admin (atoll peers); the certificate renews by itself from then on.",
		}),
		outside: l.Declare(health.Warning{
			Code: "not-a-member", Severity: health.SeverityCritical,
			Title:  "The network does not hold this island for a member any more",
			Remedy: "Have an island of role admin revoke what is left of this island (atoll peers there), run atoll leave --force here, then atoll join with a new token.",
		}),
		clock: l.Declare(health.Warning{
			Code: "clock-skewed", Severity: health.SeverityCritical,
			Title:  "This machine's clock does not agree with the network's",
			Remedy: "Set the clock and keep it set (timedatectl set-ntp true); certificates are judged by it.",
		}),
	}
}
