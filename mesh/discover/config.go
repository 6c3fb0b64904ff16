package discover

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
)

// AllUpTo is the size of network up to which every member is kept connected.
const AllUpTo = 32

// Config says how members are found and how many are kept connected.
type Config struct {
	// MDNS finds members on the local network.
	MDNS bool `yaml:"mdns"`
	// DHT finds members through other members.
	DHT bool `yaml:"dht"`
	// Neighbours is how many connections are kept in a network of more than AllUpTo
	// members: half of them chosen here, the other half by others.
	Neighbours int `yaml:"neighbours"`
	// Static are addresses known beforehand: "name@host:port", "host:port" or a
	// multiaddr with or without "/p2p/<key>"; see ParseStatic.
	Static []string `yaml:"static,omitempty"`
	// IdleFor is how long a connection that was opened on demand stays without use.
	IdleFor model.Duration `yaml:"idle_for"`
}

// Default suits 2 to 1,000 islands.
func Default() Config {
	return Config{MDNS: true, DHT: true, Neighbours: 8, IdleFor: model.Duration(5 * time.Minute)}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if c.Neighbours < 1 || c.Neighbours > 256 {
		errs = append(errs, fmt.Errorf("neighbours: %d must be from 1 to 256", c.Neighbours))
	}
	if c.IdleFor <= 0 {
		errs = append(errs, fmt.Errorf("idle_for: %s must be above 0, like 5m", c.IdleFor))
	}
	for i, s := range c.Static {
		if _, err := ParseStatic(s); err != nil {
			errs = append(errs, fmt.Errorf("static[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}
