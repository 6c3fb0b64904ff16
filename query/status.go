package query

import (
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/notifications"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/atoll-mesh/atoll/health"
)

// PrometheusVersion is the release whose engine and API are embedded. Clients
// such as Grafana read it from buildinfo to know what they may ask for; a test
// keeps it equal to the module's version in go.mod (v0.316.0 is 3.16.0).
const PrometheusVersion = "3.16.0"

// Version says which Atoll this is.
type Version struct {
	// Version is Atoll's own, such as 0.1.0.
	Version string
	// Revision is the source revision it was built from.
	Revision string
	// BuildDate is when it was built, in any form.
	BuildDate string
}

// prometheus gives buildinfo in the exact shape of a Prometheus: a further
// field, `features` above all, makes Grafana take the server for a Mimir.
func (v Version) prometheus() *v1.PrometheusVersion {
	return &v1.PrometheusVersion{
		Version:   PrometheusVersion,
		Revision:  v.Revision,
		Branch:    "atoll",
		BuildUser: "atoll " + v.Version,
		BuildDate: v.BuildDate,
		GoVersion: runtime.Version(),
	}
}

// flags are the settings as they were at the start, under Prometheus' names.
func (q *Query) flags() map[string]string {
	o, cfg := q.options, q.options.Config
	m := map[string]string{
		"query.lookback-delta":                   cfg.LookbackDelta.String(),
		"query.max-concurrency":                  strconv.Itoa(cfg.MaxConcurrency),
		"query.max-samples":                      strconv.Itoa(cfg.MaxSamples),
		"query.timeout":                          cfg.Timeout.String(),
		"storage.remote.read-concurrent-limit":   strconv.Itoa(cfg.RemoteRead.Concurrency),
		"storage.remote.read-max-bytes-in-frame": strconv.Itoa(cfg.RemoteRead.MaxBytesInFrame),
		"storage.remote.read-sample-limit":       strconv.Itoa(cfg.RemoteRead.SampleLimit),
		"storage.tsdb.path":                      o.StoreDir,
		"web.cors.origin":                        cfg.CORSOrigin,
		"web.enable-admin-api":                   strconv.FormatBool(o.EnableAdmin),
		"web.enable-otlp-receiver":               strconv.FormatBool(o.OTLP != nil),
		"web.enable-remote-write-receiver":       strconv.FormatBool(o.RemoteWrite != nil),
		"web.external-url":                       o.ExternalURL.String(),
		"web.search.max-limit":                   strconv.Itoa(cfg.Search.MaxLimit),
	}
	maps.Copy(m, o.Flags)
	return m
}

// announce registers the API's features as upstream's web package does.
func announce(f features.Collector, o Options) {
	f.Set(features.API, "lifecycle", true)
	f.Set(features.API, "admin", o.EnableAdmin)
	f.Set(features.API, "remote_write_receiver", o.RemoteWrite != nil)
	f.Set(features.API, "otlp_write_receiver", o.OTLP != nil)
	f.Set(features.API, "search", o.Config.Search.Enabled)
	for _, alg := range v1.FuzzAlgorithms() {
		f.Set(features.API, "search_fuzz_alg_"+alg, o.Config.Search.Enabled)
	}
	for _, name := range []string{
		"query_cost", "label_values_match", "query_warnings", "query_stats", "time_range_series",
		"time_range_labels", "exclude_alerts", "openapi_3.1", "openapi_3.2",
	} {
		f.Enable(features.API, name)
	}
	f.Enable(features.Prometheus, "server_mode")
	f.Disable(features.Prometheus, "agent_mode")
	f.Enable("atoll", "island")
}

func (q *Query) runtimeInfo() (v1.RuntimeInfo, error) {
	info := v1.RuntimeInfo{
		StartTime:           q.born,
		ServerTime:          time.Now().UTC(),
		ReloadConfigSuccess: true,
		LastConfigTime:      q.born,
		GoroutineCount:      runtime.NumGoroutine(),
		GOMAXPROCS:          runtime.GOMAXPROCS(0),
		GOMEMLIMIT:          debug.SetMemoryLimit(-1),
		GOGC:                os.Getenv("GOGC"),
		GODEBUG:             os.Getenv("GODEBUG"),
	}
	var err error
	if info.CWD, err = os.Getwd(); err != nil {
		info.CWD = "<" + err.Error() + ">"
	}
	if info.Hostname, err = os.Hostname(); err != nil {
		return info, fmt.Errorf("reading the host name: %w", err)
	}
	if info.CorruptionCount, err = corruptions(q.options.Gatherer); err != nil {
		return info, err
	}
	if q.options.RuntimeInfo != nil {
		q.options.RuntimeInfo(&info)
	}
	return info, nil
}

// corruptions is how often the store's log was found damaged.
func corruptions(g prometheus.Gatherer) (int64, error) {
	families, err := g.Gather()
	if err != nil {
		return 0, fmt.Errorf("gathering the runtime status: %w", err)
	}
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool {
		return f.GetName() == "prometheus_tsdb_wal_corruptions_total"
	})
	if i < 0 || len(families[i].GetMetric()) == 0 {
		return 0, nil
	}
	v := families[i].GetMetric()[0].GetCounter().GetValue()
	if math.IsNaN(v) {
		return 0, nil
	}
	return int64(v), nil
}

// notices shows the island's health warnings as Prometheus' notifications.
type notices struct {
	health *health.List
	live   *notifications.Notifications

	mu    sync.Mutex
	shown map[string]bool
}

// maxNoticeSubscribers bounds the connections to /notifications/live.
const maxNoticeSubscribers = 16

func newNotices(h *health.List, reg prometheus.Registerer) *notices {
	return &notices{
		health: h,
		live:   notifications.NewNotifications(maxNoticeSubscribers, reg),
		shown:  map[string]bool{},
	}
}

// sync tells subscribers what came and what went since the last call.
func (n *notices) sync() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := map[string]bool{}
	for _, a := range n.health.Active() {
		text := a.Title + ": " + a.Text
		now[text] = true
		if !n.shown[text] {
			n.live.AddNotification(text)
		}
	}
	for text := range n.shown {
		if !now[text] {
			n.live.DeleteNotification(text)
		}
	}
	n.shown = now
}

func (n *notices) get() []notifications.Notification {
	n.sync()
	return n.live.Get()
}
