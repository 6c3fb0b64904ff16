package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

// TestFailedDialIsOneLine dials a member that is gone, over real sockets.
func TestFailedDialIsOneLine(t *testing.T) {
	var w town
	a := w.island(t, nil)
	gone := hosttest.New(t, &w.Roster, nil)
	nobody := addrsOf(gone)
	gone.Close()
	w.tell(gone.ID(), "gone", nobody)
	err := a.Dial(t.Context(), gone.ID())
	if err == nil {
		t.Fatal("somebody answered")
	}
	text := err.Error()
	if !strings.Contains(text, "no address answered: ") || !strings.Contains(text, "tcp 127.0.0.1:") || strings.Contains(text, "\n") ||
		strings.Contains(text, "failed to") || strings.Contains(text, "circuit") || strings.Count(text, gone.ID().String()) > 1 {
		t.Errorf("error %q, want one short line that names each address", text)
	}
	var failed *swarm.DialError
	if !errors.As(err, &failed) || !errors.Is(err, swarm.ErrAllDialsFailed) {
		t.Errorf("error %v: what libp2p said is not in it", err)
	}
}

func TestBrief(t *testing.T) {
	at := func(s string, err error) swarm.TransportError {
		return swarm.TransportError{Address: ma.StringCast(s), Cause: err}
	}
	relay := "/ip4/11.0.0.1/tcp/59443/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit"
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"connection refused by a test": errors.New("connection refused by a test"),
		"no address answered: tcp 11.0.0.1:59443: connection refused; quic [2001:db8::1]:59443: no answer": &swarm.DialError{
			Cause: swarm.ErrAllDialsFailed, DialErrors: []swarm.TransportError{
				at("/ip4/11.0.0.1/tcp/59443", refused), at("/ip6/2001:db8::1/udp/59443/quic-v1", context.DeadlineExceeded),
			},
		},
		"no address answered: relay c6iDEp: no reservation": &swarm.DialError{
			DialErrors: []swarm.TransportError{at(relay, errors.New("no reservation\nand much more"))},
		},
		"no address answered: tcp 11.0.0.1:1: given up; tcp 11.0.0.1:2: given up; tcp 11.0.0.1:3: given up; tcp 11.0.0.1:4: given up; and 3 more": &swarm.DialError{
			Skipped: 2, DialErrors: []swarm.TransportError{
				at("/ip4/11.0.0.1/tcp/1", context.Canceled), at("/ip4/11.0.0.1/tcp/2", context.Canceled), at("/ip4/11.0.0.1/tcp/3", context.Canceled),
				at("/ip4/11.0.0.1/tcp/4", context.Canceled), at("/ip4/11.0.0.1/tcp/5", context.Canceled),
			},
		},
		"no address is known that can be dialled from here": &swarm.DialError{Cause: swarm.ErrNoGoodAddresses},
	} {
		wrapped := fmt.Errorf("failed to dial: %w", err)
		got := brief(wrapped)
		if text := strings.TrimPrefix(got.Error(), "failed to dial: "); text != want {
			t.Errorf("%q, want %q", text, want)
		}
		if !errors.Is(got, err) {
			t.Errorf("%q does not lead to its cause", got)
		}
	}
}
