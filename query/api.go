package query

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/route"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/httputil"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

const apiPrefix = "/api/v1"

// newAPI names the arguments of upstream's constructor, the only place that
// has to follow when upstream adds one.
func (q *Query) newAPI(cors *regexp.Regexp, f features.Collector) *v1.API {
	o, cfg := q.options, q.options.Config
	return v1.NewAPI(
		q.everywhere.asking,
		q.everywhere.asking.Queryable(q.sources), // also for /read, as upstream: two that read each other with read_recent ask in a circle
		nil,                                      // AppendableV2: the receivers come as handlers
		q.everywhere.asking.Exemplars(o.Store),
		o.Pools,
		o.Targets,
		o.Alertmanagers,
		q.prometheusConfig,
		q.flags(),
		v1.GlobalURLOptions{ListenAddress: o.ListenAddress, Host: o.ExternalURL.Host, Scheme: o.ExternalURL.Scheme},
		q.whenReady,
		o.Admin,
		o.StoreDir,
		o.EnableAdmin,
		cfg.Search.Enabled,
		cfg.Search.MaxLimit,
		o.Logger,
		o.Rules,
		cfg.RemoteRead.SampleLimit,
		cfg.RemoteRead.Concurrency,
		cfg.RemoteRead.MaxBytesInFrame,
		false, // isAgent
		cors,
		q.runtimeInfo,
		o.Version.prometheus(),
		q.notices.get,
		q.notices.live.Sub,
		o.Gatherer,
		o.Registerer,
		nil,                 // statsRenderer: the default one
		false,               // rwEnabled
		nil,                 // acceptRemoteWriteProtoMsgs
		false, false, false, // otlpEnabled, otlpDeltaToCumulative, otlpNativeDeltaIngestion
		time.Duration(cfg.LookbackDelta),
		false, // enableTypeAndUnitLabels
		false, // appendMetadata
		nil,   // overrideErrorCode
		f,
		v1.OpenAPIOptions{ExternalURL: o.ExternalURL.String(), Version: PrometheusVersion, MaxSearchLimit: cfg.Search.MaxLimit},
		q.parser,
		true, // enableQueryCost: see newEngine
		time.Duration(cfg.Timeout),
	)
}

// routes builds what Handler serves.
func (q *Query) routes(api *v1.API) http.Handler {
	r := route.New().WithInstrumentation(q.instrument)
	api.Register(r.WithPrefix(apiPrefix))
	r.Get("/federate", q.whenReady(httputil.CompressionHandler{Handler: http.HandlerFunc(q.federate)}.ServeHTTP))

	mux := http.NewServeMux()
	mux.Handle("/", q.scoped(r))
	receive := func(path string, h http.Handler, key string) {
		if h == nil {
			h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "this receiver is off; set "+key+": true to turn it on", http.StatusNotFound)
			})
		}
		mux.HandleFunc("POST "+apiPrefix+path, q.instrument(path, q.whenReady(h.ServeHTTP)))
	}
	receive("/write", q.options.RemoteWrite, "collect.receive.remote_write.enabled")
	receive("/otlp/v1/metrics", q.options.OTLP, "collect.receive.otlp.enabled")
	return mux
}

// instrument marks each request for the metrics and, by way of the context,
// for the query log.
func (q *Query) instrument(name string, h http.HandlerFunc) http.HandlerFunc {
	if name != "/federate" {
		name = apiPrefix + name
	}
	return q.metrics.instrument(name, func(w http.ResponseWriter, r *http.Request) {
		ctx := httputil.ContextWithPath(r.Context(), r.URL.Path)
		if name == apiPrefix+"/notifications/live" {
			// Such a stream never ends by itself and would hold up the listener's shutdown.
			c, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(q.ended, cancel)()
			ctx = c
		}
		h(w, r.WithContext(httputil.ContextFromRequest(ctx, r)))
	})
}

// whenReady answers 503 until the store is open and once the island stops.
func (q *Query) whenReady(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stopping := q.ended.Err() != nil
		if !stopping && q.options.Ready() {
			h(w, r)
			return
		}
		w.Header().Set("X-Prometheus-Stopping", strconv.FormatBool(stopping))
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
	}
}

// prometheusConfig is the running configuration with this room's live limits
// in the fields where the API looks for them.
func (q *Query) prometheusConfig() promconfig.Config {
	c := q.options.PrometheusConfig()
	cfg := q.Config()
	c.GlobalConfig.QueryMaxSeries = cfg.MaxSeries
	c.GlobalConfig.QueryMaxSamplesRead = cfg.MaxSamplesRead
	c.GlobalConfig.QueryMaxDuration = cfg.Timeout
	return c
}
