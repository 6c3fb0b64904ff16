package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/ident"
)

// maxTold bounds how many addresses one line names.
const maxTold = 4

// unreached is libp2p's account of a failed dial in one short line.
type unreached struct {
	text  string
	cause error
}

func (u *unreached) Error() string { return u.text }
func (u *unreached) Unwrap() error { return u.cause }

// brief says in one line which addresses were tried and how each failed; other
// errors it leaves as they are.
func brief(err error) error {
	var failed *swarm.DialError
	if !errors.As(err, &failed) {
		return err
	}
	tried := slices.DeleteFunc(slices.Clone(failed.DialErrors), func(e swarm.TransportError) bool {
		return len(e.Address) == 1 // a bare /p2p-circuit leads nowhere
	})
	var told []string
	for _, e := range tried[:min(len(tried), maxTold)] {
		told = append(told, shown(e.Address)+": "+reason(e.Cause))
	}
	if more := len(tried) + failed.Skipped - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	if len(told) == 0 {
		return &unreached{reason(failed.Cause), err}
	}
	return &unreached{"no address answered: " + strings.Join(told, "; "), err}
}

// shown names an address as people write it: "tcp 192.0.2.1:59443", or "relay"
// with the end of its key.
func shown(a ma.Multiaddr) string {
	if ident.Relayed(a) {
		for _, c := range a {
			if c.Protocol().Code == ma.P_P2P { // the first is the relay's
				id := c.Value()
				return "relay " + id[max(0, len(id)-6):]
			}
		}
	}
	host, transport, port := "", "", ""
	for _, c := range a {
		switch c.Protocol().Code {
		case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
			host = c.Value()
		case ma.P_TCP, ma.P_UDP:
			transport, port = c.Protocol().Name, c.Value()
		case ma.P_QUIC_V1:
			transport = "quic"
		}
	}
	if host == "" || port == "" {
		return a.String()
	}
	return transport + " " + net.JoinHostPort(host, port)
}

func reason(err error) string {
	var code syscall.Errno
	var slow net.Error
	switch {
	case err == nil:
		return "no reason is known"
	case errors.Is(err, swarm.ErrNoAddresses), errors.Is(err, swarm.ErrNoGoodAddresses), errors.Is(err, swarm.ErrAllDialsFailed):
		return "no address is known that can be dialled from here"
	case errors.Is(err, swarm.ErrGaterDisallowedConnection):
		return "it is no member"
	case errors.As(err, &code):
		return code.Error()
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return "no answer"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}
