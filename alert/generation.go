package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/timeinterval"
	commoncfg "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// routing is an Alertmanager configuration with all that can fail behind it.
type routing struct {
	conf         *amconfig.Config
	tmpl         *template.Template
	routes       *dispatch.Route
	receivers    map[string][]notify.Integration
	integrations int
	intervals    map[string][]timeinterval.TimeInterval
	dialer       *dialer
	watched      map[string]struct{}
}

// prepareRouting builds templates, routes and integrations. Nothing runs yet;
// what is not applied is let go of with discard.
func prepareRouting(conf *amconfig.Config, externalURL *url.URL, logger *slog.Logger, w *watch) (*routing, error) {
	tmpl, err := template.FromGlobs(conf.Templates)
	if err != nil {
		return nil, fmt.Errorf("parsing the notification templates %v: %w", conf.Templates, err)
	}
	tmpl.ExternalURL = externalURL
	r := &routing{
		conf:      conf,
		tmpl:      tmpl,
		routes:    dispatch.NewRoute(conf.Route, nil),
		receivers: map[string][]notify.Integration{},
		intervals: map[string][]timeinterval.TimeInterval{},
		dialer:    newDialer(),
		watched:   map[string]struct{}{},
	}
	for _, ti := range conf.MuteTimeIntervals {
		r.intervals[ti.Name] = ti.TimeIntervals
	}
	for _, ti := range conf.TimeIntervals {
		r.intervals[ti.Name] = ti.TimeIntervals
	}
	used := map[string]bool{}
	r.routes.Walk(func(rt *dispatch.Route) { used[rt.RouteOpts.Receiver] = true })

	var errs []error
	for _, rcv := range conf.Receivers {
		if !used[rcv.Name] {
			continue // as Alertmanager: what no route names is not built
		}
		errs = append(errs, checkReceiver(rcv, tmpl)...)
		built, err := receiver.BuildReceiverIntegrations(rcv, tmpl, logger.With("receiver", rcv.Name),
			commoncfg.WithDialContextFunc(r.dialer.dial))
		if err != nil {
			errs = append(errs, fmt.Errorf("building the integrations of receiver %q: %w", rcv.Name, err))
			continue
		}
		r.receivers[rcv.Name] = r.watchAll(rcv.Name, built, w)
		r.integrations += len(built)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// watchAll wraps a receiver's integrations so that their failures are seen.
func (r *routing) watchAll(name string, built []notify.Integration, w *watch) []notify.Integration {
	out := make([]notify.Integration, len(built))
	for i := range built {
		in := &built[i]
		key := integrationKey{receiver: name, integration: in.String()}
		out[i] = notify.NewIntegration(&watchedNotifier{next: in, key: key, watch: w}, in, in.Name(), in.Index(), name)
		r.watched[key.String()] = struct{}{}
	}
	return out
}

func (r *routing) discard() { r.dialer.closeAll() }

// warn says what Alertmanager says about intervals that do not fit, and which
// parts of its configuration belong to its binary, not to its packages.
func (r *routing) warn(logger *slog.Logger, retention time.Duration) {
	if r.conf.TracingConfig.Endpoint != "" {
		logger.Warn("tracing in the Alertmanager configuration has no effect in the embedded one", "endpoint", r.conf.TracingConfig.Endpoint)
	}
	if !reflect.ValueOf(r.conf.EventRecorder).IsZero() {
		logger.Warn("event_recorder in the Alertmanager configuration has no effect in the embedded one")
	}
	r.routes.Walk(func(rt *dispatch.Route) {
		o := rt.RouteOpts
		if o.RepeatInterval > retention {
			logger.Warn("repeat_interval is longer than the retention of the notification log, repetitions come more often than asked for",
				"repeat_interval", o.RepeatInterval, "retention", retention, "route", rt.Key())
		}
		if o.RepeatInterval < o.GroupInterval {
			logger.Warn("repeat_interval is shorter than group_interval, repetitions wait for the next group_interval",
				"repeat_interval", o.RepeatInterval, "group_interval", o.GroupInterval, "route", rt.Key())
		}
	})
}

// generation is a routing at work.
type generation struct {
	*routing
	inhibitor  *inhibit.Inhibitor
	dispatcher *dispatch.Dispatcher
	stage      *drainStage
}

// apply replaces the generation at work. The order is that of Alertmanager's
// reloader: the old stops before the new one starts, as both together would
// notify twice, and the inhibitor knows all alerts before the dispatcher sends any.
func (e *embedded) apply(r *routing) {
	old := e.current.Load()
	if old != nil && !old.stop(reloadDrain) {
		e.metrics.interrupted.Inc()
	}
	recorder := eventrecorder.NopRecorder()
	g := &generation{routing: r, inhibitor: inhibit.NewInhibitor(e.alerts, r.conf.InhibitRules, e.logger, recorder)}
	g.stage = &drainStage{next: e.pipeline.New(r.receivers, func() time.Duration { return 0 }, g.inhibitor, e.silencer,
		timeinterval.NewIntervener(r.intervals), e.marker, e.common, nil), enter: e.entering(e.common.flights(r.receivers))}
	g.dispatcher = dispatch.NewDispatcher(e.alerts, r.routes, g.stage, e.marker,
		func(d time.Duration) time.Duration { return max(d, notify.MinTimeout) },
		dispatchMaintenanceInterval, nil, e.logger, recorder, e.dispatch, r.tmpl)

	go g.inhibitor.Run()
	g.inhibitor.WaitForLoading()
	e.api.Update(r.conf, func(ctx context.Context, labels model.LabelSet) {
		g.inhibitor.Mutes(ctx, labels)
		e.silencer.Mutes(ctx, labels)
	})
	go g.dispatcher.Run(e.startTime)
	g.dispatcher.WaitForLoading()
	e.current.Store(g)
	e.describe(r)
	r.warn(e.logger, e.retention)
}

// entering is what happens to a flush before it is judged what of it is told.
func (e *embedded) entering(next enterFunc) enterFunc {
	return func(ctx context.Context, alerts []*amalert.Alert) (context.Context, []*amalert.Alert, func()) {
		e.release(alerts)
		return next(ctx, alerts)
	}
}

func (e *embedded) describe(r *routing) {
	m := e.metrics.am
	m.receivers.Set(float64(len(r.receivers)))
	m.integrations.Set(float64(r.integrations))
	m.inhibitionRules.Set(float64(len(r.conf.InhibitRules)))
	m.configHash.Set(hash48(r.conf.String()))
	m.reloadOK.Set(1)
	m.reloadTime.SetToCurrentTime()
}

// stop reports whether all notifications under way came to their end.
func (g *generation) stop(atMost time.Duration) bool {
	drained := g.stage.drain(atMost)
	g.inhibitor.Stop()
	g.dispatcher.Stop()
	if !drained {
		// They are cancelled now; their last act is not to write to the log.
		waitAtMost(g.stage.running.Wait, atMost)
	}
	g.dialer.closeAll()
	return drained
}
