package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// finder runs the service discoveries of all definitions.
type finder struct {
	log     *slog.Logger
	manager *discovery.Manager
	stop    context.CancelFunc
}

func newFinder(o Options) (*finder, error) {
	reg, mechanisms := o.Registerer, o.Discovery
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	if mechanisms == nil {
		// Scraping registers these too, and a registry takes them once.
		var err error
		if mechanisms, err = discovery.CreateAndRegisterSDMetrics(prometheus.NewRegistry()); err != nil {
			return nil, fmt.Errorf("preparing the discovery of probed targets: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &finder{log: o.Logger, stop: stop}
	f.manager = discovery.NewManager(ctx, o.Logger.With("part", "discovery"), reg, mechanisms, discovery.Name("probe"))
	if f.manager == nil {
		stop()
		return nil, errors.New("preparing the discovery of probed targets: its metrics are registered already, must be one Prober for each Registerer")
	}
	return f, nil
}

func (f *finder) apply(p *plan) {
	if err := f.manager.ApplyConfig(p.sd); err != nil {
		f.log.Error("discovery of probed targets is applied in part", "err", err)
	}
}

// run hands all that is discovered, each time something changes, to found.
func (f *finder) run(ctx context.Context, found func(map[string][]*targetgroup.Group)) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.manager.Run() // it ends with the error of its context, which is no news
	}()
	defer func() { <-done }()
	defer f.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case sets, ok := <-f.manager.SyncCh():
			if !ok {
				return nil
			}
			found(sets)
		}
	}
}
