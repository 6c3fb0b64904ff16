// Package traffic counts the bytes of streams by peer.
//
// In: libp2p's reports of each read and write. Out: totals and sums per peer.
// Guaranteed: counting takes two atomic additions; peers are forgotten when told,
// so that the roster bounds what is kept. It stands in for libp2p's
// BandwidthCounter, whose meters share a process-wide goroutine.
package traffic

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Counter implements metrics.Reporter. The zero value is ready.
type Counter struct {
	total sums
	peers sync.Map // peer.ID → *sums
}

type sums struct{ in, out atomic.Int64 }

var _ metrics.Reporter = (*Counter)(nil)

// Total returns the bytes of all streams, in and out.
func (c *Counter) Total() (in, out int64) { return c.total.in.Load(), c.total.out.Load() }

// Of returns the bytes of a peer's streams since it was first seen.
func (c *Counter) Of(p peer.ID) (in, out int64) {
	if v, ok := c.peers.Load(p); ok {
		return v.(*sums).in.Load(), v.(*sums).out.Load()
	}
	return 0, 0
}

// Forget drops a peer's sums.
func (c *Counter) Forget(p peer.ID) { c.peers.Delete(p) }

func (c *Counter) of(p peer.ID) *sums {
	if v, ok := c.peers.Load(p); ok {
		return v.(*sums)
	}
	v, _ := c.peers.LoadOrStore(p, &sums{})
	return v.(*sums)
}

// LogSentMessage is metrics.Reporter's.
func (c *Counter) LogSentMessage(n int64) { c.total.out.Add(n) }

// LogRecvMessage is metrics.Reporter's.
func (c *Counter) LogRecvMessage(n int64) { c.total.in.Add(n) }

// LogSentMessageStream is metrics.Reporter's.
func (c *Counter) LogSentMessageStream(n int64, _ protocol.ID, p peer.ID) { c.of(p).out.Add(n) }

// LogRecvMessageStream is metrics.Reporter's.
func (c *Counter) LogRecvMessageStream(n int64, _ protocol.ID, p peer.ID) { c.of(p).in.Add(n) }

// GetBandwidthForPeer is metrics.Reporter's; rates are not kept.
func (c *Counter) GetBandwidthForPeer(p peer.ID) metrics.Stats {
	in, out := c.Of(p)
	return metrics.Stats{TotalIn: in, TotalOut: out}
}

// GetBandwidthForProtocol is metrics.Reporter's; nothing is kept by protocol.
func (c *Counter) GetBandwidthForProtocol(protocol.ID) metrics.Stats { return metrics.Stats{} }

// GetBandwidthTotals is metrics.Reporter's; rates are not kept.
func (c *Counter) GetBandwidthTotals() metrics.Stats {
	in, out := c.Total()
	return metrics.Stats{TotalIn: in, TotalOut: out}
}

// GetBandwidthByPeer is metrics.Reporter's.
func (c *Counter) GetBandwidthByPeer() map[peer.ID]metrics.Stats {
	all := map[peer.ID]metrics.Stats{}
	c.peers.Range(func(p, _ any) bool {
		all[p.(peer.ID)] = c.GetBandwidthForPeer(p.(peer.ID))
		return true
	})
	return all
}

// GetBandwidthByProtocol is metrics.Reporter's; nothing is kept by protocol.
func (c *Counter) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats { return nil }

// Reset is metrics.Reporter's; nothing is reset, for counters only grow.
func (c *Counter) Reset() {}

// TrimIdle is metrics.Reporter's; Forget does it.
func (c *Counter) TrimIdle(time.Time) {}
