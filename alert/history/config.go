package history

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Config bounds what is kept. It can change while running.
type Config struct {
	// Retention is for how long an event is kept.
	Retention model.Duration `yaml:"retention,omitempty"`
	// MaxBytes bounds the events kept; beyond it the oldest go. The file may be
	// twice as large.
	MaxBytes flow.Bytes `yaml:"max_bytes,omitempty"`
}

// Default keeps a quarter of a year.
func Default() Config {
	return Config{Retention: model.Duration(90 * 24 * time.Hour), MaxBytes: 128 << 20}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if c.Retention < model.Duration(time.Hour) {
		errs = append(errs, fmt.Errorf("alert.history.retention is %s, must be at least 1h", c.Retention))
	}
	if c.MaxBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("alert.history.max_bytes is %s, must be at least 1MiB", c.MaxBytes))
	}
	return errors.Join(errs...)
}
