package reach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/atoll-mesh/atoll/flow"
)

// What Reachability and Relay can be.
const (
	Auto    = "auto"
	Public  = "public"
	Private = "private"
	On      = "on"
	Off     = "off"
)

// Config says what is known about this island's place in the network.
type Config struct {
	// Reachability is "auto", or "public" or "private" where it is known.
	Reachability string `yaml:"reachability"`
	// Relay says whether this island carries bytes between members: "auto" while it
	// is public, "on" always, "off" never.
	Relay string `yaml:"relay"`
	// RelayRate is how many bytes per second are relayed for others, all
	// connections and directions together; 0 sets no limit.
	RelayRate flow.Bytes `yaml:"relay_rate"`
	// Reservations is with how many relays a slot is kept while this island is not
	// public; a public one keeps two, for holes in the Internet.
	Reservations int `yaml:"reservations"`
	// Punch allows hole punching. Without it a path through NATs stays relayed.
	Punch bool `yaml:"punch"`
}

// Default finds everything out by itself.
func Default() Config {
	return Config{Reachability: Auto, Relay: Auto, Reservations: 3, Punch: true}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if !slices.Contains([]string{Auto, Public, Private}, c.Reachability) {
		errs = append(errs, fmt.Errorf("reachability: %q must be auto, public or private", c.Reachability))
	}
	if !slices.Contains([]string{Auto, On, Off}, c.Relay) {
		errs = append(errs, fmt.Errorf("relay: %q must be auto, on or off", c.Relay))
	}
	if c.RelayRate < 0 || c.RelayRate > 0 && c.RelayRate < relayBuffer {
		errs = append(errs, fmt.Errorf("relay_rate: %s must be 0 for no limit, or at least %s per second", c.RelayRate, flow.Bytes(relayBuffer)))
	}
	if c.Reservations < 1 || c.Reservations > 16 {
		errs = append(errs, fmt.Errorf("reservations: %d must be from 1 to 16", c.Reservations))
	}
	return errors.Join(errs...)
}
