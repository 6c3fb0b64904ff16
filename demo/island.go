package demo

import (
	"context"
	"log/slog"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/island"
)

// startIsland runs one of this program's own islands.
func (d *Demo) startIsland(logger *slog.Logger) func(ctx context.Context, dir, configPath string) error {
	return func(ctx context.Context, _, configPath string) error {
		load := func() (*config.Config, error) { return config.Load(configPath) }
		cfg, err := load()
		if err != nil {
			return err
		}
		i, err := island.New(island.Options{Config: cfg, Load: load, Logger: logger.With("island", cfg.Island.Name), Version: d.opts.Version})
		if err != nil {
			return err
		}
		return i.Run(ctx)
	}
}
