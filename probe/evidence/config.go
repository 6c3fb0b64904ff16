package evidence

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Config is the section "probe.evidence".
type Config struct {
	// Dir is where bundles are kept; below the island's data directory if "". Changing it
	// needs a restart.
	Dir string `yaml:"dir,omitempty"`
	// MaxSize bounds all of them together; 0 gathers none.
	MaxSize flow.Bytes `yaml:"max_size"`
	// Retention is for how long a bundle is kept.
	Retention model.Duration `yaml:"retention,omitempty"`
	// Capture lets definitions that ask for it record the packets of a probe.
	Capture bool `yaml:"capture,omitempty"`
}

// Default keeps two weeks, and no packets.
func Default() Config {
	return Config{MaxSize: 512 << 20, Retention: model.Duration(14 * 24 * time.Hour)}
}

// Validate reports every value that cannot be used.
func (c Config) Validate() error {
	var errs []error
	if c.MaxSize < 0 || c.MaxSize > 0 && c.MaxSize < MostArchive {
		errs = append(errs, fmt.Errorf("evidence.max_size: %s: must be 0, for no evidence, or at least %s, which one bundle may have", c.MaxSize, flow.Bytes(MostArchive)))
	}
	if c.Retention <= 0 {
		errs = append(errs, fmt.Errorf("evidence.retention: %s: must be above 0; to gather no evidence set max_size to 0", c.Retention))
	}
	return errors.Join(errs...)
}
