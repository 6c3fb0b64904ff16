package mesh

import (
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"port: 70000: must be 0 to 65535":                                func(c *Config) { c.Port = 70000 },
		"addresses: none":                                                func(c *Config) { c.Addresses = nil },
		`addresses: "localhost": must be an IP`:                          func(c *Config) { c.Addresses = []string{"localhost"} },
		`transports: "udp": must be "quic" or "tcp"`:                     func(c *Config) { c.Transports = []string{"udp"} },
		"transports: none":                                               func(c *Config) { c.Transports = nil },
		`announce[0]: "site.example" is no host:port`:                    func(c *Config) { c.Announce = []string{"site.example"} },
		`announce[1]: "me@site.example:1": is this island's own address`: func(c *Config) { c.Announce = []string{"site.example:1", "me@site.example:1"} },
		"connections: 3: must be 64 to 100000":                           func(c *Config) { c.Connections = 3 },
		"reachability":                                                   func(c *Config) { c.Reach.Reachability = "perhaps" },
		"neighbours":                                                     func(c *Config) { c.Discovery.Neighbours = 0 },
		"queue: 0":                                                       func(c *Config) { c.Gossip.Queue = 0 },
		"peer_rate":                                                      func(c *Config) { c.RPC.PeerRate = 0 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
