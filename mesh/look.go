package mesh

import (
	"context"
	"time"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/pulse"
	"github.com/atoll-mesh/atoll/trust"
)

// Look finds out whether a member can be reached, and its round-trip time. A
// connection that answered a probe within two of their intervals is not asked
// again: looking at a healthy neighbour costs no packet.
func (m *Mesh) Look(ctx context.Context, k trust.Key) (time.Duration, error) {
	select {
	case <-m.ready:
	default:
		return 0, ErrNotReady
	}
	if c := m.best(ident.Peer(k), false); c != nil {
		if v := m.pulse.Of(c); !v.Suspect && time.Since(v.Answered) < 2*pulse.Interval {
			return v.RTT, nil
		}
	}
	pongs, err := m.Ping(ctx, k, 1)
	switch {
	case err != nil:
		return 0, err
	case len(pongs) != 1:
		return 0, ErrUnreachable
	}
	return pongs[0].RTT, pongs[0].Err
}
