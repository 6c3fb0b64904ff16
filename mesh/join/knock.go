package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Why a guest was not served. Errors of Knock wrap one of them.
var (
	// ErrNobody: no island in the token answered.
	ErrNobody = errors.New("nobody answered")
	// ErrUnknown: islands answered and hung up.
	ErrUnknown = errors.New("no island knows this invitation")
	// ErrRefused: an island knows the invitation and says why it is no good.
	ErrRefused = errors.New("refused")
)

// patience is how long other islands are still asked after one refused.
const patience = time.Second

// busyWait is about how long a guest waits where there are too many.
const busyWait = time.Second

// attempt is one address of one island.
type attempt struct {
	peer peer.ID
	addr ma.Multiaddr
	conn transport.CapableConn
	err  error
}

func (a attempt) String() string { return a.addr.String() + " " + ident.Short(a.peer) }

// Knock asks the islands that a token names to redeem it: all their addresses
// are dialled at once over QUIC and TCP, the first connection is asked first,
// and the next where an island hangs up. Over QUIC an answer takes two round
// trips besides the island's own time.
//
// Where the islands that are reached have too many guests, as when a whole site joins
// by one token, it knocks again until ctx ends.
func Knock(ctx context.Context, token trust.Token, req *meshpb.JoinRequest, log *slog.Logger) (*meshpb.JoinResponse, error) {
	for {
		resp, busy, err := knockOnce(ctx, token, req, log)
		if err == nil || !busy {
			return resp, err
		}
		select {
		case <-time.After(busyWait/2 + rand.N(busyWait)):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func knockOnce(ctx context.Context, token trust.Token, req *meshpb.JoinRequest, log *slog.Logger) (resp *meshpb.JoinResponse, busy bool, err error) {
	g, err := newGuest(token.Guest())
	if err != nil {
		return nil, false, err
	}
	defer g.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	targets := resolve(ctx, token.Bootstrap)
	if len(targets) == 0 {
		return nil, false, fmt.Errorf("knock: %w: the token names no address that QUIC or TCP could reach; make a new one on an island that others can reach", ErrNobody)
	}
	dialled := make(chan attempt, len(targets))
	for _, t := range targets {
		g.wg.Go(func() {
			t.conn, t.err = g.dial(ctx, t.addr, t.peer)
			dialled <- t
		})
	}
	k := knock{guest: g, req: req, log: log, pending: len(targets)}
	defer k.drain(cancel, dialled)
	resp, err = k.run(ctx, dialled)
	return resp, k.busy && k.refusal == nil, err
}

type knock struct {
	guest   *guestHost
	req     *meshpb.JoinRequest
	log     *slog.Logger
	pending int // dials under way
	failed  []string
	hungUp  []string
	refusal error
	busy    bool // an island had no room for one more guest
}

func (k *knock) run(ctx context.Context, dialled <-chan attempt) (*meshpb.JoinResponse, error) {
	var late <-chan time.Time
	for k.pending > 0 {
		var a attempt
		select {
		case a = <-dialled:
			k.pending--
		case <-late:
			return nil, k.outcome(nil)
		case <-ctx.Done():
			return nil, k.outcome(ctx.Err())
		}
		if a.err != nil {
			k.log.Debug("island could not be reached", "address", a.addr, "err", a.err)
			k.busy = k.busy || crowded(a.err)
			k.failed = append(k.failed, fmt.Sprintf("%s: %v", a, a.err))
			continue
		}
		resp, err := k.ask(ctx, a)
		switch {
		case err != nil:
			k.log.Debug("island hung up", "address", a.addr, "err", err)
			k.busy = k.busy || crowded(err) || overdue(err)
			k.hungUp = append(k.hungUp, fmt.Sprintf("%s: %v", a, err))
		case resp.GetRefusal() != "":
			if k.refusal == nil {
				k.refusal = fmt.Errorf("knock: %w by %s: %s", ErrRefused, a, resp.GetRefusal())
				late = time.After(patience)
			}
		default:
			k.log.Debug("invitation redeemed", "address", a.addr)
			return resp, nil
		}
	}
	return nil, k.outcome(ctx.Err())
}

// quicQueueFull is what libp2p's QUIC listener closes a connection with while 16
// others wait to be accepted.
const quicQueueFull network.ConnErrorCode = 1

// crowded reports whether the other side closed the connection for want of room.
func crowded(err error) bool {
	var closed *network.ConnError
	return errors.As(err, &closed) && closed.Remote &&
		(closed.ErrorCode == network.ConnRateLimited || closed.ErrorCode == network.ConnResourceLimitExceeded || closed.ErrorCode == quicQueueFull)
}

// overdue reports whether no answer came in time: admission goes one by one, and
// asking again with the same key is the same as having waited.
func overdue(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// ask sends the request and its protocol's name in one flight.
func (k *knock) ask(ctx context.Context, a attempt) (*meshpb.JoinResponse, error) {
	defer a.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = a.conn.Close() })()
	s, err := a.conn.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	deadline, _ := ctx.Deadline()
	_ = s.SetDeadline(deadline)
	rw := mss.NewMSSelect(s, Protocol)
	if err := frame.Write(rw, MaxRequest, k.req); err != nil {
		return nil, err
	}
	var resp meshpb.JoinResponse
	if err := frame.Read(rw, MaxResponse, &resp); err != nil {
		// Who does not know the guest hangs up at once; later it is for want of time,
		// whichever side noticed first and whatever a reset connection lets through.
		if time.Until(deadline) < Timeout/2 {
			err = errors.Join(err, context.DeadlineExceeded)
		}
		return nil, err
	}
	_ = s.Close()
	return &resp, nil
}

// outcome says in one error what a person should know.
func (k *knock) outcome(cause error) error {
	switch {
	case k.refusal != nil:
		return k.refusal
	case errors.Is(cause, context.Canceled):
		return &caused{fmt.Errorf("knock: %w before it was stopped; the same token may be used again", ErrNobody), cause}
	case len(k.hungUp) > 0:
		return fmt.Errorf("knock: %w: the islands below closed the connection; the token may be of another network, its invitation withdrawn, or so new that they have not heard of it yet; nobody answered at the other addresses\n%s",
			ErrUnknown, strings.Join(append(k.hungUp, k.failed...), "\n"))
	default:
		err := fmt.Errorf("knock: %w at any address in the token; check that one of these islands runs and that its port is open for UDP or TCP\n%s",
			ErrNobody, strings.Join(k.failed, "\n"))
		return &caused{err, cause}
	}
}

// caused is an error with a cause that tells people nothing.
type caused struct {
	error
	cause error
}

func (c *caused) Unwrap() []error { return []error{c.error, c.cause} }

// drain closes connections that came too late to be asked.
func (k *knock) drain(cancel context.CancelFunc, dialled <-chan attempt) {
	cancel()
	for ; k.pending > 0; k.pending-- {
		if a := <-dialled; a.conn != nil {
			_ = a.conn.CloseWithError(network.ConnNoError)
		}
	}
}

// maxTargets bounds how many dials one token can set off.
const maxTargets = 64

// resolve lists every address of a token once, names looked up.
func resolve(ctx context.Context, bootstrap []trust.Bootstrap) []attempt {
	ctx, cancel := context.WithTimeout(ctx, Timeout/2)
	defer cancel()
	var out []attempt
	seen := map[string]bool{}
	for _, b := range bootstrap {
		p := ident.Peer(b.Key)
		for _, raw := range b.Addresses {
			a, err := ma.NewMultiaddrBytes(raw)
			if err != nil {
				continue
			}
			addrs := []ma.Multiaddr{a}
			if madns.Matches(a) {
				addrs, _ = madns.Resolve(ctx, a)
			}
			for _, a := range addrs {
				if key := string(p) + string(a.Bytes()); !seen[key] && dialable(a) && len(out) < maxTargets {
					seen[key] = true
					out = append(out, attempt{peer: p, addr: a})
				}
			}
		}
	}
	return out
}
