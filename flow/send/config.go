package send

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"
)

// Config tunes what the Prometheus configuration has no field for.
type Config struct {
	// BackfillSamplesPerSecond bounds the filling of a gap, per remote;
	// 0 lets the receiver set the pace.
	BackfillSamplesPerSecond int `yaml:"backfill_samples_per_second"`
	// UnreachableAfter is how long a remote may fail before a warning is raised.
	UnreachableAfter model.Duration `yaml:"unreachable_after"`
}

// Default returns the settings used where nothing is said.
func Default() Config {
	return Config{UnreachableAfter: model.Duration(5 * time.Minute)}
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	if c.BackfillSamplesPerSecond < 0 {
		return fmt.Errorf("send.backfill_samples_per_second: %d is negative; give samples per second, or 0 for no limit", c.BackfillSamplesPerSecond)
	}
	if c.UnreachableAfter <= 0 {
		return fmt.Errorf("send.unreachable_after: %s must be more than 0s, such as 5m", c.UnreachableAfter)
	}
	return nil
}
