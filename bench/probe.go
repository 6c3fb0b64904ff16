package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/store"
)

// What the probing contenders find in the environment.
const (
	pagesVariable  = "ATOLL_BENCH_PAGES"  // host:port of what is probed
	proberVariable = "ATOLL_BENCH_PROBER" // host:port of blackbox_exporter
	loadVariable   = "ATOLL_BENCH_LOAD"   // number of targets and interval
)

const probeModules = `
modules:
  bench: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4, valid_status_codes: [200]}}
`

// serveProbed is what is probed: a page of 100 bytes. It counts probes as its samples.
func serveProbed(string) (role, error) {
	page := []byte(strings.Repeat("0123456789", 10))
	var asked atomic.Int64
	return role{
		handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			_, _ = w.Write(page)
		}),
		samples: func() float64 { return float64(asked.Load()) }, close: func() error { return nil },
	}, nil
}

// probeBlackbox is blackbox_exporter's handler, as its main wires it.
func probeBlackbox(string) (role, error) {
	var c config.Config
	if err := yaml.Unmarshal([]byte(probeModules), &c); err != nil {
		return role{}, err
	}
	history := &prober.ResultHistory{MaxResults: 100}
	return role{
		handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			prober.Handler(w, r, &c, promslog.NewNopLogger(), history, 0.5, nil, nil, &promslog.Config{Level: promslog.NewLevel()})
		}),
		samples: func() float64 { return 0 }, close: func() error { return nil },
	}, nil
}

func probeLoad() (n int, interval time.Duration, err error) {
	number, text, _ := strings.Cut(os.Getenv(loadVariable), " ")
	if n, err = strconv.Atoi(number); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", loadVariable, err)
	}
	interval, err = time.ParseDuration(text)
	return n, interval, err
}

func probedURL(i int) string { return fmt.Sprintf("http://%s/%d", os.Getenv(pagesVariable), i) }

// probePrometheus scrapes blackbox_exporter, as its README says.
func probePrometheus(dir string) (role, error) {
	n, interval, err := probeLoad()
	if err != nil {
		return role{}, err
	}
	reg := prometheus.NewRegistry()
	o := tsdb.DefaultOptions()
	o.WALCompression = compression.Snappy
	db, err := tsdb.Open(dir, quiet(), reg, o, nil)
	if err != nil {
		return role{}, err
	}
	group := &targetgroup.Group{Source: "bench"}
	for i := range n {
		group.Targets = append(group.Targets, model.LabelSet{
			"__address__": model.LabelValue(os.Getenv(proberVariable)), "__param_target": model.LabelValue(probedURL(i)), "instance": model.LabelValue(probedURL(i)),
		})
	}
	text := fmt.Sprintf("global: {scrape_interval: %s, scrape_timeout: %s}\nscrape_configs: [{job_name: bench, metrics_path: /probe, params: {module: [bench]}}]\n", interval, interval)
	stop, err := scrapeGroup(db, reg, text, group)
	if err != nil {
		return role{}, errors.Join(err, db.Close())
	}
	return role{samples: func() float64 { return appended(reg) }, close: func() error {
		stop()
		return db.Close()
	}}, nil
}

// probeAtoll is an island's room of probes over its store.
func probeAtoll(dir string) (role, error) {
	n, interval, err := probeLoad()
	if err != nil {
		return role{}, err
	}
	reg := prometheus.NewRegistry()
	c := store.Default()
	c.Path = dir
	s, err := store.New(store.Options{Config: c, Logger: quiet(), Registerer: reg})
	if err != nil {
		return role{}, err
	}
	modules, err := definition.ReadModules("bench", []byte(probeModules))
	if err != nil {
		return role{}, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "module: bench\ninterval: %s\ntargets:\n", interval)
	for i := range n {
		fmt.Fprintf(&text, "  - %s\n", probedURL(i))
	}
	d, err := definition.Read("bench", "bench", []byte(text.String()))
	if err != nil {
		return role{}, err
	}
	cfg := probe.Default()
	cfg.Allow = []string{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 32).String()}
	p, err := probe.New(probe.Options{
		Config: cfg, Set: probe.Set{Modules: modules, Local: []*definition.Definition{d}}, Store: s, Logger: quiet(), Registerer: reg,
		Labels: func() map[string]string { return map[string]string{"island": "bench", "region": "eu"} },
	})
	if err != nil {
		return role{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	go func() { done <- p.Run(ctx) }()
	return role{
		samples: func() float64 { return appended(reg) },
		late:    func() []bucket { return lateness(reg) },
		close:   func() error { cancel(); return errors.Join(<-done, <-done) },
	}, nil
}

// lateness are the buckets of how much later than planned probes began.
func lateness(reg prometheus.Gatherer) (out []bucket) {
	families, err := reg.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == "atoll_probe_lateness_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			for _, b := range h.GetBucket() {
				out = append(out, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
			}
			out = append(out, bucket{math.MaxFloat64, h.GetSampleCount()})
		}
	}
	return out
}
