package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/api"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/route"

	"github.com/atoll-mesh/atoll/alert/history"
)

const (
	alertGCInterval             = 30 * time.Minute // as Alertmanager's flag
	dispatchMaintenanceInterval = 30 * time.Second // as Alertmanager's flag
	stopDrain                   = 5 * time.Second
	reloadDrain                 = time.Second
)

// embedded is an Alertmanager without its binary: what lives as long as the
// island. What follows the configuration is its generation.
type embedded struct {
	logger      *slog.Logger
	externalURL *url.URL
	retention   time.Duration
	metrics     *metrics
	state       *stateDir
	limits      atomic.Pointer[Limits]

	silences *silence.Silences
	silencer *silence.Silencer
	nflog    *nflog.Log
	marker   marker.GroupMarker
	pipeline *notify.PipelineBuilder
	dispatch *dispatch.DispatcherMetrics
	common   *common
	history  *history.Store
	observer *observer

	// alerts, api and handler come with start: the provider runs a goroutine.
	alerts  *mem.Alerts
	api     *api.API
	handler atomic.Pointer[http.Handler]
	current atomic.Pointer[generation]

	registerer  prometheus.Registerer
	startTime   time.Time
	maintenance sync.WaitGroup
	stopc       chan struct{}
}

func newEmbedded(o Options, m *metrics, reg prometheus.Registerer) (*embedded, error) {
	e := &embedded{
		logger:      o.Logger,
		externalURL: o.ExternalURL,
		retention:   time.Duration(o.Config.Retention),
		metrics:     m,
		state:       newStateDir(o.Dir, o.Logger, m, o.Health),
		marker:      marker.NewGroupMarker(),
		registerer:  reg,
		stopc:       make(chan struct{}),
	}
	e.limits.Store(&o.Config.Limits)
	flags, recorder := featurecontrol.NoopFlags{}, eventrecorder.NopRecorder()
	if err := e.openNflog(); err != nil {
		return nil, err
	}
	if err := e.openSilences(recorder); err != nil {
		return nil, err
	}
	e.common = &common{log: e.nflog, retention: e.retention, logger: e.logger, alerts: map[uint64]*commonAlert{}, air: map[*flight]struct{}{}}
	e.history = history.New(history.Options{
		Config: o.Config.History, Dir: o.Dir, Logger: o.Logger.With("part", "history"), Registerer: reg, Health: o.Health,
	})
	e.observer = newObserver(e, e.history)
	e.silencer = silence.NewSilencer(e.silences, e.logger, recorder)
	e.pipeline = notify.NewPipelineBuilder(reg, flags, recorder)
	e.dispatch = dispatch.NewDispatcherMetrics(false, reg, flags)
	return e, nil
}

func (e *embedded) openNflog() error {
	content, err := e.state.read(fileNflog)
	if err != nil {
		return err
	}
	o := nflog.Options{Retention: e.retention, Logger: e.logger.With("part", "nflog"), Metrics: e.registerer}
	if content != nil {
		o.SnapshotReader = bytes.NewReader(content)
	}
	// A log that could not read its snapshot is returned beside the error, empty.
	e.nflog, err = nflog.New(o)
	if err != nil && e.nflog != nil {
		return e.state.putAside(fileNflog, err)
	}
	if err != nil {
		return fmt.Errorf("opening the notification log: %w", err)
	}
	return nil
}

func (e *embedded) openSilences(recorder eventrecorder.Recorder) error {
	content, err := e.state.read(fileSilences)
	if err != nil {
		return err
	}
	o := silence.Options{
		Retention: e.retention,
		Limits: silence.Limits{
			MaxSilences:         func() int { return e.limits.Load().Silences },
			MaxSilenceSizeBytes: func() int { return e.limits.Load().SilenceBytes },
		},
		Logger:        e.logger.With("part", "silences"),
		Metrics:       e.registerer,
		EventRecorder: recorder,
	}
	if content != nil {
		o.SnapshotReader = bytes.NewReader(content)
	}
	e.silences, err = silence.New(o)
	if err != nil && e.silences != nil {
		return e.state.putAside(fileSilences, err)
	}
	if err != nil {
		return fmt.Errorf("opening the silences: %w", err)
	}
	return nil
}

// start brings up the provider, the API and the first generation.
func (e *embedded) start(interval time.Duration, first *routing) error {
	var err error
	e.startTime = time.Now()
	e.history.Open()
	e.alerts, err = mem.NewAlerts(context.Background(), alertGCInterval, e.limits.Load().AlertsPerName,
		stored{e.silencer, e.observer.note}, e.logger, eventrecorder.NopRecorder(), e.registerer, featurecontrol.NoopFlags{})
	if err != nil {
		return fmt.Errorf("starting the alert store: %w", err)
	}
	e.api, err = api.New(api.Options{
		Alerts:          e.alerts,
		Silences:        e.silences,
		GroupMutedFunc:  e.marker.Muted,
		Logger:          e.logger.With("part", "api"),
		Registry:        e.registerer,
		RequestDuration: e.metrics.am.requestDuration,
		GroupFunc:       e.groups,
	})
	if err != nil {
		e.alerts.Close()
		return fmt.Errorf("starting the Alertmanager API: %w", err)
	}
	e.apply(first)

	e.maintenance.Go(func() {
		e.nflog.Maintenance(interval, fileNflog, e.stopc, e.state.maintain(fileNflog, e.nflog))
	})
	e.maintenance.Go(func() {
		e.silences.Maintenance(interval, fileSilences, e.stopc, e.state.maintain(fileSilences, e.silences))
	})

	recording, end := context.WithCancel(context.Background())
	e.maintenance.Go(func() {
		var writing sync.WaitGroup
		writing.Go(func() {
			if err := e.history.Run(recording); err != nil {
				e.logger.Error("ending the history of alerts", "err", err)
			}
		})
		e.observer.run(e.stopc)
		end()
		writing.Wait()
	})

	var h http.Handler = e.api.Register(route.New(), "/")
	e.handler.Store(&h)
	return nil
}

// keepAlerts starts saving alerts. It must not begin before the saved ones are
// back: the first thing it would do is to forget them.
func (e *embedded) keepAlerts(interval time.Duration) {
	save := func() {
		if _, err := e.state.saveAlerts(e.alerts, e.common.knows, time.Now()); err != nil {
			e.logger.Error("saving alerts", "err", err)
		}
	}
	e.maintenance.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				save()
			case <-e.stopc:
				save()
				return
			}
		}
	})
}

// restore puts the alerts of the last run back.
func (e *embedded) restore(saved []savedAlert, grace time.Duration) {
	now := time.Now()
	var alerts []*amalert.Alert
	for _, s := range saved {
		a := s.revive(now, now.Add(grace))
		if err := a.Validate(); err != nil {
			e.logger.Warn("saved alert is invalid, leaving it out", "labels", s.Labels, "err", err)
			continue
		}
		alerts = append(alerts, a)
	}
	if err := e.alerts.Put(context.Background(), alerts...); err != nil {
		e.logger.Error("restoring alerts", "err", err)
		return
	}
	e.metrics.restoredAlerts.Set(float64(len(alerts)))
}

func (e *embedded) groups(ctx context.Context, routes func(*dispatch.Route) bool, alerts func(*amalert.Alert, time.Time) bool) (dispatch.AlertGroups, map[model.Fingerprint][]string, error) {
	return e.current.Load().dispatcher.Groups(ctx, routes, alerts)
}

// stop ends notifying, then writes what must outlive the process. Every wait
// but the disk's is bounded.
func (e *embedded) stop() error {
	var err error
	if g := e.current.Load(); g != nil && !g.stop(stopDrain) {
		e.metrics.interrupted.Inc()
		err = fmt.Errorf("stopping notifications: some took longer than %s and were cut off; they may be sent again after the start", stopDrain)
	}
	e.alerts.Close()
	close(e.stopc)
	e.maintenance.Wait()
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	for _, failed := range e.state.errs {
		err = errors.Join(err, failed)
	}
	return err
}
