package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/model"
)

// Config says which control groups are measured.
type Config struct {
	// Enabled turns the job on. Default true; where Root cannot be read the
	// job is left out all the same.
	Enabled bool `yaml:"enabled"`
	// Interval between scrapes, 15s by default; 0 takes the global scrape_interval.
	Interval model.Duration `yaml:"interval,omitempty"`
	// Root is where the cgroup file systems are mounted. Default /sys/fs/cgroup.
	Root string `yaml:"root"`
	// MaxGroups is how many groups are reported at most. Default 1000.
	MaxGroups int `yaml:"max_groups"`
	// MaxDepth is how many levels below the root are reported. Default 8.
	MaxDepth int `yaml:"max_depth"`
	// Exclude is a regular expression, anchored at both ends, of group paths
	// that are left out, such as "/user\.slice/.*".
	Exclude string `yaml:"exclude,omitempty"`
}

// Default returns the configuration of an operator who set nothing.
func Default() Config {
	return Config{Enabled: true, Interval: model.Duration(15 * time.Second), Root: "/sys/fs/cgroup", MaxGroups: 1000, MaxDepth: 8}
}

// Limits of what Validate accepts: beyond them one scrape would read more
// files than an edge machine has time for.
const (
	maxGroups = 20000
	maxDepth  = 32
)

// Validate returns every mistake at once, joined. It does not look at the
// file system.
func (c Config) Validate() error {
	var errs []error
	if !filepath.IsAbs(c.Root) {
		errs = append(errs, fmt.Errorf("cgroup.root: got %q, must be an absolute path", c.Root))
	}
	if c.MaxGroups < 1 || c.MaxGroups > maxGroups {
		errs = append(errs, fmt.Errorf("cgroup.max_groups: got %d, must be from 1 to %d", c.MaxGroups, maxGroups))
	}
	if c.MaxDepth < 1 || c.MaxDepth > maxDepth {
		errs = append(errs, fmt.Errorf("cgroup.max_depth: got %d, must be from 1 to %d", c.MaxDepth, maxDepth))
	}
	if _, err := c.exclude(); err != nil {
		errs = append(errs, fmt.Errorf("cgroup.exclude: got %q, must be a regular expression: %w", c.Exclude, err))
	}
	return errors.Join(errs...)
}

// exclude returns nil when nothing is excluded.
func (c Config) exclude() (*regexp.Regexp, error) {
	if c.Exclude == "" {
		return nil, nil
	}
	return regexp.Compile("^(?:" + c.Exclude + ")$")
}
