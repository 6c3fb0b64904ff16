package island

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/dimension"
	"github.com/atoll-mesh/atoll/aggregate/router"
	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/asset"
	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/collect"
	"github.com/atoll-mesh/atoll/collect/receive"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/flow/send"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/portal"
	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/portal/events"
	"github.com/atoll-mesh/atoll/portal/overview"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/query"
	"github.com/atoll-mesh/atoll/replicate"
	"github.com/atoll-mesh/atoll/store"
	"github.com/atoll-mesh/atoll/store/bucket"
	"github.com/atoll-mesh/atoll/store/storeapi"
)

// rooms are the parts of one island, each behind its only door.
type rooms struct {
	store  *store.Store
	door   storage.AppendableV2 // of the store, with its limits
	bucket *bucket.Bucket

	storeAPI *storeapi.Server
	budget   *budget.Budget
	send     *send.Sender
	query    *query.Query
	alert    *alert.Alert
	collect  *collect.Collector

	aggregate *aggregate.Aggregator
	dimension *dimension.Generator
	replicate *replicate.Replicator
	router    *router.Router // nil if what is received is stored
	probe     *probe.Prober
	asset     *asset.Inventory
	events    *events.Hub

	access    *access.Access
	accessLog *accessLog
	portal    *portal.Portal
	control   net.Listener

	// The portal must hold its address before the others are made: they put it
	// into links. Until then their routes answer 503.
	queryRoutes, alertRoutes, boardRoutes, probeRoutes, assetRoutes lateHandler
}

// start makes every room and starts it: what stores first, what feeds last.
func (i *Island) start(ctx context.Context) error {
	r := &rooms{}
	if err := i.build(r); err != nil {
		if r.portal != nil {
			_ = r.portal.Close() // the reason that matters is err
		}
		if r.control != nil {
			_ = r.control.Close()
		}
		if r.access != nil {
			_ = r.closeAccess()
		}
		return err
	}
	i.setRooms(r)
	r.budget.ApplyRuntime()
	i.steps.start("budget", r.budget.Run)
	i.steps.start("store", r.store.Run)
	i.steps.start("replicate", r.replicate.Run)
	i.steps.start("access", r.runAccess)
	i.steps.start("portal", r.portal.Run)
	i.steps.start("events", r.events.Run) // its streams end before the portal waits for them
	i.steps.start("control", i.serveControl(r.control))
	if err := i.startMembership(ctx); err != nil {
		return err
	}
	if err := i.joinFirst(ctx); err != nil {
		return err
	}
	if err := i.waitFor(ctx, r.store.Ready()); err != nil {
		return err
	}
	i.steps.start("bucket", r.bucket.Run)
	i.steps.start("storeapi", r.storeAPI.Run)
	i.steps.start("query", r.query.Run)
	i.steps.start("send", r.send.Run)
	i.steps.start("alert", r.alert.Run)
	if err := i.waitFor(ctx, r.alert.Started()); err != nil {
		return err
	}
	i.steps.start("aggregate", r.aggregate.Run)
	i.steps.start("dimension", r.dimension.Run)
	if r.router != nil {
		i.steps.start("router", r.runRouter)
	}
	i.steps.start("collect", r.collect.Run)
	i.steps.start("probe", r.probe.Run)
	i.steps.start("asset", r.asset.Run)
	i.steps.start("news", r.watchEvents(i))
	i.steps.start("watch", i.watchFiles)
	r.budget.Trim()
	return nil
}

func (i *Island) waitFor(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-i.quit:
		return context.Canceled
	case err := <-i.steps.failed:
		return err
	}
}

// build makes the rooms and hands them to each other; nothing runs yet, but the
// HTTP addresses are taken.
func (i *Island) build(r *rooms) (err error) {
	cfg := i.Config()
	if err = i.buildEvents(r); err != nil {
		return err
	}
	if err = i.newAccess(r, cfg); err != nil {
		return err
	}
	if r.portal, err = i.newPortal(r, cfg); err != nil {
		return err
	}
	if err = r.portal.Listen(); err != nil {
		return err
	}
	if r.control, err = control.Listen(cfg.Island.DataDir); err != nil {
		return err
	}
	// Not earlier: from here on the data directory is this process' own.
	if err = r.openAccess(cfg.Island.DataDir); err != nil {
		return err
	}
	if err = i.finishLeaving(); err != nil {
		return err
	}
	cfg = i.Config()
	if err = i.buildBucket(r, cfg); err != nil {
		return err
	}
	r.store, err = store.New(store.Options{
		Elsewhere: r.bucket,
		Config:    cfg.Store, Logger: i.room("store"), Registerer: i.registry, Health: i.health,
	})
	if err != nil {
		return err
	}
	r.budget, err = budget.New(budget.Options{
		Config: cfg.Budget, Logger: i.room("budget"), Registerer: i.registry, Health: i.health,
		Dir: r.store.Dir(), NumSeries: r.store.NumSeries,
	})
	if err != nil {
		return err
	}
	if err = i.buildReplicate(r, cfg); err != nil {
		return err
	}
	door := r.budget.Limit(r.replicate.Tap(r.store))
	r.door = door
	if err = i.buildAggregate(r, cfg, door); err != nil {
		return err
	}
	folded := r.aggregate.Appendable(door)
	r.collect, err = collect.New(collect.Options{
		Config: cfg.Collect, Prometheus: cfg.Prometheus, Appendable: folded,
		Logger: i.room("collect"), Registerer: i.registry, Gatherer: i.gatherer, Health: i.health,
		InstanceName: cfg.Island.Name, SamplesPerTarget: cfg.Budget.SamplesPerTarget,
	})
	if err != nil {
		return err
	}
	if err = i.buildProbe(r, cfg, folded); err != nil {
		return err
	}
	if err = i.buildSend(r, cfg); err != nil {
		return err
	}
	received, err := i.received(r, cfg, folded)
	if err != nil {
		return err
	}
	if err = i.buildQuery(r, cfg, received); err != nil {
		return err
	}
	if err = i.buildAlert(r, cfg, door); err != nil {
		return err
	}
	if err = i.buildDimension(r, cfg, door); err != nil {
		return err
	}
	if err = i.buildStoreAPI(r, cfg); err != nil {
		return err
	}
	if err = i.buildAsset(r); err != nil {
		return err
	}
	r.queryRoutes.set(r.query.Handler())
	r.alertRoutes.set(r.alert.Handler())
	r.boardRoutes.set(i.board(r))
	r.probeRoutes.set(r.probe.Handler())
	r.assetRoutes.set(r.asset.Handler())
	return nil
}

// serveControl answers the island's own user.
func (i *Island) serveControl(l net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		return control.Serve(ctx, l, i.Config().Island.DataDir, i.controlRoutes())
	}
}

func (i *Island) newPortal(r *rooms, cfg *config.Config) (*portal.Portal, error) {
	routes := i.changeRoutes()
	maps.Copy(routes, boardRoutes(&r.boardRoutes))
	maps.Copy(routes, map[string]http.Handler{
		"/api/v1/": &r.queryRoutes,

		"GET /api/v1/rules": i.rulesRoute(&r.queryRoutes),
		"GET /federate":     &r.queryRoutes,
		"/api/v2/":          &r.alertRoutes,

		"GET " + aggregate.TopPath:   http.HandlerFunc(i.topRoute),
		"GET " + aggregate.RulesPath: http.HandlerFunc(i.rulesOfAggregation),

		"GET " + probe.RequestPath:     &r.probeRoutes,
		"GET " + probe.DefinitionsPath: &r.probeRoutes,
		"GET " + probe.TargetsPath:     &r.probeRoutes,
		"GET " + probe.VerdictsPath:    &r.probeRoutes,
		"GET " + probe.VantagesPath:    &r.probeRoutes,
		"GET " + probe.MatrixPath:      &r.probeRoutes,

		"GET " + probe.EvidencePath:       &r.probeRoutes,
		"GET " + probe.EvidencePath + "/": &r.probeRoutes,
		"GET " + probe.RunPath:            &r.probeRoutes,
		"POST " + probe.RunPath:           &r.probeRoutes,

		"GET " + asset.SearchPath:          &r.assetRoutes,
		"GET " + asset.HostsPath:           &r.assetRoutes,
		"GET " + asset.ResourcesPath:       &r.assetRoutes,
		"GET " + asset.ResourcesPath + "/": &r.assetRoutes,
		"GET " + events.Path:               r.events,
		"GET " + overview.Path:             overview.New(i.overview),
	})
	return portal.New(portal.Options{
		Config: cfg.HTTP, Dir: cfg.Island.DataDir, Logger: i.room("portal"), Registerer: i.registry, Gatherer: i.gatherer,
		Health: i.health, Ready: i.isReady, Reload: i.Reload, Quit: i.stopSoon, Status: i.status,
		Routes: routes, Access: r.access,
	})
}

func (i *Island) buildSend(r *rooms, cfg *config.Config) (err error) {
	r.send, err = send.New(send.Options{
		Config: cfg.Send, Dir: r.store.Dir(), CursorDir: filepath.Join(cfg.Island.DataDir, "send"),
		Store: r.store, Exemplars: r.store,
		Retention: func() time.Duration { return time.Duration(i.Config().Store.Retention.Time) },
		Logger:    i.room("send"), Registerer: i.registry, Health: i.health,
		ScrapeManager: func() (*scrape.Manager, error) { return r.collect.ScrapeManager(), nil },
	})
	if err != nil {
		return err
	}
	r.store.SetWriteNotified(r.send)
	commit, _, err := r.send.Prepare(cfg.Prometheus)
	if err == nil {
		commit()
	}
	return err
}

func (i *Island) buildQuery(r *rooms, cfg *config.Config, door storage.AppendableV2) (err error) {
	received := func(cfg receive.Config) receive.Options {
		return receive.Options{Config: cfg, Appendable: door, Logger: i.room("receive"), Registerer: i.registry, ConfigFunc: i.prometheusConfig}
	}
	r.query, err = query.New(query.Options{
		Config: cfg.Query, Store: r.store.With(r.bucket), Admin: r.store, History: r.store.With(r.bucket).History,
		Since: r.store.With(r.bucket).Since,
		Dir:   filepath.Join(cfg.Island.DataDir, "query"), StoreDir: r.store.Dir(),
		Targets:          func(context.Context) v1.TargetRetriever { return r.collect.ScrapeManager() },
		Pools:            func(context.Context) v1.ScrapePoolsRetriever { return r.collect.ScrapeManager() },
		Rules:            func(context.Context) v1.RulesRetriever { return evaluated{r.alert, r.dimension, i.commonGroups} },
		Alertmanagers:    func(context.Context) v1.AlertmanagerRetriever { return r.alert },
		PrometheusConfig: i.prometheusConfig,
		Ready:            i.isReady,
		Neighbours:       i.neighbours,
		RemoteWrite:      receive.NewRemoteWrite(received(cfg.Collect.Receive)),
		OTLP:             receive.NewOTLP(received(cfg.Collect.Receive)),
		Logger:           i.room("query"), Registerer: i.registry, Gatherer: i.gatherer, Health: i.health,
		ExternalURL: r.portal.URL(), ListenAddress: r.portal.Addr(),
		EnableAdmin: cfg.HTTP.AdminAPI,
		Version:     query.Version{Version: i.opts.Version},
	})
	return err
}

func (i *Island) buildAlert(r *rooms, cfg *config.Config, door storage.AppendableV2) (err error) {
	r.alert, err = alert.New(alert.Options{
		Config: cfg.Alert, Prometheus: cfg.Prometheus, Alertmanager: cfg.Alertmanager,
		Engine: r.query.Engine(), Parser: r.query.Parser(), Queryable: r.query.Queryable(), Local: r.store, Appendable: door,
		ExternalURL: r.portal.URL(), Dir: filepath.Join(cfg.Island.DataDir, "alert"),
		Supplied: suppliedRules(cfg), Annotate: r.annotate,
		Ready: r.store.Ready(), Discovery: r.collect.SDMetrics(),
		Logger: i.room("alert"), Registerer: i.registry, Health: i.health,
	})
	if err != nil {
		return fmt.Errorf("make alerting: %w", err)
	}
	return nil
}

// preparable lists what takes part in a reload, or nil while starting. Sources
// come after what they feed.
func (i *Island) preparable() []room {
	r := i.getRooms()
	if r == nil || !i.isReady() {
		return nil
	}
	return []room{
		{"island", i.prepareIsland},
		{"http", func(c *config.Config) (func(), func(), error) { return r.portal.Prepare(c.HTTP) }},
		{"budget", func(c *config.Config) (func(), func(), error) { return r.budget.Prepare(c.Budget) }},
		{"store", func(c *config.Config) (func(), func(), error) { return r.store.Prepare(c.Store) }},
		{"bucket", r.prepareBucket},
		{"storeapi", r.prepareStoreAPI},
		{"replicate", func(c *config.Config) (func(), func(), error) { return r.replicate.Prepare(c.Replicate) }},
		{"query", func(c *config.Config) (func(), func(), error) { return r.query.Prepare(c.Query, c.Prometheus) }},
		{"send", func(c *config.Config) (func(), func(), error) { return r.send.Prepare(c.Prometheus) }},
		{"alert", func(c *config.Config) (func(), func(), error) {
			return r.alert.Prepare(c.Alert, c.Prometheus, c.Alertmanager, suppliedRules(c)...)
		}},
		{"aggregate", func(c *config.Config) (func(), func(), error) {
			return r.aggregate.Prepare(c.Aggregate, c.AggregateRules)
		}},
		{"router", r.prepareRouter},
		{"dimension", func(c *config.Config) (func(), func(), error) { return r.dimension.Prepare(c.Aggregate.Dimension) }},
		{"collect", func(c *config.Config) (func(), func(), error) { return r.collect.Prepare(c.Collect, c.Prometheus) }},
		{"probe", func(c *config.Config) (func(), func(), error) { return r.probe.Prepare(c.Probe, c.Probes) }},
		{"mesh", i.prepareMembership},
	}
}

// watchFiles reloads when a file of the configuration changes.
func (i *Island) watchFiles(ctx context.Context) error {
	if i.opts.Load == nil {
		<-ctx.Done()
		return nil
	}
	return watch(ctx, func() []string { return i.Config().Files() }, func() {
		i.logger.Info("a configuration file changed")
		_ = i.Reload(ctx) // it logs, warns and counts by itself
	})
}

// room names the part of the island that logs.
func (i *Island) room(name string) *slog.Logger { return i.logger.With("room", name) }

func (i *Island) setRooms(r *rooms) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rooms = r
}

func (i *Island) getRooms() *rooms {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.rooms
}

// lateHandler answers 503 until a handler is set.
type lateHandler struct{ h atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.h.Store(&h) }

// ServeHTTP implements http.Handler.
func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := l.h.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	refuseStarting(w)
}
