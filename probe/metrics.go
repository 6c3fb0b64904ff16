package probe

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	runs        *prometheus.CounterVec
	definitions *prometheus.GaugeVec
	requests    *prometheus.CounterVec
	unstored    prometheus.Counter
	adHoc       *prometheus.CounterVec
	running     *prometheus.GaugeVec
	vantage     *prometheus.GaugeVec
}

// What came of a probe, or of a request for one.
const (
	isUp       = "up"
	isDown     = "down"
	wasRefused = "refused"
	wasRun     = "run"
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_runs_total", Help: "Probes of definitions that ran, by prober and result (up or down).",
		}, []string{"prober", "result"}),
		definitions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_probe_definitions", Help: "Definitions of probes that this island knows, by whether they can be used.",
		}, []string{"usable"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_requests_total", Help: "Probes that were asked for by GET /probe, by what was done: run or refused.",
		}, []string{"answer"}),
		unstored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_probe_results_unstored_total", Help: "Results and verdicts whose samples the store did not take as a whole.",
		}),
		adHoc: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_ad_hoc_total", Help: "Results of probes that somebody asked for at a moment, by who asked (here: what vantages answered; island: what this one did for others) and result.",
		}, []string{"asked", "result"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_probe_ad_hoc_running", Help: "What somebody asked for at a moment and is not over, by who asked (here: runs, island: probes).",
		}, []string{"asked"}),
		vantage: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_probe_vantage_info", Help: "1, with labels that say where this island stands, as far as that is known.",
		}, vantageInfo[:]),
	}
	for _, answer := range []string{wasRun, wasRefused} {
		m.requests.WithLabelValues(answer)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.runs, m.definitions, m.requests, m.unstored, m.adHoc, m.running, m.vantage} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of probing: %w", err)
		}
	}
	return m, nil
}

// warnings are what can be wrong with probing.
type warnings struct{ faulty, targets, busy, place, evidence, votes *health.Handle }

func declare(l *health.List) warnings {
	if l == nil {
		l = health.New(prometheus.NewRegistry())
	}
	return warnings{
		faulty: l.Declare(health.Warning{
			Code: "probe-definition-faulty", Severity: health.SeverityWarning,
			Title:  "Definitions of probes cannot be used on this island",
			Remedy: "Mend the definitions named, or add the module they ask for to the file of probe.modules.",
		}),
		targets: l.Declare(health.Warning{
			Code: "probe-targets-limit", Severity: health.SeverityWarning,
			Title:  "More targets are defined or discovered than one island probes; the rest is left out",
			Remedy: "Give the definitions a from: with spread, so that islands share the targets.",
		}),
		busy: l.Declare(health.Warning{
			Code: "probe-skipped", Severity: health.SeverityWarning,
			Title:  "Probes are skipped because too many run at once",
			Remedy: "Raise probe.concurrency, lengthen intervals, shorten timeouts, or spread the targets over more islands.",
		}),
		evidence: l.Declare(health.Warning{
			Code: "probe-evidence-lost", Severity: health.SeverityWarning,
			Title:  "Evidence of failures is not kept",
			Remedy: "Make room on the disk of probe.evidence.dir, lower budget.disk.reserve or probe.evidence.max_size, or let the island write there.",
		}),
		votes: l.Declare(health.Warning{
			Code: "probe-votes-refused", Severity: health.SeverityWarning,
			Title:  "An island that judges does not count what this one sees",
			Remedy: "Mend what is named on that island; until then it judges by the votes of others, or writes nothing.",
		}),
		place: l.Declare(health.Warning{
			Code: "probe-place-unknown", Severity: health.SeverityWarning,
			Title:  "Where this island stands could not be looked up",
			Remedy: "See that the files of probe.place.databases are in MaxMind's form and whole, or write the place down in probe.place.",
		}),
	}
}
