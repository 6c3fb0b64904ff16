package gossip

import (
	"errors"
	"fmt"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
)

const (
	// MaxBytes is the largest announcement.
	MaxBytes = 8 << 10
	// SeenFor is how long a message is remembered as heard, so that a replay within
	// it goes nowhere. A later one costs one comparison of digests.
	SeenFor = 10 * time.Minute

	// maxRPC bounds one frame between neighbours, which may carry several messages.
	maxRPC = 128 << 10
	// maxAuthors bounds the limiters kept; the roster bounds who can have one.
	maxAuthors = 4096
)

// Config bounds what gossip may cost.
type Config struct {
	// AuthorRate is how many announcements per second of one author are heard in
	// the long run; AuthorBurst how many at once.
	AuthorRate  float64 `yaml:"author_rate"`
	AuthorBurst int     `yaml:"author_burst"`
	// NeighbourRate and NeighbourBurst bound what one neighbour may forward, from
	// all authors together: beyond it signatures are not even checked.
	NeighbourRate  float64 `yaml:"neighbour_rate"`
	NeighbourBurst int     `yaml:"neighbour_burst"`
	// Queue is how many announcements may wait to be sent, and to be delivered.
	Queue int `yaml:"queue"`
}

// Default suits 2 to 1,000 islands.
func Default() Config {
	return Config{AuthorRate: 5, AuthorBurst: 50, NeighbourRate: 200, NeighbourBurst: 1000, Queue: 256}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	positive := func(field string, v float64) {
		if !(v > 0 && v <= 1e6) {
			errs = append(errs, fmt.Errorf("%s: %v must be above 0 and at most 1000000", field, v))
		}
	}
	positive("author_rate", c.AuthorRate)
	positive("author_burst", float64(c.AuthorBurst))
	positive("neighbour_rate", c.NeighbourRate)
	positive("neighbour_burst", float64(c.NeighbourBurst))
	positive("queue", float64(c.Queue))
	return errors.Join(errs...)
}

// params are gossipsub's, for links of 1 to 300 ms and a graph of some 8 to 32
// connections per island:
//   - D 6 of at most 12 keeps 1,000 islands within 4 to 5 hops;
//   - Dlo 4 lets a small or sparse graph rest instead of grafting in vain;
//   - a history of 10 heartbeats, 6 of them offered, repairs what a link lost
//     while TCP was retransmitting or a path was being replaced;
//   - over a new edge messages of others flow after the next heartbeat, at most a
//     second later; who connects compares documents anyway;
//   - a pruned neighbour may come back after 15 s instead of a minute, for a
//     graph whose edges are chosen by the neighbour keeper and not by us.
func params() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dscore, p.Dout = 6, 4, 12, 4, 2
	p.Dlazy = 6
	p.HistoryLength, p.HistoryGossip = 10, 6
	p.HeartbeatInterval = time.Second
	p.PruneBackoff = 15 * time.Second
	p.MaxIHaveLength = 1000
	p.Connectors = 1 // the neighbour keeper connects, the router never does
	return p
}
