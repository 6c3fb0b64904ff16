package collect

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/collect/cgroup"
	"github.com/atoll-mesh/atoll/collect/host"
	"github.com/atoll-mesh/atoll/collect/receive"
)

// Config is what an operator may set about collecting, beside the scrape
// configuration in the Prometheus document.
type Config struct {
	// Scrape bounds what a target may answer.
	Scrape ScrapeLimits `yaml:"scrape"`
	// Host configures the built-in job "node".
	Host host.Config `yaml:"host"`
	// Cgroup configures the built-in job "cgroup".
	Cgroup cgroup.Config `yaml:"cgroup"`
	// Self configures the built-in job "atoll".
	Self SelfConfig `yaml:"self"`
	// Receive configures what is pushed to the island.
	Receive receive.Config `yaml:"receive"`
}

// SelfConfig configures the scrape of the island's own metrics.
type SelfConfig struct {
	// Enabled turns the job on. Default true.
	Enabled bool `yaml:"enabled"`
	// Interval between scrapes, 15s by default; 0 takes the global scrape_interval.
	Interval model.Duration `yaml:"interval,omitempty"`
}

// Default returns the configuration of an operator who set nothing.
func Default() Config {
	return Config{
		Scrape:  defaultScrapeLimits(),
		Host:    host.Default(),
		Cgroup:  cgroup.Default(),
		Self:    SelfConfig{Enabled: true, Interval: model.Duration(15 * time.Second)},
		Receive: receive.Default(),
	}
}

// minInterval keeps a typing error ("interval: 5ms") from turning the built-in
// jobs into a load of their own.
const minInterval = model.Duration(time.Second)

// Validate returns every mistake at once, joined.
func (c Config) Validate() error {
	var errs []error
	for _, i := range []struct {
		field string
		value model.Duration
	}{
		{"host.interval", c.Host.Interval},
		{"cgroup.interval", c.Cgroup.Interval},
		{"self.interval", c.Self.Interval},
	} {
		if i.value != 0 && i.value < minInterval {
			errs = append(errs, fmt.Errorf("%s: got %s, must be at least %s, or 0 for the global scrape_interval", i.field, i.value, minInterval))
		}
	}
	if err := c.Scrape.validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Host.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Cgroup.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Receive.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
