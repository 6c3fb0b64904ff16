package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	commoncfg "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/notifier"
)

// external sends alerts to the Alertmanagers of prometheus.yml.
type external struct {
	logger   *slog.Logger
	watch    *watch
	notifier *notifier.Manager
	common   *notifier.Manager // for alerts of the network
	sd       *discovery.Manager
	stopping chan struct{}

	// sdCancel ends discovery, cutCancel what is still being sent.
	sdCancel  context.CancelFunc
	cut       context.Context
	cutCancel context.CancelFunc

	running sync.WaitGroup
	clients sync.Map // *http.Client → struct{}{}, those used since the last apply
}

func newExternal(o Options, w *watch, reg prometheus.Registerer) (*external, error) {
	x := &external{logger: o.Logger, watch: w, stopping: make(chan struct{})}
	x.cut, x.cutCancel = context.WithCancel(context.Background())
	scheme := o.Prometheus.GlobalConfig.MetricNameValidationScheme
	x.notifier = notifier.NewManager(&notifier.Options{
		QueueCapacity: o.Config.QueueCapacity, DrainOnShutdown: true, Do: x.do, Registerer: reg,
	}, scheme, o.Logger.With("part", "notifier"))
	x.common = notifier.NewManager(&notifier.Options{
		QueueCapacity: o.Config.QueueCapacity, DrainOnShutdown: true, Do: x.do,
		Registerer: prometheus.WrapRegistererWithPrefix("atoll_alert_global_", reg),
	}, scheme, o.Logger.With("part", "notifier"))

	mechanisms := o.Discovery
	if mechanisms == nil {
		// Scraping registers these too, and a registry takes them once.
		var err error
		if mechanisms, err = discovery.CreateAndRegisterSDMetrics(prometheus.NewRegistry()); err != nil {
			return nil, fmt.Errorf("preparing the discovery of Alertmanagers: %w", err)
		}
	}
	options := []func(*discovery.Manager){discovery.Name("notify")}
	if o.discoveryDelay > 0 {
		options = append(options, discovery.Updatert(o.discoveryDelay))
	}
	var ctx context.Context
	ctx, x.sdCancel = context.WithCancel(context.Background())
	x.sd = discovery.NewManager(ctx, o.Logger.With("part", "discovery"), reg, mechanisms, options...)
	if x.sd == nil {
		x.sdCancel()
		return nil, errors.New("preparing the discovery of Alertmanagers: its metrics are registered already: give each Alert a registry of its own")
	}
	return x, nil
}

// checkExternal does what ApplyConfig will do that can fail.
func checkExternal(conf *promconfig.Config) error {
	var errs []error
	for i, am := range conf.AlertingConfig.AlertmanagerConfigs {
		field := fmt.Sprintf("alerting.alertmanagers[%d]", i)
		eachString(reflect.ValueOf(am.HTTPClientConfig), "", func(path, value string) {
			if err := checkFile(path, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", field, err))
			}
		})
		client, err := commoncfg.NewClientFromConfig(am.HTTPClientConfig, "alertmanager")
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
			continue
		}
		client.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

func (x *external) start(conf *promconfig.Config) {
	x.apply(conf)
	x.running.Go(func() { _ = x.sd.Run() }) // ends with the context's error only
	own, common := make(chan map[string][]*targetgroup.Group), make(chan map[string][]*targetgroup.Group)
	x.running.Go(func() { x.share(own, common) })
	x.running.Go(func() { x.notifier.Run(own) })
	x.running.Go(func() { x.common.Run(common) })
}

func (x *external) apply(conf *promconfig.Config) {
	if err := errors.Join(x.notifier.ApplyConfig(conf), x.common.ApplyConfig(withoutLabels(conf))); err != nil {
		// checkExternal went through all of this a moment ago.
		x.logger.Error("applying the configuration of external Alertmanagers", "err", err)
		return
	}
	sets := map[string]discovery.Configs{}
	for name, am := range conf.AlertingConfig.AlertmanagerConfigs.ToMap() {
		sets[name] = am.ServiceDiscoveryConfigs
	}
	if err := x.sd.ApplyConfig(sets); err != nil {
		x.logger.Error("applying the discovery of external Alertmanagers", "err", err)
	}
	x.closeIdle()
}

func (x *external) closeIdle() {
	x.clients.Range(func(client, _ any) bool {
		client.(*http.Client).CloseIdleConnections()
		x.clients.Delete(client)
		return true
	})
}

// urls lists the external Alertmanagers in use, without credentials.
func (x *external) urls() []string {
	var out []string
	for _, u := range x.notifier.Alertmanagers() {
		out = append(out, u.Redacted())
	}
	return out
}

// do sends one batch. It ends with the context of the batch or the room,
// whichever comes first; both links are dropped when the batch's ends.
func (x *external) do(ctx context.Context, client *http.Client, req *http.Request) (*http.Response, error) {
	x.clients.Store(client, struct{}{})
	sendCtx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(x.cut, cancel)
	context.AfterFunc(ctx, func() { unlink(); cancel() })

	resp, err := client.Do(req.WithContext(sendCtx))
	if x.cut.Err() != nil {
		return resp, err
	}
	key := integrationKey{integration: req.URL.Redacted(), external: true}
	switch {
	case err != nil:
		x.watch.attempted(key, true, err)
	case resp.StatusCode/100 != 2:
		x.watch.attempted(key, resp.StatusCode/100 != 4, fmt.Errorf("answered %s", resp.Status))
	default:
		x.watch.attempted(key, true, nil)
	}
	return resp, err
}

// stop sends what is queued, at most for the time given, and reports whether
// all of it got out.
func (x *external) stop(atMost time.Duration) bool {
	x.sdCancel()
	close(x.stopping)
	x.notifier.Stop()
	x.common.Stop()
	drained := waitAtMost(x.running.Wait, atMost)
	x.cutCancel()
	x.running.Wait()
	x.closeIdle()
	return drained
}

func (x *external) dropped() []*url.URL { return x.notifier.DroppedAlertmanagers() }
