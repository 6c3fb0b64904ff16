package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/store/bucket"
	"github.com/atoll-mesh/atoll/store/storeapi"
)

// Config says where samples are kept, for how long and how.
type Config struct {
	// Path is the TSDB directory. Changing it needs a restart.
	Path string `yaml:"path"`
	// Retention bounds what is kept; it can change while running.
	Retention Retention `yaml:"retention"`
	// OutOfOrderWindow is how much older than the newest sample of its series a
	// sample may be; 0 refuses any that is older. It can change while running.
	OutOfOrderWindow model.Duration `yaml:"out_of_order_window"`
	// MaxExemplars is the size of the exemplar ring in memory, about 80 bytes
	// each; 0 switches exemplars off. It can change while running.
	MaxExemplars int64 `yaml:"max_exemplars"`
	// WALCompression is snappy, zstd or none. Changing it needs a restart.
	WALCompression string `yaml:"wal_compression"`
	// WALMetadata writes type, unit and help into the write-ahead log, for remote
	// write 2.0. Changing it needs a restart.
	WALMetadata bool `yaml:"wal_metadata"`
	// ScrubRate is how many bytes a second the background check of blocks reads;
	// 0 switches it off. It can change while running.
	ScrubRate flow.Bytes `yaml:"scrub_rate"`
	// Bucket is where blocks go besides; it can change while running.
	Bucket bucket.Config `yaml:"bucket"`
	// Thanos is where Thanos' queriers may ask.
	Thanos storeapi.Config `yaml:"thanos"`
}

// Retention bounds what is kept; whichever bound is met first deletes the
// oldest block. Zero means no such bound.
type Retention struct {
	Time model.Duration `yaml:"time"`
	Size flow.Bytes     `yaml:"size"`
}

// Default is the configuration of a lone island: Prometheus' own defaults, with
// a small exemplar ring switched on.
func Default() Config {
	return Config{
		Path:           "data/tsdb",
		Retention:      Retention{Time: model.Duration(15 * 24 * time.Hour)},
		MaxExemplars:   10_000,
		WALCompression: "snappy",
		ScrubRate:      8 << 20,
		Bucket:         bucket.Default(),
		Thanos:         storeapi.Default(),
	}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("path: must name a directory"))
	}
	if c.Retention.Time < 0 {
		errs = append(errs, fmt.Errorf("retention.time: %s must not be negative; 0 keeps samples for ever", c.Retention.Time))
	}
	if c.Retention.Size < 0 {
		errs = append(errs, fmt.Errorf("retention.size: %d must not be negative; 0 sets no bound", int64(c.Retention.Size)))
	}
	if c.OutOfOrderWindow < 0 {
		errs = append(errs, fmt.Errorf("out_of_order_window: %s must not be negative; 0 refuses old samples", c.OutOfOrderWindow))
	}
	if c.MaxExemplars < 0 {
		errs = append(errs, fmt.Errorf("max_exemplars: %d must not be negative; 0 switches exemplars off", c.MaxExemplars))
	}
	if c.ScrubRate < 0 {
		errs = append(errs, fmt.Errorf("scrub_rate: %d must not be negative; 0 switches the check off", int64(c.ScrubRate)))
	}
	if _, ok := walCompression(c.WALCompression); !ok {
		errs = append(errs, fmt.Errorf("wal_compression: %q must be snappy, zstd or none", c.WALCompression))
	}
	return errors.Join(append(errs, c.Bucket.Validate(), c.Thanos.Validate())...)
}

func walCompression(name string) (compression.Type, bool) {
	switch name {
	case "snappy":
		return compression.Snappy, true
	case "zstd":
		return compression.Zstd, true
	case "none":
		return compression.None, true
	}
	return compression.None, false
}

// fixed refuses by name what cannot change while the store runs.
func (c Config) fixed(next Config) error {
	var errs []error
	refuse := func(field string, old, now any) {
		if old != now {
			errs = append(errs, fmt.Errorf("%s: changing %v to %v needs a restart", field, old, now))
		}
	}
	refuse("path", c.Path, next.Path)
	refuse("wal_compression", c.WALCompression, next.WALCompression)
	refuse("wal_metadata", c.WALMetadata, next.WALMetadata)
	return errors.Join(errs...)
}
