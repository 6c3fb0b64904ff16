package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// here names the island that a command governs: the one of a data directory on
// this machine, reached through the socket in it.
type here struct {
	Config  string `short:"c" placeholder:"FILE" predictor:"file" help:"Configuration file that names the data directory. Default: atoll.yaml if it is there."`
	DataDir string `placeholder:"DIR" env:"ATOLL_DATA_DIR" help:"The island's data directory. Default: island.data_dir of the configuration."`
}

// config is what the island in question runs with.
func (h here) config() (*config.Config, error) {
	return (&runCmd{Config: h.Config, DataDir: h.DataDir}).loader()()
}

func (h here) client() (*control.Client, error) {
	if h.DataDir != "" {
		return control.NewClient(h.DataDir), nil
	}
	if h.Config == "" {
		if _, err := os.Stat(defaultConfigFile); errors.Is(err, fs.ErrNotExist) {
			return control.NewClient(config.Default().Island.DataDir), nil
		}
	}
	cfg, err := h.config()
	if err != nil {
		return nil, fmt.Errorf("find the data directory: %w", err)
	}
	return control.NewClient(cfg.Island.DataDir), nil
}
