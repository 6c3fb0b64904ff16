package mesh

import (
	"errors"
	"fmt"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/discover"
	"github.com/atoll-mesh/atoll/mesh/gossip"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/rpc"
)

// Port is where islands listen unless told otherwise, UDP and TCP.
const Port = 59443

// Config is the `mesh` section of the configuration file.
type Config struct {
	// Port for QUIC (UDP) and TCP; 0 lets the system choose one, the same for both.
	Port int `yaml:"port"`
	// Addresses are the IPs to listen on.
	Addresses []string `yaml:"addresses"`
	// Transports are "quic" and "tcp".
	Transports []string `yaml:"transports"`
	// Announce replaces the addresses that others are told, for port forwards and
	// load balancers: "site.example:59443" stands for QUIC and TCP there, a multiaddr
	// as "/dns4/site.example/tcp/59443" for one of them.
	Announce []string `yaml:"announce,omitempty"`
	// Reach has reachability, relay and what goes with them.
	Reach reach.Config `yaml:",inline"`
	// Discovery is who to stay connected with, and how others are found.
	Discovery discover.Config `yaml:",inline"`
	// Connections is how many connections may be open at once.
	Connections int `yaml:"connections"`
	// Gossip bounds announcements, RPC what calls may take.
	Gossip gossip.Config `yaml:"gossip"`
	RPC    rpc.Limits    `yaml:"rpc"`
}

// Default returns what holds where the file says nothing.
func Default() Config {
	return Config{
		Port:        Port,
		Addresses:   []string{"0.0.0.0", "::"},
		Transports:  []string{"quic", "tcp"},
		Discovery:   discover.Default(),
		Reach:       reach.Default(),
		Connections: 2048,
		Gossip:      gossip.Default(),
		RPC:         rpc.Default(),
	}
}

// Validate reports every setting that cannot be.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, got any, rule string) {
		errs = append(errs, fmt.Errorf("mesh.%s: %v: %s", field, got, rule))
	}
	if c.Port < 0 || c.Port > 65535 {
		bad("port", c.Port, "must be 0 to 65535")
	}
	if len(c.Addresses) == 0 {
		bad("addresses", "none", `give at least one IP, "0.0.0.0" for all of IPv4`)
	}
	for _, a := range c.Addresses {
		if _, err := netip.ParseAddr(a); err != nil {
			bad("addresses", fmt.Sprintf("%q", a), "must be an IP of this machine, without a port")
		}
	}
	if len(c.Transports) == 0 {
		bad("transports", "none", `must have "quic", "tcp" or both`)
	}
	for _, t := range c.Transports {
		if t != "quic" && t != "tcp" {
			bad("transports", fmt.Sprintf("%q", t), `must be "quic" or "tcp"`)
		}
	}
	if _, err := c.announced(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.Discovery.Validate(), c.Reach.Validate(), c.Gossip.Validate(), c.RPC.Validate())
	if c.Connections < 64 || c.Connections > 100_000 {
		bad("connections", c.Connections, "must be 64 to 100000")
	}
	return errors.Join(errs...)
}

// announced are the addresses of Announce.
func (c Config) announced() ([]ma.Multiaddr, error) {
	var (
		out  []ma.Multiaddr
		errs []error
	)
	for i, a := range c.Announce {
		switch at, err := discover.ParseStatic(a); {
		case err != nil:
			errs = append(errs, fmt.Errorf("mesh.announce[%d]: %w", i, err))
		case at.Who != "" || at.ID != "":
			errs = append(errs, fmt.Errorf("mesh.announce[%d]: %q: is this island's own address and takes no name or key", i, a))
		default:
			out = append(out, at.Addrs...)
		}
	}
	return out, errors.Join(errs...)
}
