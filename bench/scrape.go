package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
	"github.com/prometheus/prometheus/util/logging"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/store"
)

// targetsVariable is where a scraping contender finds its targets: host:port and
// their number.
const targetsVariable = "ATOLL_BENCH_TARGETS"

// seriesBudget is far above what is scraped: the limit is in force, never reached.
const seriesBudget = 10_000_000

// scrapeDirect is Prometheus' own wiring, but for its fan-out to remote storage.
func scrapeDirect(dir string) (role, error) {
	reg := prometheus.NewRegistry()
	o := tsdb.DefaultOptions()
	o.WALCompression = compression.Snappy // the server's default, not the library's
	db, err := tsdb.Open(dir, quiet(), reg, o, nil)
	if err != nil {
		return role{}, err
	}
	stop, err := scrapeInto(db, reg)
	if err != nil {
		return role{}, errors.Join(err, db.Close())
	}
	return role{samples: func() float64 { return appended(reg) }, close: func() error {
		stop()
		return db.Close()
	}}, nil
}

// scrapeAtoll puts the store's and the budget's layers between.
func scrapeAtoll(dir string) (role, error) {
	reg := prometheus.NewRegistry()
	c := store.Default()
	c.Path = dir
	s, err := store.New(store.Options{Config: c, Logger: quiet(), Registerer: reg})
	if err != nil {
		return role{}, err
	}
	limits := budget.Default()
	limits.Series = seriesBudget
	b, err := budget.New(budget.Options{Config: limits, Logger: quiet(), Registerer: reg, Dir: dir, NumSeries: s.NumSeries})
	if err != nil {
		return role{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	go func() { done <- b.Run(ctx) }()
	shut := func() error {
		cancel()
		return errors.Join(<-done, <-done)
	}
	select {
	case <-s.Ready():
	case err := <-done:
		cancel()
		return role{}, errors.Join(err, <-done)
	}
	stop, err := scrapeInto(b.Limit(s), reg)
	if err != nil {
		return role{}, errors.Join(err, shut())
	}
	return role{samples: func() float64 { return appended(reg) }, close: func() error {
		stop()
		return shut()
	}}, nil
}

const scrapeConfig = `
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: [{job_name: bench}]
`

func scrapeInto(a storage.AppendableV2, reg prometheus.Registerer) (stop func(), err error) {
	address, number, _ := strings.Cut(os.Getenv(targetsVariable), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", targetsVariable, os.Getenv(targetsVariable), err)
	}
	group := &targetgroup.Group{Source: "bench"}
	for i := range n {
		group.Targets = append(group.Targets, model.LabelSet{
			"__address__": model.LabelValue(address), "__metrics_path__": model.LabelValue(fmt.Sprintf("/%d", i)),
			"instance": model.LabelValue(fmt.Sprintf("10.0.0.%d:9100", i)),
		})
	}
	return scrapeGroup(a, reg, scrapeConfig, group)
}

// scrapeGroup scrapes the targets of the job bench.
func scrapeGroup(a storage.AppendableV2, reg prometheus.Registerer, config string, group *targetgroup.Group) (stop func(), err error) {
	m, err := scrape.NewManager(&scrape.Options{
		AppendMetadata:           true,
		DiscoveryReloadInterval:  model.Duration(time.Second),
		DiscoveryReloadOnStartup: true,
	}, promslog.NewNopLogger(), logging.NewJSONFileLogger, nil, a, reg)
	if err != nil {
		return nil, err
	}
	cfg, err := promconfig.Load(config, quiet())
	if err != nil {
		return nil, err
	}
	if err := m.ApplyConfig(cfg); err != nil {
		return nil, err
	}
	sets := make(chan map[string][]*targetgroup.Group)
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(sets) }()
	sets <- map[string][]*targetgroup.Group{"bench": {group}}
	return func() { m.Stop(); <-done }, nil
}

// runScrape serves the targets and lets each contender scrape them every second.
func runScrape(ctx context.Context, o options) error {
	n := o.series / perTarget
	targets := newTargets(n)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: targets, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	t := table{title: "Scrape to stored: samples per second of the collector's CPU time"}
	for range o.rounds {
		for _, who := range []string{"prometheus", "atoll"} {
			u, err := scrapeRound(ctx, "scrape-"+who, fmt.Sprintf("%s=%s %d", targetsVariable, l.Addr(), n), time.Duration(o.scrapes)*time.Second)
			if err != nil {
				return err
			}
			if want := float64(n * perTarget * o.scrapes); u.Samples < 0.9*want {
				fmt.Printf("(%s stored %.0f samples of about %.0f: this machine was too busy)\n\n", who, u.Samples, want)
			}
			t.add("scrape, 1 s interval", who, u)
		}
	}
	t.print()
	return nil
}

// warmUp is enough for every target to have been scraped, at its own offset.
const warmUp = 4 * time.Second

func scrapeRound(ctx context.Context, role, env string, length time.Duration) (usage, error) {
	p, err := start(ctx, role, env)
	if err != nil {
		return usage{}, err
	}
	u, err := func() (usage, error) {
		if err := wait(ctx, warmUp); err != nil {
			return usage{}, err
		}
		before, err := p.usage()
		if err != nil {
			return usage{}, err
		}
		if err := wait(ctx, length); err != nil {
			return usage{}, err
		}
		after, err := p.usage()
		return after.since(before), err
	}()
	return u, errors.Join(err, p.end())
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// targets serves /0 to /n-1 in the text format; values change with each scrape.
type targets struct {
	pages [][variants][]byte
	turn  []atomic.Uint64
}

const variants = 4

func newTargets(n int) *targets {
	t := &targets{pages: make([][variants][]byte, n), turn: make([]atomic.Uint64, n)}
	for i := range n {
		for v := range variants {
			t.pages[i][v] = page(i, v)
		}
	}
	return t
}

func (t *targets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil || i < 0 || i >= len(t.pages) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(t.pages[i][t.turn[i].Add(1)%variants])
}

func page(target, variant int) []byte {
	var b strings.Builder
	last := ""
	for i := range perTarget {
		l := seriesLabels(target*perTarget + i)
		name := l.Get("__name__")
		if name != last {
			fmt.Fprintf(&b, "# HELP %s What it counts.\n# TYPE %s untyped\n", name, name)
			last = name
		}
		b.WriteString(name + "{")
		sep := ""
		l.Range(func(l labels.Label) {
			if l.Name != "__name__" && l.Name != "instance" && l.Name != "job" {
				fmt.Fprintf(&b, "%s%s=%q", sep, l.Name, l.Value)
				sep = ","
			}
		})
		fmt.Fprintf(&b, "} %d\n", 1000*i+variant*(i%5)/2*17)
	}
	return []byte(b.String())
}
