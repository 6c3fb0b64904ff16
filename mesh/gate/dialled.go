package gate

import (
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
)

// handed is a connection that this island dialled and handed to the swarm, which
// writes down that it came in.
type handed struct{ transport.CapableConn }

// As lets Dialled find it below the swarm's connection.
func (h handed) As(target any) bool {
	if t, ok := target.(*handed); ok {
		*t = h
		return true
	}
	return h.CapableConn.As(target)
}

// Stat is what the transport says, as that a relay carries so many bytes only.
func (h handed) Stat() network.ConnStats {
	if s, ok := h.CapableConn.(network.ConnStat); ok {
		return s.Stat()
	}
	return network.ConnStats{}
}

// Dialled reports whether this island made a connection. Of each, one end has: the
// swarm's own word is wrong about those that were handed to it.
func Dialled(c network.Conn) bool {
	var h handed
	return c.Stat().Direction == network.DirOutbound || c.As(&h)
}
