package portal

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/portal/secure"
)

// Config says where and how the island answers over HTTP.
type Config struct {
	// Listen holds host:port addresses. Port 0 takes any free port.
	Listen []string `yaml:"listen,omitempty"`
	// WebConfig is a file with TLS certificates, client authentication and users
	// in the exporter toolkit's format. It is read again while running. Its TLS
	// stands in for TLS.
	WebConfig string `yaml:"web_config,omitempty"`
	// TLS says how addresses are encrypted. Left out: all but loopback.
	TLS secure.Config `yaml:"tls,omitempty"`
	// ExternalURL is how people reach the island, for links in notifications.
	// Empty: http://HOST:PORT of the first address.
	ExternalURL string `yaml:"external_url,omitempty"`
	// TilesURL is where the page's maps take streets from when somebody asks for
	// them, with {z}, {x} and {y}, and {s} for one of a, b and c. Empty: nowhere.
	TilesURL string `yaml:"tiles_url,omitempty"`
	// Pprof serves /debug/pprof/, which shows memory contents and costs CPU.
	Pprof bool `yaml:"pprof"`
	// AdminAPI serves what deletes data or ends the process.
	AdminAPI bool `yaml:"admin_api"`
	// ReadTimeout bounds reading one whole request, headers and body, and how
	// long an idle connection is kept.
	ReadTimeout model.Duration `yaml:"read_timeout,omitempty"`
	// ShutdownTimeout bounds how long requests in flight may take when stopping.
	ShutdownTimeout model.Duration `yaml:"shutdown_timeout,omitempty"`
	// MaxConnections is the number of connections open at once, per address;
	// further ones wait in the kernel's queue.
	MaxConnections int `yaml:"max_connections,omitempty"`

	access.Config `yaml:",inline"`
}

// Default answers on loopback only: whoever opens the island to a network says so.
func Default() Config {
	return Config{
		Listen:          []string{"127.0.0.1:59080"},
		TilesURL:        "https://tile.openstreetmap.org/{z}/{x}/{y}.png",
		ReadTimeout:     model.Duration(5 * time.Minute),
		ShutdownTimeout: model.Duration(10 * time.Second),
		MaxConnections:  512,
		TLS:             secure.Default(),
		Config:          access.Default(),
	}
}

// Validate names every field that breaks its rule. It opens no file and no port.
func (c Config) Validate() error {
	var errs []error
	if len(c.Listen) == 0 {
		errs = append(errs, errors.New(`http.listen: empty: name at least one address like "127.0.0.1:59080"`))
	}
	for i, addr := range c.Listen {
		if err := validateAddr(addr); err != nil {
			errs = append(errs, fmt.Errorf(`http.listen[%d]: %q: %w; write it like "127.0.0.1:59080" or ":59080"`, i, addr, err))
		} else if slices.Contains(c.Listen[:i], addr) && !strings.HasSuffix(addr, ":0") {
			errs = append(errs, fmt.Errorf("http.listen[%d]: %q: is named twice: remove one", i, addr))
		}
	}
	if _, err := c.externalURL(); err != nil {
		errs = append(errs, err)
	}
	if _, err := tilesOrigin(c.TilesURL); err != nil {
		errs = append(errs, err)
	}
	if c.ReadTimeout <= 0 {
		errs = append(errs, fmt.Errorf("http.read_timeout: %v: must be above 0, the default is 5m", c.ReadTimeout))
	}
	if c.ShutdownTimeout <= 0 {
		errs = append(errs, fmt.Errorf("http.shutdown_timeout: %v: must be above 0, the default is 10s", c.ShutdownTimeout))
	}
	if c.MaxConnections < 1 {
		errs = append(errs, fmt.Errorf("http.max_connections: %d: must be at least 1, the default is 512", c.MaxConnections))
	}
	if err := c.TLS.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Config.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func validateAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		var ae *net.AddrError
		if errors.As(err, &ae) {
			return errors.New(ae.Err)
		}
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	} else if strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("port %q has leading zeros or a sign", port)
	}
	return nil
}

// externalURL returns nil when none is configured.
func (c Config) externalURL() (*url.URL, error) {
	if c.ExternalURL == "" {
		return nil, nil
	}
	u, err := url.Parse(c.ExternalURL)
	if err != nil {
		return nil, fmt.Errorf("http.external_url: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf(`http.external_url: %q: must be http:// or https:// and a host, like "https://atoll.example.com"`, c.ExternalURL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("http.external_url: %q: must not hold a user, a query or a fragment", u.Redacted())
	}
	return u, nil
}
