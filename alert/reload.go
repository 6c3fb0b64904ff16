package alert

import (
	"errors"
	"fmt"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	promconfig "github.com/prometheus/prometheus/config"
)

// plan is a whole configuration, ready to be taken over.
type plan struct {
	config     Config
	prometheus *promconfig.Config
	rules      *ruleSet
	routing    *routing
}

// Prepare reads and builds everything that a configuration asks for. Until
// commit the old one works on; discard lets go of the new one. A problem in any
// file is an error that lists them all, each with file, line and column.
//
// Alertmanager may be nil for DefaultAlertmanager. One of commit and discard
// must be called, once.
func (a *Alert) Prepare(c Config, prom *promconfig.Config, am *amconfig.Config, supplied ...Supplied) (commit, discard func(), err error) {
	a.mu.Lock()
	current := a.plan.config
	a.mu.Unlock()
	if err := errors.Join(c.Validate(), current.fixed(c)); err != nil {
		return nil, nil, err
	}
	p, err := a.prepare(c, prom, am, supplied)
	if err != nil {
		a.embedded.metrics.am.reloadOK.Set(0)
		return nil, nil, err
	}
	return func() { a.commit(p) }, p.routing.discard, nil
}

func (a *Alert) prepare(c Config, prom *promconfig.Config, am *amconfig.Config, supplied []Supplied) (*plan, error) {
	if prom == nil {
		return nil, errors.New("preparing alerting: no Prometheus configuration given")
	}
	if am == nil {
		am = DefaultAlertmanager()
	}
	set, problems := loadRules(prom, a.opts.Parser, supplied)
	refused, warnings := problems.split()
	for _, p := range warnings {
		a.logger.Warn("suspicious rule", "file", p.File, "line", p.Line, "column", p.Column, "message", p.Message)
	}
	var errs []error
	if len(refused) > 0 {
		errs = append(errs, refused)
	}
	if err := checkExternal(prom); err != nil {
		errs = append(errs, err)
	}
	routing, err := prepareRouting(am, a.opts.ExternalURL, a.logger, a.watch)
	if err != nil {
		errs = append(errs, fmt.Errorf("preparing the Alertmanager configuration: %w", err))
	}
	if len(errs) > 0 {
		if routing != nil {
			routing.discard()
		}
		return nil, errors.Join(errs...)
	}
	return &plan{config: c, prometheus: prom, rules: set, routing: routing}, nil
}

// commit takes a plan over. Receivers come first, so that no alert of a new
// rule meets the old routes.
func (a *Alert) commit(p *plan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseStopped {
		p.routing.discard()
		return
	}
	if a.phase == phaseNew {
		a.plan.routing.discard()
	}
	a.plan = p
	a.threshold.Store(int64(p.config.FailuresBeforeWarning))
	a.embedded.limits.Store(&p.config.Limits)
	a.embedded.history.SetConfig(p.config.History)
	if a.phase >= phaseSending {
		a.embedded.apply(p.routing)
		a.external.apply(p.prometheus)
		a.watch.keep(p.routing.watched, a.external.urls())
		a.tellReach()
	}
	a.crossAs(p)
	if a.phase == phaseRunning {
		a.applyRules()
	}
}

func (a *Alert) crossAs(p *plan) {
	a.border.Store(newBorder(p.prometheus, time.Duration(p.routing.conf.Global.ResolveTimeout)))
}

func (a *Alert) tellReach() {
	a.watch.reach(a.plan.routing.integrations, len(a.plan.prometheus.AlertingConfig.AlertmanagerConfigs))
}

// applyRules hands the plan's groups to the manager.
func (a *Alert) applyRules() {
	set := a.plan.rules
	a.loader.serve(set)
	err := a.rules.Update(set.interval, set.files, set.external, a.opts.ExternalURL.String(), a.watch.evaluate)
	if err != nil {
		// The loader reads nothing: only a bug gets here, and the old rules go on.
		a.logger.Error("applying rules", "err", err)
	}
	a.watch.keepGroups(a.rules.RuleGroups())
}
