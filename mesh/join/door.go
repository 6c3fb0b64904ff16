package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Protocol is what a guest speaks.
const Protocol = protocol.ID("/atoll/join/1")

// Limits of one conversation.
const (
	Timeout = 10 * time.Second
	// MaxRequest is far above what names, labels and keys take.
	MaxRequest = 64 << 10
	// MaxResponse holds all trust documents of some thousands of members.
	MaxResponse = 8 << 20
	places      = 64
	// maxStreams is how many streams a guest may open to find the right one.
	maxStreams = 8
	lingerFor  = time.Second
)

// Redeem answers the request of the guest with this key. A refusal belongs into
// the answer; an error is this island's own trouble.
type Redeem func(ctx context.Context, guest trust.Key, req *meshpb.JoinRequest) (*meshpb.JoinResponse, error)

// Door serves guests.
type Door struct {
	redeem Redeem
	log    *slog.Logger
	served func(outcome string)

	places chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex
	ctx    context.Context // of all conversations; nil once closed
	cancel context.CancelFunc
}

// NewDoor returns an open door. served is told the outcome of each conversation:
// admitted, refused, busy, malformed, failed.
func NewDoor(redeem Redeem, log *slog.Logger, served func(string)) *Door {
	d := &Door{redeem: redeem, log: log, served: served, places: make(chan struct{}, places)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Take begins a conversation in the background, or closes the connection where
// all places are taken.
func (d *Door) Take(c transport.CapableConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		_ = c.Close()
		return
	}
	select {
	case d.places <- struct{}{}:
	default:
		d.served("busy")
		_ = c.CloseWithError(network.ConnRateLimited)
		return
	}
	ctx := d.ctx
	d.wg.Go(func() {
		defer func() { <-d.places }()
		d.serve(ctx, c)
	})
}

// Close ends all conversations and waits for them.
func (d *Door) Close() {
	d.mu.Lock()
	d.ctx = nil
	d.mu.Unlock()
	d.cancel()
	d.wg.Wait()
}

func (d *Door) serve(ctx context.Context, c transport.CapableConn) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	defer c.Close()
	// AcceptStream takes no context. Who has waited in vain for its turn is told to
	// come again.
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = c.CloseWithError(network.ConnRateLimited)
			return
		}
		_ = c.Close()
	})()
	outcome, err := d.converse(ctx, c)
	d.served(outcome)
	level := slog.LevelDebug
	if outcome == "failed" {
		level = slog.LevelWarn
	}
	d.log.Log(ctx, level, "conversation with a guest", "guest", c.RemotePeer(), "address", c.RemoteMultiaddr(), "outcome", outcome, "err", err)
}

func (d *Door) converse(ctx context.Context, c transport.CapableConn) (outcome string, err error) {
	guest, ok := ident.Key(c.RemotePeer())
	if !ok {
		return "malformed", errors.New("serve a guest: its key is not ed25519")
	}
	s, err := d.stream(ctx, c)
	if err != nil {
		return "malformed", err
	}
	var req meshpb.JoinRequest
	if err := frame.Read(s, MaxRequest, &req); err != nil {
		_ = frame.Write(s, MaxResponse, &meshpb.JoinResponse{Refusal: "the request could not be read: " + err.Error()})
		linger(c, s)
		return "malformed", err
	}
	resp, err := d.redeem(ctx, guest, &req)
	if err != nil {
		// The guest learns that it was not its fault, the log what it was.
		resp = &meshpb.JoinResponse{Refusal: "this island could not answer because of trouble of its own: try again, or at another island"}
		outcome, err = "failed", fmt.Errorf("redeem an invitation: %w", err)
	} else if outcome = "admitted"; resp.GetRefusal() != "" {
		outcome = "refused"
	}
	if resp.Observed == nil {
		resp.Observed = c.RemoteMultiaddr().Bytes()
	}
	if werr := frame.Write(s, MaxResponse, resp); werr != nil {
		return "failed", errors.Join(err, fmt.Errorf("answer the guest: %w", werr))
	}
	linger(c, s)
	return outcome, err
}

// stream waits for the stream on which the guest speaks join. Guests built on a
// whole libp2p host try identify and the like first, and are told that there is none.
func (d *Door) stream(ctx context.Context, c transport.CapableConn) (network.MuxedStream, error) {
	mux := mss.NewMultistreamMuxer[protocol.ID]()
	mux.AddHandler(Protocol, nil)
	deadline, _ := ctx.Deadline()
	err := errors.New("it opened no stream")
	for range maxStreams {
		s, serr := c.AcceptStream()
		if serr != nil {
			return nil, fmt.Errorf("wait for the guest's stream: %w", errors.Join(err, serr))
		}
		_ = s.SetDeadline(deadline)
		if _, _, err = mux.Negotiate(s); err == nil {
			return s, nil
		}
		_ = s.Reset()
	}
	return nil, fmt.Errorf("agree with the guest on %s in %d streams: %w", Protocol, maxStreams, err)
}

// linger lets a guest read the answer and hang up before the connection is
// closed: closing TCP here throws away what is under way.
func linger(c transport.CapableConn, s network.MuxedStream) {
	_ = s.CloseWrite()
	t := time.AfterFunc(lingerFor, func() { _ = c.Close() })
	defer t.Stop()
	for range maxStreams { // none is answered any more
		other, err := c.AcceptStream()
		if err != nil {
			return
		}
		_ = other.Reset()
	}
}
