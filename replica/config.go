package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Config bounds what is kept and says how often islands compare. All of it can
// change while running.
type Config struct {
	// Interval is how often documents are compared with a random connected island,
	// give or take a quarter. Changes travel by hint at once; this finds what hints missed.
	Interval model.Duration `yaml:"interval"`
	// Tombstones is how long a deletion is remembered: longer than any island is
	// cut off and comes back. The same on all islands.
	Tombstones model.Duration `yaml:"tombstones"`
	// History is how many older versions of a document are kept; 0 keeps none, and
	// then what a revoked island overwrote cannot come back.
	History int `yaml:"history"`
	// HistoryBytes bounds the older versions of one document; the newest of them is
	// kept in any case.
	HistoryBytes flow.Bytes `yaml:"history_bytes"`
	// MaxDocuments bounds the documents held, deleted ones included. Documents of
	// trust have as much room again, so that no flood keeps a revocation out.
	MaxDocuments int `yaml:"max_documents"`
	// MaxBytes bounds their encoded size in the same way, and that of the history.
	MaxBytes flow.Bytes `yaml:"max_bytes"`
}

// Default suits some thousand islands: comparing every 30 s, tombstones for 90
// days, 50,000 documents of 256 MiB in all.
func Default() Config {
	return Config{
		Interval:     model.Duration(30 * time.Second),
		Tombstones:   model.Duration(90 * 24 * time.Hour),
		History:      20,
		HistoryBytes: 1 << 20,
		MaxDocuments: 50_000,
		MaxBytes:     256 << 20,
	}
}

const (
	minTombstones = model.Duration(24 * time.Hour)
	maxHistory    = 1000
)

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if c.Interval < model.Duration(time.Second) {
		errs = append(errs, fmt.Errorf("interval: %s must be at least 1s", c.Interval))
	}
	if c.Tombstones < minTombstones {
		errs = append(errs, fmt.Errorf("tombstones: %s must be at least %s, and longer than any island is cut off", c.Tombstones, minTombstones))
	}
	if c.History < 0 || c.History > maxHistory {
		errs = append(errs, fmt.Errorf("history: %d must be from 0 to %d", c.History, maxHistory))
	}
	if c.HistoryBytes < 0 {
		errs = append(errs, fmt.Errorf("history_bytes: %d must not be negative", int64(c.HistoryBytes)))
	}
	if c.MaxDocuments < 1 {
		errs = append(errs, fmt.Errorf("max_documents: %d must be at least 1", c.MaxDocuments))
	}
	if c.MaxBytes < 2<<20 {
		errs = append(errs, fmt.Errorf("max_bytes: %s must be at least 2MiB, room for one document of the largest size", c.MaxBytes))
	}
	return errors.Join(errs...)
}

// Prepare checks a new configuration; commit puts it into force.
func (r *Replica) Prepare(c Config) (commit, discard func(), err error) {
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	return func() { r.cfg.Store(&c) }, func() {}, nil
}
