package aggregate

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/dimension"
	"github.com/atoll-mesh/atoll/aggregate/router"
	"github.com/atoll-mesh/atoll/aggregate/sink"
	"github.com/atoll-mesh/atoll/flow"
)

// Config is the section "aggregate".
type Config struct {
	// Rules is the path of a file of stream aggregation rules, as vmagent reads
	// it or in the fuller form, or the same document inline.
	Rules yaml.Node `yaml:"rules,omitempty"`
	// Store keeps what comes out in the island's own store.
	Store bool `yaml:"store"`
	// CheckpointInterval is the time between two checkpoints of the state.
	CheckpointInterval model.Duration `yaml:"checkpoint_interval,omitempty"`
	// JournalSize bounds what is written between two checkpoints.
	JournalSize flow.Bytes `yaml:"journal_size,omitempty"`
	// Pending bounds the samples that wait in memory while the store refuses them.
	Pending int `yaml:"pending_samples,omitempty"`

	// Router sends what this island receives to backends, instead of storing it.
	Router router.Config `yaml:"router"`

	Sink      sink.Config      `yaml:",inline"`
	Dimension dimension.Config `yaml:",inline"`
}

// Default aggregates nothing and would store what comes out.
func Default() Config {
	return Config{
		Store:              true,
		CheckpointInterval: model.Duration(30 * time.Second),
		JournalSize:        1 << 30,
		Pending:            1_000_000,
		Router:             router.Config{}.WithDefaults(),
		Dimension:          dimension.Default(),
	}
}

// Validate reports every value that cannot be used. The rules are judged where
// their file is read.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if d := time.Duration(c.CheckpointInterval); d < time.Second || d > time.Hour {
		bad("checkpoint_interval", "%s: must be between 1s and 1h", c.CheckpointInterval)
	}
	if c.JournalSize < 1<<20 {
		bad("journal_size", "%s: must be at least 1MiB", c.JournalSize)
	}
	if c.Pending < 0 {
		bad("pending_samples", "%d: must not be negative", c.Pending)
	}
	if c.Routes() {
		errs = append(errs, c.Router.Validate())
	}
	return errors.Join(append(errs, c.Sink.Validate(), c.Dimension.Validate())...)
}

// Routes reports whether what is received goes to the router's backends.
func (c Config) Routes() bool { return len(c.Router.Backends) > 0 }
