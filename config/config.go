package config

import (
	"fmt"
	"os"
	"regexp"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/collect"
	"github.com/atoll-mesh/atoll/flow/send"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/portal"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/query"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/replicate"
	"github.com/atoll-mesh/atoll/store"
)

// Config is everything one island is told. It is not to be changed once loaded:
// a reload loads a new one.
type Config struct {
	Island  Island
	HTTP    portal.Config
	Log     Log
	Collect collect.Config
	Store   store.Config
	Query   query.Config
	Send    send.Config
	Alert   alert.Config
	Budget  budget.Config

	Aggregate aggregate.Config
	Probe     probe.Config

	Mesh       mesh.Config
	Membership enrol.Config
	Replica    replica.Config
	Replicate  replicate.Config
	Witness    witness.Config

	// Prometheus is the effective document: as written, plus the island's labels
	// as external labels. Its GetScrapeConfigs works. Never nil.
	Prometheus *promconfig.Config
	// Alertmanager is nil where the file gives none.
	Alertmanager *amconfig.Config
	// AggregateRules are what aggregate.rules holds or names; nil without.
	AggregateRules *rule.Set
	// Probes are what probe.modules and probe.definitions name and hold, and the shared
	// definitions.
	Probes probe.Set
	// Path is the file this was loaded from, "" for Default.
	Path string
	// Warnings are what is worth telling the operator at start.
	Warnings Errors

	files []string
	// storePath tells that store.path was written, and so does not follow the data directory.
	storePath bool
}

// Island says who this node is.
type Island struct {
	// Name is unique among the islands that ask each other; it becomes the external
	// label "island". Empty means the host's name.
	Name string `yaml:"name,omitempty"`
	// Labels become external labels beside it, such as region and vendor.
	Labels map[string]string `yaml:"labels,omitempty"`
	// DataDir holds everything the island keeps. Written in a file, it is relative
	// to that file; the default "data" is relative to the working directory.
	DataDir string `yaml:"data_dir,omitempty"`
}

// Log says what the process prints on standard error.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level,omitempty"`
	// Format is text or json.
	Format string `yaml:"format,omitempty"`
}

// IslandLabel is the external label that carries the island's name.
const IslandLabel = "island"

// Default is the configuration of an island that was told nothing: it measures
// its host and itself and answers on 127.0.0.1:59080.
func Default() *Config {
	c := defaults()
	prometheus, err := promconfig.Load("", quiet())
	if err == nil {
		prometheus, err = effective(nil, prometheus, c.Island)
	}
	if err != nil {
		// Only a name of the host that is no label value gets here.
		panic(fmt.Sprintf("BUG: the default configuration does not load: %v", err))
	}
	c.Prometheus = prometheus
	return c
}

func defaults() *Config {
	return &Config{
		Island:  Island{Name: hostname(), DataDir: "data"},
		HTTP:    portal.Default(),
		Log:     Log{Level: "info", Format: "text"},
		Collect: collect.Default(),
		Store:   store.Default(),
		Query:   query.Default(),
		Send:    send.Default(),
		Alert:   alert.Default(),
		Budget:  budget.Default(),

		Aggregate: aggregate.Default(),
		Probe:     probe.Default(),

		Mesh:       mesh.Default(),
		Membership: enrol.Default(),
		Replica:    replica.Default(),
		Replicate:  replicate.Default(),
		Witness:    witness.Default(),
	}
}

// Files lists every document that was read or is missing yet, and the
// directories that globs look into: a change in any of them is a reason to load
// again. Certificates and secrets are not among them; who uses them reads them again.
func (c *Config) Files() []string { return c.files }

var islandName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// hostname falls back to a fixed word where the system's answer is no valid name.
func hostname() string {
	if h, err := os.Hostname(); err == nil && islandName.MatchString(h) {
		return h
	}
	return "island"
}

func (i Island) validate() (errs []fieldError) {
	if i.Name != "" && !islandName.MatchString(i.Name) {
		errs = append(errs, fieldError{"name", fmt.Sprintf("%q: must be 1 to 63 letters, digits, '.', '_' or '-', with a letter or digit at both ends", i.Name)})
	}
	for name, value := range i.Labels {
		field := "labels." + name
		switch {
		case name == IslandLabel:
			errs = append(errs, fieldError{field, fmt.Sprintf("%q: the label %q always holds island.name; set that instead", value, IslandLabel)})
		case !model.LegacyValidation.IsValidLabelName(name) || len(name) > 1 && name[:2] == "__":
			errs = append(errs, fieldError{field, "must be a label name: letters, digits and '_', not beginning with a digit or with '__'"})
		case value == "":
			errs = append(errs, fieldError{field, "is empty, which means the label is absent; give it a value or remove it"})
		}
	}
	if i.DataDir == "" {
		errs = append(errs, fieldError{"data_dir", "is empty; name a directory or remove the key to get \"data\""})
	}
	return errs
}

func (l Log) validate() (errs []fieldError) {
	switch l.Level {
	case "debug", "info", "warn", "error":
	default:
		errs = append(errs, fieldError{"level", fmt.Sprintf("%q: must be debug, info, warn or error", l.Level)})
	}
	if l.Format != "text" && l.Format != "json" {
		errs = append(errs, fieldError{"format", fmt.Sprintf("%q: must be text or json", l.Format)})
	}
	return errs
}

// fieldError is a mistake in a field of one of config's own sections.
type fieldError struct{ field, message string }

func (e fieldError) Error() string { return e.field + ": " + e.message }
