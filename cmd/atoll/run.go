package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/atoll-mesh/atoll/collect"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/island"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// defaultConfigFile is read if it is there; naming another that is not is an error.
const defaultConfigFile = "atoll.yaml"

type runCmd struct {
	Config           string   `short:"c" xor:"config" placeholder:"FILE" predictor:"file" help:"Configuration file. Default: atoll.yaml if it is there, else built-in defaults."`
	PrometheusConfig string   `xor:"config" placeholder:"FILE" predictor:"file" help:"Run an existing prometheus.yml unchanged, with defaults for everything else."`
	DataDir          string   `placeholder:"DIR" env:"ATOLL_DATA_DIR" help:"Overrides island.data_dir."`
	Listen           []string `placeholder:"ADDR" help:"Overrides http.listen, as in 127.0.0.1:59080. May be repeated."`
	LogLevel         string   `enum:",debug,info,warn,error" default:"" placeholder:"LEVEL" help:"Overrides log.level: debug, info, warn, error."`
	LogFormat        string   `enum:",text,json" default:"" placeholder:"FORMAT" help:"Overrides log.format: text, json."`
	Pprof            bool     `help:"Serve profiles under /debug/pprof/, as http.pprof does."`
}

// Help is shown by atoll run --help.
func (runCmd) Help() string {
	return `Without any file the island collects this machine's and its own metrics and
answers on 127.0.0.1:59080.

Files are watched: a change is taken over whole, or refused whole and reported
by the log, the API and atoll status. SIGHUP and POST /-/reload do the same.

Examples:

  atoll run
  atoll run --prometheus-config /etc/prometheus/prometheus.yml
  atoll run -c atoll.yaml --listen :59080 --data-dir /var/lib/atoll
  atoll check --example > atoll.yaml    a file with every key and its default

SIGINT and SIGTERM stop the island: sources first, the store last.`
}

// Run blocks until the island is stopped.
func (c *runCmd) Run(ctx context.Context, std streams) error { return c.run(ctx, std, nil, nil) }

// run starts the island and, if asked to, makes it join a network first.
func (c *runCmd) run(ctx context.Context, std streams, join *control.JoinRequest, joined func(control.JoinResult)) error {
	// From the first moment on: unhandled, the signal would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	load := c.loader()
	cfg, err := load()
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	logger := newLogger(std.err, cfg.Log.Format, level)
	collect.RouteKubernetesLog(logger)
	isl, err := island.New(island.Options{
		Config:  cfg,
		Load:    load,
		Logger:  logger,
		Level:   level,
		Version: version,
		Join:    join,
		Joined:  joined,
	})
	if err != nil {
		return err
	}
	go reloadOn(ctx, hangup, isl)
	return isl.Run(ctx)
}

// loader returns the function that reads the configuration, now and for every
// reload. Flags win over the file each time.
func (c *runCmd) loader() func() (*config.Config, error) {
	return func() (*config.Config, error) {
		cfg, err := c.read()
		if err != nil {
			return nil, err
		}
		err = cfg.Override(config.Overrides{
			DataDir: c.DataDir, Listen: c.Listen, LogLevel: c.LogLevel, LogFormat: c.LogFormat, Pprof: c.Pprof,
		})
		return cfg, err
	}
}

func (c *runCmd) read() (*config.Config, error) {
	if c.PrometheusConfig != "" {
		return config.LoadPrometheus(c.PrometheusConfig)
	}
	if c.Config != "" {
		return config.Load(c.Config)
	}
	if _, err := os.Stat(defaultConfigFile); errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	} else if err != nil {
		return nil, fmt.Errorf("look for %s: %w", defaultConfigFile, err)
	}
	return config.Load(defaultConfigFile)
}

func reloadOn(ctx context.Context, hangup <-chan os.Signal, isl *island.Island) {
	for {
		select {
		case <-hangup:
			_ = isl.Reload(ctx) // it logs, warns and counts by itself
		case <-ctx.Done():
			return
		}
	}
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
