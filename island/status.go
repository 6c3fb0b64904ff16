package island

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/portal"
)

// appendRate reads the island's own counter of stored samples.
const appendRate = `sum(rate(prometheus_tsdb_head_samples_appended_total{job="atoll"}[1m]))`

// status says how the island is; the portal adds readiness and addresses.
func (i *Island) status() portal.Status {
	cfg := i.Config()
	s := portal.Status{
		Name:          cfg.Island.Name,
		Labels:        cfg.Island.Labels,
		Version:       portal.Version{Version: i.opts.Version, Revision: revision(), GoVersion: runtime.Version()},
		StartedAt:     i.started,
		UptimeSeconds: time.Since(i.started).Seconds(),
		Config: portal.ConfigStatus{
			File:       cfg.Path,
			LoadedAt:   *i.loadedAt.Load(),
			LastReload: i.lastReload.Load(),
		},
		Rooms:   i.steps.states(),
		DataDir: cfg.Island.DataDir,
		Network: i.network(),
	}
	r := i.getRooms()
	if r == nil {
		return s
	}
	s.ExternalURL = r.portal.URL().String()
	s.HeadSeries = r.store.NumSeries()
	if rate, err := i.instant(appendRate); err == nil {
		s.SamplesPerSecond = rate
	}
	s.Budgets = i.budgets(r)
	return s
}

// network is nil while the island belongs to none.
func (i *Island) network() *portal.NetworkStatus {
	m := i.membership.Load()
	if m == nil {
		return nil
	}
	state := m.state.Load()
	n := &portal.NetworkStatus{Name: state.NetworkName(), ID: state.Network().String(), Members: state.Len()}
	if running := m.mesh.Load(); running != nil {
		n.Connected = len(running.Connected())
	}
	return n
}

// instant evaluates expr, which must have one value, over the island's own data.
func (i *Island) instant(expr string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := i.getRooms()
	q, err := r.query.Engine().NewInstantQuery(ctx, r.store, nil, expr, time.Now())
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", expr, err)
	}
	defer q.Close()
	vec, err := q.Exec(ctx).Vector()
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", expr, err)
	}
	return one(vec)
}

func one(vec promql.Vector) (float64, error) {
	if len(vec) != 1 || math.IsNaN(vec[0].F) {
		return 0, fmt.Errorf("want one value, got %d", len(vec))
	}
	return vec[0].F, nil
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
