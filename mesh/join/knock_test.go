package join

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// TestKnockStopped has a person lose patience with a port that accepts and says
// nothing.
func TestKnockStopped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		cancel()
		if err == nil {
			accepted <- c
		}
	}()
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	var keys [2]trust.PrivateKey
	for i := range keys {
		if keys[i], err = trust.NewKey(); err != nil {
			t.Fatal(err)
		}
	}
	token := trust.Token{
		Network: trust.NetworkOf(keys[0].Public()), GuestSeed: [32]byte(keys[0].Seed()), Expires: time.Now().Add(time.Hour),
		Bootstrap: []trust.Bootstrap{{Key: keys[1].Public(), Addresses: [][]byte{addr.Bytes()}}},
	}
	_, err = Knock(ctx, token, &meshpb.JoinRequest{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrNobody) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want it to be both %q and %q", err, ErrNobody, context.Canceled)
	}
	if err == nil || strings.Contains(err.Error(), "canceled") || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("error %q: want it in words", err)
	}
	(<-accepted).Close()
}
