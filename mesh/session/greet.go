package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Protocol is the first thing said on a connection.
const Protocol = protocol.ID("/atoll/hello/1")

const (
	// Timeout is how long a peer may leave the other without its hello.
	Timeout = 10 * time.Second
	// MaxHello bounds one hello in bytes.
	MaxHello = 64 << 10
	// lastWord is how long a connection lives to carry the reason for its end.
	lastWord = 250 * time.Millisecond
)

var errKey = errors.New("the peer's key is not ed25519")

// Greet says hello on a connection and takes the answer. Who dialled does.
func (s *Sessions) Greet(ctx context.Context, c network.Conn) error {
	k, ok := ident.Key(c.RemotePeer())
	if !ok {
		return errKey
	}
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "hello"), Timeout)
	defer cancel()
	rw, stream, err := open(ctx, c)
	if err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = stream.Reset() })()
	sent := time.Now()
	if err := frame.Write(rw, MaxHello, s.hello(c.RemoteMultiaddr().Bytes())); err != nil {
		_ = stream.Reset()
		return fmt.Errorf("say hello: %w", err)
	}
	var answer meshpb.Hello
	if err := frame.Read(rw, MaxHello, &answer); err != nil {
		_ = stream.Reset()
		return fmt.Errorf("hear the answer to a hello: %w", err)
	}
	s.o.Heard(c, answer.GetObserved())
	refusal := s.hear(k, &answer, time.Since(sent)/2)
	if refusal != "" {
		_ = frame.Write(rw, MaxHello, s.refusal(refusal))
	}
	_ = stream.Close()
	return nil
}

// Answer handles a stream on which a peer says hello.
func (s *Sessions) Answer(stream network.Stream) {
	defer stream.Close()
	c := stream.Conn()
	k, ok := ident.Key(c.RemotePeer())
	if !ok {
		_ = stream.Reset()
		return
	}
	_ = stream.SetDeadline(time.Now().Add(Timeout))
	var h meshpb.Hello
	if err := frame.Read(stream, MaxHello, &h); err != nil {
		s.o.Met("malformed")
		s.o.Logger.Warn("hello could not be read", "peer", k, "err", err)
		_ = frame.Write(stream, MaxHello, s.refusal("the hello could not be read: "+err.Error()))
		return
	}
	if h.GetRefusal() != "" {
		s.hear(k, &h, 0)
		return
	}
	s.o.Heard(c, h.GetObserved())
	answer := s.hello(c.RemoteMultiaddr().Bytes())
	if refusal := s.hear(k, &h, 0); refusal != "" {
		answer = s.refusal(refusal)
	}
	if err := frame.Write(stream, MaxHello, answer); err != nil {
		s.o.Logger.Debug("hello could not be answered", "peer", k, "err", err)
		_ = stream.Reset()
		return
	}
	_ = stream.CloseWrite()
	// Who dialled may refuse the answer, and say so here.
	var last meshpb.Hello
	if err := frame.Read(stream, MaxHello, &last); err == nil && last.GetRefusal() != "" {
		s.hear(k, &last, 0)
	}
}

// Dismiss tells a peer why its connection ends, ends all else on it at once, and
// closes it after a quarter of a second unless the peer has done so before.
func (s *Sessions) Dismiss(c network.Conn, reason string) {
	defer c.Close()
	for _, old := range c.GetStreams() {
		if old.Protocol() != Protocol { // on which the reason may be under way
			_ = old.Reset()
		}
	}
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(context.Background(), "hello"), lastWord)
	defer cancel()
	rw, stream, err := open(ctx, c)
	if err != nil {
		return
	}
	_ = stream.SetDeadline(time.Now().Add(lastWord))
	if frame.Write(rw, MaxHello, s.refusal(reason)) != nil {
		_ = stream.Reset()
		return
	}
	_ = stream.CloseWrite()
	poll := time.NewTicker(lastWord / 25)
	defer poll.Stop()
	for !c.IsClosed() && ctx.Err() == nil {
		select {
		case <-poll.C:
		case <-ctx.Done():
		}
	}
	_ = stream.Reset()
}

func (s *Sessions) refusal(reason string) *meshpb.Hello {
	return &meshpb.Hello{Version: wire.Version, Oldest: wire.Oldest, Refusal: clip(reason)}
}

// open opens a stream on this very connection and names the protocol with the
// first bytes, which saves a round trip.
func open(ctx context.Context, c network.Conn) (io.ReadWriter, network.Stream, error) {
	stream, err := c.NewStream(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := stream.SetProtocol(Protocol); err != nil {
		_ = stream.Reset()
		return nil, nil, err
	}
	return mss.NewMSSelect(stream, Protocol), stream, nil
}
