package global

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	evaluations *prometheus.CounterVec // by outcome
	missed      prometheus.Counter
	handovers   *prometheus.CounterVec // by direction
	states      *prometheus.CounterVec // by result
}

func newMetrics(reg prometheus.Registerer, e *Evaluator) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		evaluations: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_global_evaluations_total",
			Help: "Evaluations of global rules here: ok; partial, with islands missing that the rule ignores; kept, as they were because islands are missing; failed.",
		}, []string{"outcome"}),
		missed: f.NewCounter(prometheus.CounterOpts{
			Name: "atoll_alert_global_iterations_missed_total",
			Help: "Evaluations of global groups left out because the one before was too slow.",
		}),
		handovers: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_global_handovers_total",
			Help: "Global groups taken over by this island, and given to others.",
		}, []string{"direction"}),
		states: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_global_states_total",
			Help: "State documents of global groups: written here, failed to be written, and refused when read.",
		}, []string{"result"}),
	}
	for _, o := range []string{"ok", "partial", "kept", "failed"} {
		m.evaluations.WithLabelValues(o)
	}
	for _, d := range []string{"taken", "given"} {
		m.handovers.WithLabelValues(d)
	}
	for _, r := range []string{"written", "failed", "refused"} {
		m.states.WithLabelValues(r)
	}
	gauge := func(name, help string, value func() int) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	gauge("atoll_alert_global_groups", "Global rule groups there are.", func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.groups)
	})
	gauge("atoll_alert_global_groups_owned", "Global rule groups that this island evaluates.", func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.workers)
	})
	gauge("atoll_alert_global_primaries", "Primary islands there are.", func() int { return len(e.o.Primaries()) })
	gauge("atoll_alert_global_primaries_live", "Primary islands that are not lost, as seen from here.", func() int { return len(e.live()) })
	return m
}

type trouble struct{ refused, failing, waiting, nobody, unshared *health.Handle }

func declare(h *health.List) trouble {
	return trouble{
		refused: h.Declare(health.Warning{
			Code: "global-rules-refused", Severity: health.SeverityWarning,
			Title:  "a document of global rules is not obeyed",
			Remedy: "`atoll edit` the document that the text names.",
		}),
		failing: h.Declare(health.Warning{
			Code: "global-rule-failing", Severity: health.SeverityCritical,
			Title:  "global rules cannot be evaluated",
			Remedy: "Correct the expression or what it selects; while it fails the rule's alerts stay as they are.",
		}),
		waiting: h.Declare(health.Warning{
			Code: "global-rule-waiting", Severity: health.SeverityWarning,
			Title:  "global rules keep their state because islands are missing",
			Remedy: "Bring the islands back or revoke them. A rule that shall go on without them says on_missing: ignore, one that shall alert about it on_missing: fire.",
		}),
		nobody: h.Declare(health.Warning{
			Code: "global-no-primary", Severity: health.SeverityCritical,
			Title:  "there are global rules, and no island to evaluate them",
			Remedy: "Run `atoll promote` with the names of one or more islands.",
		}),
		unshared: h.Declare(health.Warning{
			Code: "global-state-unshared", Severity: health.SeverityWarning,
			Title:  "the state of global alerts cannot be left for other primaries",
			Remedy: "See whether the policy lets this island write documents of kind alertstate, and whether the disk takes them.",
		}),
	}
}

// report sets a warning to the first few of its causes, or clears it.
func report(h *health.Handle, texts []string) {
	const most = 5
	if len(texts) == 0 {
		h.Clear()
		return
	}
	rest := ""
	if more := len(texts) - most; more > 0 {
		texts, rest = texts[:most], fmt.Sprintf("; and %d more", more)
	}
	h.Set("%s%s", strings.Join(texts, "; "), rest)
}
