package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/health"
)

// Options are what an Alert is made from.
type Options struct {
	Config     Config
	Prometheus *promconfig.Config
	// Alertmanager is nil for DefaultAlertmanager.
	Alertmanager *amconfig.Config

	Engine    promql.QueryEngine
	Queryable storage.Queryable
	// Local is where the `for` state is restored from: this island's own samples,
	// not those that a remote read adds. Nil is Queryable.
	Local      storage.Queryable
	Appendable storage.AppendableV2
	Parser     parser.Parser // nil for the upstream default

	// Supplied are rules beside those of the configuration's files; Prepare replaces them.
	Supplied []Supplied
	// Annotate returns annotations of an alert that firing rules cannot know, by its
	// labels, each time it is handed over; they replace the rule's own of those names.
	// nil adds none.
	Annotate func(labels.Labels) map[string]string

	// ExternalURL is where people reach this island; it stands in notifications.
	ExternalURL *url.URL
	// Dir holds the state; it is created if it does not exist.
	Dir string
	// Ready, if not nil, is closed once the store answers: rules wait for it,
	// notifying does not.
	Ready <-chan struct{}
	// Discovery are the metrics of the discovery mechanisms. A registry takes
	// them once, so they are shared with whoever scrapes; nil keeps them private.
	Discovery *discovery.SDMetrics

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List

	// discoveryDelay shortens the wait for external Alertmanagers in tests.
	discoveryDelay time.Duration
}

func (o *Options) complete() error {
	var errs []error
	require := func(name string, ok bool) {
		if !ok {
			errs = append(errs, fmt.Errorf("alert: Options.%s is required", name))
		}
	}
	require("Prometheus", o.Prometheus != nil)
	require("Engine", o.Engine != nil)
	require("Queryable", o.Queryable != nil)
	if o.Local == nil {
		o.Local = o.Queryable
	}
	require("Appendable", o.Appendable != nil)
	require("Dir", o.Dir != "")
	if o.Parser == nil {
		o.Parser = parser.NewParser(parser.Options{})
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{Scheme: "http", Host: "127.0.0.1:59080"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		// Alertmanager's packages dereference what they register.
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	return errors.Join(append(errs, o.Config.Validate())...)
}

// Alert evaluates rules and notifies.
type Alert struct {
	opts     Options
	logger   *slog.Logger
	watch    *watch
	embedded *embedded
	external *external
	loader   *groupLoader
	rules    *rules.Manager
	border   atomic.Pointer[border]
	// threshold is Config.FailuresBeforeWarning.
	threshold atomic.Int64

	rulesCancel context.CancelFunc
	sending     chan struct{} // closed in phaseSending
	stopping    atomic.Bool

	// mu guards what follows, and that one of commit, start and stop runs at a time.
	mu    sync.Mutex
	phase phase
	plan  *plan
}

type phase int

const (
	phaseNew     phase = iota
	phaseSending       // notifying, rules wait for the store
	phaseRunning
	phaseStopped
)

// New reads the state and the configuration and starts nothing.
func New(o Options) (*Alert, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the alert directory: %w: make its parent writable or choose another data directory", err)
	}
	initMatchers()
	a := &Alert{opts: o, logger: o.Logger, loader: &groupLoader{parser: o.Parser}, sending: make(chan struct{})}
	a.threshold.Store(int64(o.Config.FailuresBeforeWarning))
	m := newMetrics(o.Registerer)
	a.watch = newWatch(o.Health, m, func() int { return int(a.threshold.Load()) })

	var err error
	if a.plan, err = a.prepare(o.Config, o.Prometheus, o.Alertmanager, o.Supplied); err != nil {
		return nil, err
	}
	if a.embedded, err = newEmbedded(o, m, o.Registerer); err != nil {
		return nil, err
	}
	a.watch.told = a.embedded.observer.told
	if a.external, err = newExternal(o, a.watch, o.Registerer); err != nil {
		return nil, err
	}
	a.rules = a.newRuleManager()
	return a, nil
}

func (a *Alert) newRuleManager() *rules.Manager {
	var ctx context.Context
	ctx, a.rulesCancel = context.WithCancel(context.Background())
	c := a.opts.Config
	return rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme:   a.opts.Prometheus.GlobalConfig.MetricNameValidationScheme,
		ExternalURL:            a.opts.ExternalURL,
		QueryFunc:              rules.EngineQueryFunc(a.opts.Engine, a.opts.Queryable),
		NotifyFunc:             rules.SendAlerts(a, a.opts.ExternalURL.String()),
		Context:                ctx,
		AppendableV2:           a.opts.Appendable,
		Queryable:              a.opts.Local,
		Logger:                 a.logger.With("part", "rules"),
		Registerer:             a.opts.Registerer,
		OutageTolerance:        time.Duration(c.OutageTolerance),
		ForGracePeriod:         time.Duration(c.ForGracePeriod),
		ResendDelay:            time.Duration(c.ResendDelay),
		GroupLoader:            a.loader,
		MaxConcurrentEvals:     c.MaxConcurrentEvals,
		ConcurrentEvalsEnabled: c.MaxConcurrentEvals > 0,
		Parser:                 a.opts.Parser,
	})
}

// RuleGroups returns the groups at work, for the rules API.
func (a *Alert) RuleGroups() []*rules.Group { return a.rules.RuleGroups() }

// AlertingRules returns the alerting rules at work, for the alerts API.
func (a *Alert) AlertingRules() []*rules.AlertingRule { return a.rules.AlertingRules() }

// Alertmanagers returns where alerts go: the embedded one, then the external.
func (a *Alert) Alertmanagers() []*url.URL {
	own := a.opts.ExternalURL.JoinPath("/api/v2/alerts")
	return append([]*url.URL{own}, a.external.notifier.Alertmanagers()...)
}

// DroppedAlertmanagers returns the external ones that relabelling left out.
func (a *Alert) DroppedAlertmanagers() []*url.URL { return a.external.dropped() }
