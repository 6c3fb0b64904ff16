package host

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"
)

// Config says what is measured of the host.
type Config struct {
	// Enabled turns the job on. Default true.
	Enabled bool `yaml:"enabled"`
	// Interval between scrapes, 15s by default; 0 takes the global scrape_interval.
	Interval model.Duration `yaml:"interval,omitempty"`
	// Timeout is how long one scrape waits for a slow collector before it
	// answers without it. Default 5s.
	Timeout model.Duration `yaml:"timeout"`
	// Collectors, when not empty, are the only ones that run, by
	// node_exporter's names. Empty means node_exporter's defaults.
	Collectors []string `yaml:"collectors,omitempty"`
	// Exclude are taken away from those.
	Exclude []string `yaml:"exclude,omitempty"`
	// Paths says where the host's file systems are mounted.
	Paths Paths `yaml:"paths"`
	// Flags are node_exporter's flags for single collectors, such as
	// "--collector.textfile.directory=/var/lib/node". Switching collectors on
	// and off is what Collectors and Exclude are for.
	Flags []string `yaml:"flags,omitempty"`
}

// Paths are directories, all absolute.
type Paths struct {
	Procfs string `yaml:"procfs"`
	Sysfs  string `yaml:"sysfs"`
	Rootfs string `yaml:"rootfs"`
	// UdevData holds udev's database, from which disk names are enriched.
	UdevData string `yaml:"udev_data"`
}

// Default returns node_exporter's defaults.
func Default() Config {
	return Config{
		Enabled:  true,
		Interval: model.Duration(15 * time.Second),
		Timeout:  model.Duration(5 * time.Second),
		Paths:    Paths{Procfs: "/proc", Sysfs: "/sys", Rootfs: "/", UdevData: "/run/udev/data"},
	}
}

// Validate returns every mistake at once, joined. It does not look at the
// file system.
func (c Config) Validate() error {
	var errs []error
	known := knownCollectors()
	for _, list := range []struct {
		field string
		names []string
	}{{"host.collectors", c.Collectors}, {"host.exclude", c.Exclude}} {
		for _, name := range list.names {
			if _, ok := known[name]; !ok {
				errs = append(errs, fmt.Errorf("%s: got %q, must be a collector of node_exporter on this system", list.field, name))
			}
		}
	}
	for _, p := range []struct{ field, path string }{
		{"host.paths.procfs", c.Paths.Procfs},
		{"host.paths.sysfs", c.Paths.Sysfs},
		{"host.paths.rootfs", c.Paths.Rootfs},
		{"host.paths.udev_data", c.Paths.UdevData},
	} {
		if !filepath.IsAbs(p.path) {
			errs = append(errs, fmt.Errorf("%s: got %q, must be an absolute path", p.field, p.path))
		}
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("host.timeout: got %s, must be above 0", c.Timeout))
	}
	for _, f := range c.Flags {
		if err := checkFlag(f); err != nil {
			errs = append(errs, fmt.Errorf("host.flags: got %q, %w", f, err))
		}
	}
	return errors.Join(errs...)
}

// checkFlag accepts "--collector.<name>.<option>=<value>" and the forms
// without a value.
func checkFlag(flag string) error {
	name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
	known := strings.TrimPrefix(name, "no-")
	if !strings.HasPrefix(flag, "--") || strings.Count(known, ".") < 2 || !strings.HasPrefix(known, "collector.") {
		return errors.New(`must look like "--collector.<name>.<option>=<value>"`)
	}
	if !slices.ContainsFunc(process.flags(), func(f *kingpin.FlagModel) bool { return f.Name == known }) {
		return errors.New("must be a flag of node_exporter on this system")
	}
	return nil
}

// selected returns the names of the collectors to run, sorted.
func (c Config) selected() []string {
	var names []string
	if len(c.Collectors) > 0 {
		names = slices.Clone(c.Collectors)
	} else {
		for name, byDefault := range knownCollectors() {
			if byDefault {
				names = append(names, name)
			}
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(c.Exclude, n) })
	slices.Sort(names)
	return slices.Compact(names)
}

// knownCollectors returns the collectors compiled in and whether upstream runs
// them by default. Upstream tells only through its flags: one
// "--collector.<name>" for each, options having one dot more.
func knownCollectors() map[string]bool {
	known := map[string]bool{}
	for _, f := range process.flags() {
		name, ok := strings.CutPrefix(f.Name, "collector.")
		if ok && !strings.Contains(name, ".") && name != "disable-defaults" {
			known[name] = len(f.Default) == 1 && f.Default[0] == "true"
		}
	}
	return known
}
