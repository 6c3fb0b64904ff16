package storeapi

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Config says where Thanos may ask, and how much.
type Config struct {
	// Listen is host:port; empty serves nothing. Changing it needs a restart.
	Listen string `yaml:"listen"`
	// TLS is asked for unless Insecure is set. The files are read at each handshake.
	TLS TLS `yaml:"tls"`
	// Insecure serves without TLS to whoever can connect.
	Insecure bool `yaml:"insecure"`
	// MaxSeries and MaxBytes bound one answer, which is sorted in memory.
	MaxSeries int        `yaml:"max_series"`
	MaxBytes  flow.Bytes `yaml:"max_bytes"`
	// MaxConcurrency is how many calls are answered at a time; others wait.
	MaxConcurrency int `yaml:"max_concurrency"`
	// Timeout bounds one call, waiting included.
	Timeout model.Duration `yaml:"timeout"`
}

// TLS names the island's certificate, and who signs those of callers.
type TLS struct {
	CertFile     string `yaml:"cert_file"`
	KeyFile      string `yaml:"key_file"`
	ClientCAFile string `yaml:"client_ca_file"`
}

// Default serves nothing.
func Default() Config {
	return Config{MaxSeries: 500_000, MaxBytes: 256 << 20, MaxConcurrency: 8, Timeout: model.Duration(2 * time.Minute)}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			add("thanos.listen: %q must be host:port, such as 0.0.0.0:10901", c.Listen)
		}
		switch tls := c.TLS.CertFile != "" && c.TLS.KeyFile != ""; {
		case !tls && !c.Insecure:
			add("thanos.tls: cert_file and key_file must name the island's certificate and its key; thanos.insecure serves without")
		case c.Insecure && c.TLS != TLS{}:
			add("thanos.insecure: cannot go together with thanos.tls; remove one")
		}
	}
	if c.MaxSeries <= 0 {
		add("thanos.max_series: %d must be more than 0", c.MaxSeries)
	}
	if c.MaxBytes <= 0 {
		add("thanos.max_bytes: %d must be more than 0B", int64(c.MaxBytes))
	}
	if c.MaxConcurrency <= 0 {
		add("thanos.max_concurrency: %d must be more than 0", c.MaxConcurrency)
	}
	if c.Timeout <= 0 {
		add("thanos.timeout: %s must be more than 0s", c.Timeout)
	}
	return errors.Join(errs...)
}

// fixed refuses by name what cannot change while it serves.
func (c Config) fixed(next Config) error {
	var errs []error
	refuse := func(field string, old, now any) {
		if old != now {
			errs = append(errs, fmt.Errorf("store.thanos.%s: changing %v to %v needs a restart", field, old, now))
		}
	}
	refuse("listen", c.Listen, next.Listen)
	refuse("insecure", c.Insecure, next.Insecure)
	refuse("max_concurrency", c.MaxConcurrency, next.MaxConcurrency)
	return errors.Join(errs...)
}
