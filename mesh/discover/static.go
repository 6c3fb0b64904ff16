package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	mss "github.com/multiformats/go-multistream"
)

// maxStatic is the longest address worth reading, in bytes.
const maxStatic = 512

// Static is one address from the configuration.
type Static struct {
	// Who is the member's name, or "".
	Who string
	// ID is the member's key, or "".
	ID peer.ID
	// Addrs can be dialled; a bare host:port stands for QUIC and TCP.
	Addrs []ma.Multiaddr
}

// ParseStatic reads "host:port", "name@host:port", "[::1]:59443" or a multiaddr,
// with or without "/p2p/<key>" at its end.
func ParseStatic(s string) (Static, error) {
	if len(s) > maxStatic {
		return Static{}, fmt.Errorf("address of %d characters: at most %d", len(s), maxStatic)
	}
	if strings.HasPrefix(s, "/") {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return Static{}, fmt.Errorf("%q is no multiaddr like /dns/site.example/tcp/59443: %w", s, err)
		}
		way, id := peer.SplitAddr(a)
		if way == nil {
			return Static{}, fmt.Errorf("%q names a key but no address; write /ip4/…/tcp/…/p2p/<key>", s)
		}
		if !dialable(way) {
			return Static{}, fmt.Errorf("%q must be QUIC or TCP, like /ip4/…/udp/59443/quic-v1 or /dns/…/tcp/59443", s)
		}
		return Static{ID: id, Addrs: []ma.Multiaddr{way}}, nil
	}
	who, hostport, named := strings.Cut(s, "@")
	if !named {
		who, hostport = "", s
	} else if who == "" {
		return Static{}, fmt.Errorf("%q: a member's name must stand before the @", s)
	}
	addrs, err := hostPort(hostport)
	return Static{Who: who, Addrs: addrs}, err
}

// dialable reports whether the address ends in a transport that islands speak,
// over this machine's own way or a relay's.
func dialable(a ma.Multiaddr) bool {
	if len(a) == 0 {
		return false
	}
	switch a[len(a)-1].Protocol().Code {
	case ma.P_TCP, ma.P_QUIC_V1, ma.P_CIRCUIT:
		return true
	}
	return false
}

func hostPort(s string) ([]ma.Multiaddr, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no host:port like site.example:59443: %w", s, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q: port %q must be from 1 to 65535", s, port)
	}
	kind := "dns"
	if ip := net.ParseIP(host); ip != nil {
		kind = "ip6"
		if ip4 := ip.To4(); ip4 != nil {
			kind, host = "ip4", ip4.String()
		}
	}
	var out []ma.Multiaddr
	head, err := ma.NewComponent(kind, host)
	if err != nil {
		return nil, fmt.Errorf("%q: %q is neither an IP nor a host name: %w", s, host, err)
	}
	for _, tail := range []string{"/udp/%d/quic-v1", "/tcp/%d"} {
		rest, err := ma.NewMultiaddr(fmt.Sprintf(tail, n))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		out = append(out, head.Encapsulate(rest))
	}
	return out, nil
}

// whoIs asks who listens at an address, by a Noise handshake over TCP that is
// ended when the key is proved. The other side sees a member that changed its mind.
func whoIs(ctx context.Context, key crypto.PrivKey, s Static) (peer.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, a := range s.Addrs {
		network, addr, err := dialArgs(a)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			continue
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		if t, ok := ctx.Deadline(); ok {
			if err := conn.SetDeadline(t); err != nil {
				return "", fmt.Errorf("limit the time of a handshake with %s: %w", addr, err)
			}
		}
		if err := mss.SelectProtoOrFail(noise.ID, conn); err != nil {
			return "", fmt.Errorf("%s speaks no Noise: %w", addr, err)
		}
		transport, err := noise.New(noise.ID, key, nil)
		if err != nil {
			return "", err
		}
		// Whoever answers proves its key; only that it is an expected one is not asked.
		secure, err := transport.WithSessionOptions(noise.DisablePeerIDCheck())
		if err != nil {
			return "", err
		}
		sc, err := secure.SecureOutbound(ctx, conn, "")
		if err != nil {
			return "", fmt.Errorf("handshake with %s: %w", addr, err)
		}
		return sc.RemotePeer(), nil
	}
	return "", errors.New("without a TCP address the key cannot be asked for; write name@host:port")
}

// dialArgs is manet.DialArgs that leaves names to the resolver of net.
func dialArgs(a ma.Multiaddr) (network, addr string, err error) {
	if host, err := a.ValueForProtocol(ma.P_DNS); err == nil {
		if port, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			return "tcp", net.JoinHostPort(host, port), nil
		}
	}
	return manet.DialArgs(a)
}
