package probe

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/probe/evidence"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/place"
)

// Config is the section "probe".
type Config struct {
	// Modules is the path of a module file, as blackbox_exporter reads it.
	Modules string `yaml:"modules,omitempty"`
	// Definitions are this island's own, beside the documents of its network.
	Definitions yaml.Node `yaml:"definitions,omitempty"`
	// Allow, AllowAdHoc and Deny are lists of addresses, prefixes, host names and paths
	// of unix sockets, see guard.Rules.
	Allow      []string `yaml:"allow,omitempty"`
	AllowAdHoc []string `yaml:"allow_ad_hoc,omitempty"`
	Deny       []string `yaml:"deny,omitempty"`
	// Concurrency is how many probes run at once.
	Concurrency int `yaml:"concurrency,omitempty"`
	// Rate is how many probes a second one caller may ask for by hand or by GET /probe.
	Rate float64 `yaml:"rate,omitempty"`
	// Islands is what this one does for others of its network.
	Islands Islands `yaml:"islands,omitempty"`
	// Evidence is what failures leave.
	Evidence evidence.Config `yaml:"evidence,omitempty"`
	// Rules tells that the supplied rules alert on what is probed.
	Rules bool `yaml:"rules"`
	// Place is where the island stands.
	Place place.Config `yaml:"place,omitempty"`
}

// Default probes nothing, and would reach public addresses only.
func Default() Config {
	return Config{Concurrency: 1000, Rate: 50, Rules: true, Islands: Islands{Rate: 5}, Evidence: evidence.Default()}
}

// mostConcurrent keeps probes from using up the memory and sockets of a machine.
const mostConcurrent = 50_000

// Validate reports every value that cannot be used. Modules and definitions are
// judged where they are read.
func (c Config) Validate() error {
	var errs []error
	if c.Concurrency < 1 || c.Concurrency > mostConcurrent {
		errs = append(errs, fmt.Errorf("concurrency: %d: must be between 1 and %d", c.Concurrency, mostConcurrent))
	}
	if !(c.Rate >= 0) {
		errs = append(errs, fmt.Errorf("rate: %v: must be 0, for none, or more", c.Rate))
	}
	return errors.Join(append(errs, c.rules().Validate(), c.Islands.Validate(), c.Evidence.Validate(), c.Place.Validate())...)
}

func (c Config) rules() guard.Rules {
	return guard.Rules{Allow: c.Allow, AllowAdHoc: c.AllowAdHoc, Deny: c.Deny}
}
