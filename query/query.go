package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/logging"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/query/global"
)

// Store is what queries read. Before it is open its methods return an error
// that wraps tsdb.ErrNotReady.
type Store interface {
	storage.SampleAndChunkQueryable
	storage.ExemplarQueryable
	// StartTime is the time in milliseconds since 1970 from which on the store
	// has everything; what is older is also asked of remote_read endpoints.
	StartTime() (int64, error)
	// Span is from the oldest to the newest sample, in milliseconds; 0, 0 without.
	Span() (oldest, newest int64)
}

// Options is what a Query is made of.
type Options struct {
	Config Config
	Store  Store
	// Admin answers the admin and status/tsdb endpoints.
	Admin v1.TSDBAdminStats
	// Dir is where the journal of running queries is kept; relative log files
	// are beside it.
	Dir string
	// StoreDir is the store's directory: snapshots are made in StoreDir/snapshots.
	StoreDir string

	// History says up to when (milliseconds) the store's samples stay as they are as
	// long as epoch is the same; nil, or an epoch of 0, promises nothing.
	History func() (epoch uint64, settled int64)

	// Since is a time in milliseconds before which the store has no sample, and gets
	// none but by exception; false while that is not known. nil for never.
	Since func() (ms int64, ok bool)

	// Neighbours are who else is asked where a question is about all islands; nil
	// for none.
	Neighbours Neighbours

	// What the API reports on; nil means there is none.
	Targets       func(context.Context) v1.TargetRetriever
	Pools         func(context.Context) v1.ScrapePoolsRetriever
	Rules         func(context.Context) v1.RulesRetriever
	Alertmanagers func(context.Context) v1.AlertmanagerRetriever

	// PrometheusConfig returns the running configuration.
	PrometheusConfig func() promconfig.Config
	// Ready is false until questions can be answered; until then they get 503.
	Ready func() bool
	// RemoteWrite and OTLP serve the two receiving routes; nil turns one off.
	RemoteWrite, OTLP http.Handler

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	Health     *health.List

	// ExternalURL is where clients reach this island.
	ExternalURL *url.URL
	// ListenAddress is host:port of the listener; target links to the local
	// host are rewritten with it.
	ListenAddress string
	// EnableAdmin opens the admin endpoints (delete series, snapshot).
	EnableAdmin bool
	Version     Version
	// Flags are added to /status/flags.
	Flags map[string]string
	// RuntimeInfo, if set, completes what only the island knows: retention and
	// the last reload.
	RuntimeInfo func(*v1.RuntimeInfo)
}

// Query answers questions. Make one with New.
type Query struct {
	options    Options
	sources    *sources
	parser     parser.Parser
	engine     *engine
	everywhere *everywhere
	slots      *slots
	metrics    *metrics
	trouble    *trouble
	notices    *notices
	handler    http.Handler

	now    func() time.Time
	born   time.Time
	ended  context.Context // done once Run has ended
	end    context.CancelFunc
	config atomic.Pointer[Config]
}

// New builds the engine, the handler and the clients of remote_read; it opens
// no connection.
func New(o Options) (*Query, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cors, err := o.Config.corsRegexp()
	if err != nil {
		return nil, err
	}
	q := &Query{
		options: o,
		sources: &sources{store: o.Store},
		parser:  newParser(o.Config),
		metrics: newMetrics(o.Registerer),
		trouble: newTrouble(o.Health),
		notices: newNotices(o.Health, o.Registerer),
		now:     time.Now,
		born:    time.Now().UTC(),
	}
	q.ended, q.end = context.WithCancel(context.Background())
	prom := o.PrometheusConfig()
	endpoints, err := q.newEndpoints(&prom)
	if err != nil {
		return nil, err
	}
	q.sources.swap(endpoints)
	f := features.NewRegistry()
	announce(f, o)
	q.slots = newSlots(o.Config.MaxConcurrency, q.metrics, q.trouble.queueFull)
	q.engine = &engine{
		Engine:  promql.NewEngine(q.engineOpts(o.Registerer, f, q.slots)),
		logger:  o.Logger,
		metrics: q.metrics,
		trouble: q.trouble,
	}
	q.apply(o.Config)
	if q.everywhere, err = q.newEverywhere(); err != nil {
		return nil, err
	}
	q.handler = q.routes(q.newAPI(cors, f))
	return q, nil
}

func (o *Options) check() error {
	var errs []error
	need := func(name string, ok bool) {
		if !ok {
			errs = append(errs, fmt.Errorf("BUG: query.Options.%s is missing", name))
		}
	}
	need("Store", o.Store != nil)
	need("Admin", o.Admin != nil)
	need("Dir", o.Dir != "")
	need("PrometheusConfig", o.PrometheusConfig != nil)
	need("Ready", o.Ready != nil)
	need("Logger", o.Logger != nil)
	need("Gatherer", o.Gatherer != nil)
	need("Health", o.Health != nil)
	need("ExternalURL", o.ExternalURL != nil)
	if err := o.Config.Validate(); err != nil {
		errs = append(errs, err)
	}
	if o.Targets == nil {
		o.Targets = func(context.Context) v1.TargetRetriever { return none{} }
	}
	if o.Pools == nil {
		o.Pools = func(context.Context) v1.ScrapePoolsRetriever { return none{} }
	}
	if o.Rules == nil {
		o.Rules = func(context.Context) v1.RulesRetriever { return none{} }
	}
	if o.Neighbours == nil {
		o.Neighbours = func() (string, []global.Island) { return "local", nil }
	}
	if o.Since == nil {
		o.Since = func() (int64, bool) { return 0, false }
	}
	if o.Alertmanagers == nil {
		o.Alertmanagers = func(context.Context) v1.AlertmanagerRetriever { return none{} }
	}
	return errors.Join(errs...)
}

// Engine evaluates expressions; it is safe for concurrent use.
func (q *Query) Engine() promql.QueryEngine { return q.engine }

// Parser parses expressions with the functions this island allows.
func (q *Query) Parser() parser.Parser { return q.parser }

// Queryable reads the store and, beside it, the endpoints of remote_read that
// are in force: what the API answers from and what expressions of rules should
// read. A remote that fails is a warning, not an error, unless its answer breaks
// off halfway.
func (q *Query) Queryable() storage.SampleAndChunkQueryable { return q.sources }

// Handler serves /api/v1/* and /federate.
func (q *Query) Handler() http.Handler { return q.handler }

// Config is the configuration in force.
func (q *Query) Config() Config { return *q.config.Load() }

// Run keeps the journal of running queries and the query log open until ctx
// ends. Queries are answered whether or not it runs; once it has ended, from the
// store alone.
func (q *Query) Run(ctx context.Context) error {
	defer q.sources.swap(nil)
	if err := q.slots.open(q.options.Dir, q.options.Logger); err != nil {
		return err
	}
	log, err := q.openLog(q.Config().LogFile)
	if err != nil {
		return errors.Join(err, q.slots.closeJournal())
	}
	q.setLog(log)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			q.trouble.expire(now)
			q.notices.sync()
		case <-ctx.Done():
			q.end()
			q.setLog(nil)
			return q.slots.closeJournal()
		}
	}
}

// Prepare readies a new configuration, with the remote_read entries and external
// labels of prom. Commit puts it in force; discard forgets it; exactly one of
// them must be called.
func (q *Query) Prepare(next Config, prom *promconfig.Config) (commit, discard func(), err error) {
	if err := next.Validate(); err != nil {
		return nil, nil, err
	}
	if err := q.Config().frozen(next); err != nil {
		return nil, nil, err
	}
	endpoints, err := q.newEndpoints(prom)
	if err != nil {
		return nil, nil, err
	}
	log, err := q.openLog(next.LogFile)
	if err != nil {
		return nil, nil, err
	}
	commit = func() {
		q.apply(next)
		q.sources.swap(endpoints)
		q.setLog(log)
	}
	discard = func() {
		if log != nil {
			log.Close()
		}
	}
	return commit, discard, nil
}

func (q *Query) apply(cfg Config) {
	q.config.Store(&cfg)
	q.slots.maxQueue.Store(int64(cfg.MaxQueue))
	q.engine.apply(cfg)
}

// openLog returns nil if path is empty.
func (q *Query) openLog(path string) (*logging.JSONFileLogger, error) {
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(q.options.Dir, path)
	}
	log, err := logging.NewJSONFileLogger(path)
	if err != nil {
		return nil, fmt.Errorf("query.log_file: opening %q for appending: %w", path, err)
	}
	return log, nil
}

// setLog hands log to the engine, which closes the one before.
func (q *Query) setLog(log *logging.JSONFileLogger) {
	if log == nil {
		q.engine.SetQueryLogger(nil) // a nil *JSONFileLogger would not be a nil QueryLogger
		return
	}
	q.engine.SetQueryLogger(log)
}
