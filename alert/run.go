package alert

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	rulesStop    = 5 * time.Second
	externalStop = 5 * time.Second
)

// Run notifies and, once the store is ready, evaluates rules, until ctx ends.
// It then stops the rules, sends what is queued, lets notifications under way
// finish and writes the state, each within bounds. An Alert runs once.
func (a *Alert) Run(ctx context.Context) error {
	saved, err := a.embedded.state.loadAlerts()
	if err != nil {
		return err
	}
	if err := a.startSending(); err != nil {
		return err
	}
	var rulesDone sync.WaitGroup
	if a.storeReady(ctx) {
		a.startRules(saved, &rulesDone)
		<-ctx.Done()
	}
	a.stop(&rulesDone)
	return nil
}

func (a *Alert) startSending() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase != phaseNew {
		return errors.New("running alerting: it ran already: make a new Alert")
	}
	interval := time.Duration(a.plan.config.SnapshotInterval)
	if err := a.embedded.start(interval, a.plan.routing); err != nil {
		return err
	}
	a.external.start(a.plan.prometheus)
	a.crossAs(a.plan)
	a.tellReach()
	a.phase = phaseSending
	close(a.sending)
	return nil
}

// Started is closed once notifications go out and the API answers.
func (a *Alert) Started() <-chan struct{} { return a.sending }

func (a *Alert) storeReady(ctx context.Context) bool {
	if a.opts.Ready == nil {
		return true
	}
	select {
	case <-a.opts.Ready:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Alert) startRules(saved []savedAlert, done *sync.WaitGroup) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.plan.config
	// A rule needs an interval to begin, two evaluations before its `for` is
	// restored, one to fire: six leave room for a slow one.
	grace := max(4*time.Duration(c.ResendDelay), 6*a.plan.rules.longest)
	a.embedded.restore(saved, grace)
	a.embedded.keepAlerts(time.Duration(c.SnapshotInterval))
	a.applyRules()
	done.Go(a.rules.Run)
	a.phase = phaseRunning
}

// stop is the start backwards: rules, their queues, notifications, state.
func (a *Alert) stop(rulesDone *sync.WaitGroup) {
	a.stopping.Store(true)
	// Evaluations may end by themselves until their queries are cancelled. A
	// reload may be waiting for one of them, and holds mu.
	cancel := time.AfterFunc(rulesStop, a.rulesCancel)
	defer cancel.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseRunning {
		a.rules.Stop()
		rulesDone.Wait()
	}
	a.rulesCancel()
	a.phase = phaseStopped
	if !a.external.stop(externalStop) {
		a.logger.Warn("alerts for external Alertmanagers were still queued at the stop", "waited", externalStop)
	}
	if err := a.embedded.stop(); err != nil {
		a.logger.Error("stopping the embedded Alertmanager", "err", err)
	}
}

// Handler serves the Alertmanager API below /api/v2/. Before Run it answers
// 503. Paths that the API does not have are answered here: upstream makes a
// metric label of each.
func (a *Alert) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !apiPath(r.URL.Path) {
			http.NotFound(w, r)
			return
		}
		h := a.embedded.handler.Load()
		if h == nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "alerting is starting", http.StatusServiceUnavailable)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, a.embedded.limits.Load().BodyBytes)
		switch {
		case r.URL.Path == "/api/v2/status":
			serveStatus(*h, w, r)
		case changesSilences(r):
			a.embedded.serveKept(*h, w, r)
		default:
			(*h).ServeHTTP(w, r)
		}
	})
}

func apiPath(path string) bool {
	switch rest, ok := strings.CutPrefix(path, "/api/v2/"); {
	case !ok:
		return false
	case rest == "alerts", rest == "alerts/groups", rest == "receivers", rest == "silences", rest == "status":
		return true
	default:
		id, ok := strings.CutPrefix(rest, "silence/")
		return ok && id != "" && !strings.Contains(id, "/")
	}
}
