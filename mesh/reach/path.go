package reach

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

// Path is how bytes travel between this island and one peer now.
type Path struct {
	Connected bool
	Direct    bool
	// Transport is "quic" or "tcp"; of a relayed path that of the way to the relay.
	Transport string
	// Relay is who carries a relayed path.
	Relay peer.ID
	Since time.Time
	// Addr is the address at the other end.
	Addr ma.Multiaddr
	// Why says in words why a path is not direct; empty where it is.
	Why string
	// Attempts to punch since the relayed connection began, and when the next is due.
	Attempts int
	Next     time.Time
}

// Path describes the way to a peer; a direct connection is named before a relayed one.
func (r *Reach) Path(id peer.ID) Path {
	h := r.bound()
	if h == nil {
		return Path{}
	}
	conns := h.Network().ConnsToPeer(id)
	if len(conns) == 0 {
		return Path{Why: r.whyUnconnected(id)}
	}
	best := direct(conns)
	isDirect := best != nil
	if best == nil {
		best = conns[0]
	}
	p := Path{Connected: true, Direct: isDirect, Since: best.Stat().Opened, Addr: best.RemoteMultiaddr()}
	if isDirect {
		p.Transport = transportName(p.Addr)
		return p
	}
	relayPart, _ := ma.SplitFunc(p.Addr, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	way, relay := peer.SplitAddr(relayPart)
	p.Relay = relay
	if way != nil {
		p.Transport = transportName(way)
	}
	p.Why, p.Attempts, p.Next = r.why(id, conns)
	return p
}

// Why says in words why the path to a peer is not direct, or "" where it is.
func (r *Reach) Why(id peer.ID) string { return r.Path(id).Why }

func (r *Reach) whyUnconnected(id peer.ID) string {
	if len(r.bound().Peerstore().Addrs(id)) == 0 {
		return "no address is known for " + r.name(id)
	}
	return ""
}

func (r *Reach) why(id peer.ID, conns []network.Conn) (string, int, time.Time) {
	who := r.name(id)
	if !r.opts.Config.Punch {
		return "punching is turned off here", 0, time.Time{}
	}
	w, _ := r.punch.row(id)
	protos, err := r.bound().Peerstore().SupportsProtocols(id, holepunch.Protocol)
	switch {
	case len(r.punchAddrs()) == 0:
		return "no address is known under which peers could reach this island", w.attempts, w.next
	case err == nil && len(protos) == 0 && r.identified(conns):
		return who + " allows relay only, or knows no address of its own", w.attempts, w.next
	}
	_, initiator := turn(r.bound().ID(), id, conns)
	return words(who, w, r.ownNAT(), symmetricPorts(w.theirs), initiator), w.attempts, w.next
}

// identified reports whether the peer has said by now what it speaks.
func (r *Reach) identified(conns []network.Conn) bool {
	for _, c := range conns {
		protos, err := r.bound().Peerstore().GetProtocols(c.RemotePeer())
		if err == nil && len(protos) > 0 {
			return true
		}
	}
	return false
}

// words turns what was tried into a sentence.
func words(who string, w row, own nat, theirsSymmetric, initiator bool) string {
	switch {
	case strings.Contains(w.err, "didn't receive any public addresses"), strings.Contains(w.err, "at least one address"):
		return "no public address known for " + who
	case w.attempts == 0 && w.err != "":
		return fmt.Sprintf("punching with %s could not begin: %s", who, w.err)
	case w.attempts == 0 && w.dialErr != "":
		return fmt.Sprintf("dialling %s directly did not work: %s", who, oneLine(w.dialErr))
	case w.attempts == 0 && !initiator:
		return "waiting for " + who + " to begin punching"
	case w.attempts == 0:
		return "punching has not been tried yet"
	}
	text := fmt.Sprintf("punch failed %s over %s, last: %s", times(w.attempts), transports(w.theirs), oneLine(w.err))
	switch {
	case own == natSymmetric && theirsSymmetric:
		return "both sides are behind symmetric NATs; " + text
	case own == natSymmetric:
		return "this island is behind a symmetric NAT; " + text
	case theirsSymmetric:
		return who + " is behind a symmetric NAT; " + text
	}
	return text
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func transports(addrs []ma.Multiaddr) string {
	var names []string
	for _, a := range addrs {
		if n := transportName(a); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "all transports"
	}
	return strings.Join(names, " and ")
}

// oneLine shortens a dial error, which lists every address on its own line, to
// its first reason.
func oneLine(s string) string {
	lines := strings.Split(s, "\n")
	out := lines[0]
	for _, l := range lines[1:] {
		if l = strings.TrimSpace(l); l != "" {
			out += " " + l
			break
		}
	}
	const limit = 200
	if len(out) > limit {
		out = out[:limit] + "…"
	}
	return out
}
