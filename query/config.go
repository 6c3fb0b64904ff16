package query

import (
	"errors"
	"fmt"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/query/global"
)

// Config is the `query` section of the configuration file.
type Config struct {
	// Timeout is the longest a query may take, waiting included. Live.
	Timeout model.Duration `yaml:"timeout"`
	// LookbackDelta is how long after its last sample a series still has a value.
	LookbackDelta model.Duration `yaml:"lookback_delta"`
	// MaxSamples is how many samples one query may hold in memory at a time.
	MaxSamples int `yaml:"max_samples"`
	// MaxConcurrency is how many queries run at a time.
	MaxConcurrency int `yaml:"max_concurrency"`
	// MaxQueue is how many queries may wait for their turn; one more is refused
	// with 503. 0 means no limit. Live.
	MaxQueue int `yaml:"max_queue"`
	// MaxSeries is how many series one query may touch; 0 means no limit. Live.
	MaxSeries uint64 `yaml:"max_series"`
	// MaxSamplesRead is how many samples one query may read from the store; 0
	// means no limit. Live.
	MaxSamplesRead uint64 `yaml:"max_samples_read"`
	// SlowQuery is the duration from which a query is logged as a warning; 0
	// turns that off. Live.
	SlowQuery model.Duration `yaml:"slow_query"`
	// LogFile is a file to which every query is appended as one line of JSON;
	// empty turns that off. A reload opens it anew, so it can be rotated. Live.
	LogFile string `yaml:"log_file,omitempty"`
	// ExperimentalFunctions allows PromQL functions, aggregations and modifiers
	// whose meaning upstream may still change.
	ExperimentalFunctions bool `yaml:"experimental_functions"`
	// DelayedNameRemoval drops __name__ at the end of an evaluation instead of
	// at the first function.
	DelayedNameRemoval bool `yaml:"delayed_name_removal"`
	// StartTimestamps lets rate() and its kin use the start timestamps that the
	// store keeps, where it does.
	StartTimestamps bool `yaml:"start_timestamps"`
	// CORSOrigin is a fully anchored regular expression of the web origins that
	// may call the API from a browser; empty means none.
	CORSOrigin string `yaml:"cors_origin,omitempty"`
	// Scope is whose data a question is about that does not say: local or all. Live.
	Scope string `yaml:"scope"`
	// Islands bounds questions about all islands.
	Islands IslandsConfig `yaml:"islands"`
	// RemoteRead limits the remote read endpoint.
	RemoteRead RemoteReadConfig `yaml:"remote_read"`
	// Search turns on the search endpoints over metric names and labels.
	Search SearchConfig `yaml:"search"`
}

// RemoteReadConfig limits /api/v1/read.
type RemoteReadConfig struct {
	// SampleLimit is the most samples in one non-streamed answer; 0 means no limit.
	SampleLimit int `yaml:"sample_limit"`
	// Concurrency is how many reads are served at a time; 0 means no limit.
	Concurrency int `yaml:"concurrency"`
	// MaxBytesInFrame bounds one frame of a streamed answer.
	MaxBytesInFrame int `yaml:"max_bytes_in_frame"`
}

// IslandsConfig bounds what one question about all islands may cost.
type IslandsConfig struct {
	// Deadline is how long each island has to answer.
	Deadline model.Duration `yaml:"deadline"`
	// MaxSeries, MaxSamples and MaxBytes are what one question may receive from
	// all islands, and another island's from this one; 0 means no limit.
	MaxSeries  int64      `yaml:"max_series"`
	MaxSamples int64      `yaml:"max_samples"`
	MaxBytes   flow.Bytes `yaml:"max_bytes"`
	// MaxMemory is what the answers to one question may take in memory; one
	// island's may take half of it. 0 means no limit.
	MaxMemory flow.Bytes `yaml:"max_memory"`
	// Cache is the memory for rows of answers that are used again where the
	// island that gave them says that they still hold; 0 turns that off.
	Cache flow.Bytes `yaml:"cache"`
}

func (c IslandsConfig) limits() global.Limits {
	return global.Limits{Series: c.MaxSeries, Samples: c.MaxSamples, Bytes: int64(c.MaxBytes)}
}

// scope is whose data a question is about that does not say.
func (c Config) scope() global.Scope {
	if c.Scope == global.ScopeAll.String() {
		return global.ScopeAll
	}
	return global.ScopeLocal
}

// SearchConfig governs /api/v1/search/*.
type SearchConfig struct {
	Enabled bool `yaml:"enabled"`
	// MaxLimit is the largest `limit` a request may ask for; 0 means no cap.
	MaxLimit int `yaml:"max_limit"`
}

// Default is what an island does without a `query` section: Prometheus'
// defaults, plus a bound on the queue and a log line for slow queries.
func Default() Config {
	return Config{
		Timeout:        model.Duration(2 * time.Minute),
		LookbackDelta:  model.Duration(5 * time.Minute),
		MaxSamples:     50_000_000,
		MaxConcurrency: 20,
		MaxQueue:       1000,
		SlowQuery:      model.Duration(10 * time.Second),
		Scope:          global.ScopeLocal.String(),
		Islands:        IslandsConfig{Deadline: model.Duration(10 * time.Second), MaxSeries: 1_000_000, MaxSamples: 50_000_000, MaxBytes: 256 << 20, MaxMemory: 512 << 20, Cache: 64 << 20},
		RemoteRead:     RemoteReadConfig{SampleLimit: 50_000_000, Concurrency: 10, MaxBytesInFrame: 1 << 20},
		Search:         SearchConfig{Enabled: true, MaxLimit: 10_000},
	}
}

// FromGlobal fills what is unset in c from the query settings of a Prometheus
// configuration's global section.
func (c Config) FromGlobal(g promconfig.GlobalConfig) Config {
	if c.LogFile == "" {
		c.LogFile = g.QueryLogFile
	}
	if c.MaxSeries == 0 {
		c.MaxSeries = g.QueryMaxSeries
	}
	if c.MaxSamplesRead == 0 {
		c.MaxSamplesRead = g.QueryMaxSamplesRead
	}
	if g.QueryMaxDuration != 0 && c.Timeout == Default().Timeout {
		c.Timeout = g.QueryMaxDuration
	}
	return c
}

// Validate reports every field that cannot be used.
func (c Config) Validate() error {
	var errs []error
	atLeast := func(field string, got, least int64) {
		if got < least {
			errs = append(errs, fmt.Errorf("%s: got %d, must be at least %d", field, got, least))
		}
	}
	positive := func(field string, got model.Duration) {
		if got <= 0 {
			errs = append(errs, fmt.Errorf("%s: got %s, must be longer than 0, such as %s", field, time.Duration(got), Default().Timeout))
		}
	}
	positive("timeout", c.Timeout)
	positive("lookback_delta", c.LookbackDelta)
	atLeast("max_samples", int64(c.MaxSamples), 1)
	atLeast("max_concurrency", int64(c.MaxConcurrency), 1)
	atLeast("max_queue", int64(c.MaxQueue), 0)
	atLeast("slow_query", int64(c.SlowQuery), 0)
	if c.Scope != global.ScopeLocal.String() && c.Scope != global.ScopeAll.String() {
		errs = append(errs, fmt.Errorf("scope: got %q, must be local (this island) or all (every island)", c.Scope))
	}
	positive("islands.deadline", c.Islands.Deadline)
	atLeast("islands.max_series", c.Islands.MaxSeries, 0)
	atLeast("islands.max_samples", c.Islands.MaxSamples, 0)
	atLeast("islands.max_bytes", int64(c.Islands.MaxBytes), 0)
	atLeast("islands.max_memory", int64(c.Islands.MaxMemory), 0)
	atLeast("islands.cache", int64(c.Islands.Cache), 0)
	atLeast("remote_read.sample_limit", int64(c.RemoteRead.SampleLimit), 0)
	atLeast("remote_read.concurrency", int64(c.RemoteRead.Concurrency), 0)
	atLeast("remote_read.max_bytes_in_frame", int64(c.RemoteRead.MaxBytesInFrame), 1)
	atLeast("search.max_limit", int64(c.Search.MaxLimit), 0)
	if _, err := c.corsRegexp(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) corsRegexp() (*regexp.Regexp, error) {
	if c.CORSOrigin == "" {
		// An Origin header is never empty where it is matched: nothing passes.
		return regexp.MustCompile("^$"), nil
	}
	re, err := regexp.Compile("^(?:" + c.CORSOrigin + ")$")
	if err != nil {
		return nil, fmt.Errorf("cors_origin: got %q, must be a regular expression such as https?://grafana\\.example\\.org: %w", c.CORSOrigin, err)
	}
	return re, nil
}

// frozen returns an error naming each field that differs and cannot change
// while the island runs.
func (c Config) frozen(next Config) error {
	var errs []error
	differ := func(field string, old, now any) {
		if old != now {
			errs = append(errs, fmt.Errorf("query.%s: cannot change from %v to %v while running; restart the island to apply it", field, old, now))
		}
	}
	differ("lookback_delta", c.LookbackDelta, next.LookbackDelta)
	differ("max_samples", c.MaxSamples, next.MaxSamples)
	differ("max_concurrency", c.MaxConcurrency, next.MaxConcurrency)
	differ("experimental_functions", c.ExperimentalFunctions, next.ExperimentalFunctions)
	differ("delayed_name_removal", c.DelayedNameRemoval, next.DelayedNameRemoval)
	differ("start_timestamps", c.StartTimestamps, next.StartTimestamps)
	differ("cors_origin", c.CORSOrigin, next.CORSOrigin)
	differ("islands", c.Islands, next.Islands)
	differ("remote_read", c.RemoteRead, next.RemoteRead)
	differ("search", c.Search, next.Search)
	return errors.Join(errs...)
}
