package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/collect/receive"
)

var roles = map[string]func(dir string) (role, error){
	"receive-prometheus": func(dir string) (role, error) {
		return receiver(dir, func(db *tsdb.DB, reg prometheus.Registerer) http.Handler {
			return remote.NewWriteHandler(quiet(), reg, db,
				remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, false, false)
		})
	},
	"receive-atoll": func(dir string) (role, error) {
		return receiver(dir, func(db *tsdb.DB, reg prometheus.Registerer) http.Handler {
			c := receive.Default()
			c.RemoteWrite.Enabled = true
			return receive.NewRemoteWrite(receive.Options{Config: c, Appendable: db, Logger: quiet(), Registerer: reg})
		})
	},
	"scrape-prometheus": scrapeDirect,
	"probe-pages":       serveProbed,
	"probe-blackbox":    probeBlackbox,
	"probe-prometheus":  probePrometheus,
	"probe-atoll":       probeAtoll,
	"scrape-atoll":      scrapeAtoll,
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func receiver(dir string, handler func(*tsdb.DB, prometheus.Registerer) http.Handler) (role, error) {
	reg := prometheus.NewRegistry()
	db, err := tsdb.Open(dir, quiet(), reg, tsdb.DefaultOptions(), nil)
	if err != nil {
		return role{}, err
	}
	return role{handler: handler(db, reg), samples: func() float64 { return appended(reg) }, close: db.Close}, nil
}

// appended is what the TSDB counts as stored.
func appended(g prometheus.Gatherer) (n float64) {
	families, err := g.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == "prometheus_tsdb_head_samples_appended_total" {
			for _, m := range f.GetMetric() {
				n += value(m)
			}
		}
	}
	return n
}

func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetUntyped().GetValue() }

// runReceive sends the same encoded requests to both, over HTTP, two at a time.
func runReceive(ctx context.Context, o options) error {
	t := table{title: "Remote write: samples stored per second of the receiver's CPU time"}
	for _, version := range []string{"v1", "v2"} {
		warm := encodeScrapes(o, version, 0, 2)
		bodies := encodeScrapes(o, version, 2, o.scrapes)
		for range o.rounds {
			for _, who := range []string{"prometheus", "atoll"} {
				u, err := receiveRound(ctx, "receive-"+who, version, warm, bodies)
				if err != nil {
					return err
				}
				if want := float64(o.series * o.scrapes); u.Samples != want {
					return fmt.Errorf("%s %s stored %.0f samples, was sent %.0f", who, version, u.Samples, want)
				}
				t.add("remote write "+version, who, u)
			}
		}
	}
	t.print()
	return nil
}

func receiveRound(ctx context.Context, role, version string, warm, bodies [][]byte) (usage, error) {
	p, err := start(ctx, role)
	if err != nil {
		return usage{}, err
	}
	u, err := func() (usage, error) {
		if err := send(ctx, p.url, version, warm); err != nil {
			return usage{}, err
		}
		before, err := p.usage()
		if err != nil {
			return usage{}, err
		}
		if err := send(ctx, p.url, version, bodies); err != nil {
			return usage{}, err
		}
		after, err := p.usage()
		return after.since(before), err
	}()
	return u, errors.Join(err, p.end())
}

const connections = 2

// send posts the bodies over a few connections. Each series goes over the same
// connection each time, as with Prometheus' shards, so that nothing is out of order.
func send(ctx context.Context, url, version string, bodies [][]byte) error {
	var wg sync.WaitGroup
	errs := make([]error, connections)
	for c := range connections {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := c; i < len(bodies) && errs[c] == nil; i += connections {
				errs[c] = postBody(ctx, client, url, version, bodies[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func postBody(ctx context.Context, client *http.Client, url, version string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/write", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Encoding", "snappy")
	r.Header.Set("Content-Type", "application/x-protobuf")
	if version == "v2" {
		r.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("posting to %s: status %d: %s", url, resp.StatusCode, strings.TrimSpace(string(said)))
	}
	return err
}
