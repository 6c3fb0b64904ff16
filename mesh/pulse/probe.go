package pulse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-yamux/v5"
	mss "github.com/multiformats/go-multistream"
)

// Probe measures one round trip over this very connection: by a ping of Yamux
// where it runs over one (12 bytes each way before encryption), else by libp2p's
// ping protocol. Both are answered by every implementation, whatever the standing.
func Probe(ctx context.Context, c network.Conn) (rtt time.Duration, err error) {
	var session *yamux.Session
	if as, ok := c.(interface{ As(any) bool }); ok && as.As(&session) {
		rtt, err = yamuxPing(ctx, session)
	} else {
		rtt, err = streamPing(ctx, c)
	}
	if err != nil && c.IsClosed() {
		err = &closedError{err}
	}
	return rtt, err
}

// closedError speaks for what the layers below say of a connection that ends
// under a ping, each in its own way.
type closedError struct{ cause error }

func (*closedError) Error() string {
	return "ping: the connection was closed before the answer came; the next one is sent over another"
}

func (e *closedError) Unwrap() error { return e.cause }

func yamuxPing(ctx context.Context, s *yamux.Session) (time.Duration, error) {
	type result struct {
		rtt time.Duration
		err error
	}
	done := make(chan result, 1)
	start := time.Now()
	go func() { // ends with the session, or after Yamux' own timeout of 10 s
		rtt, err := s.Ping()
		done <- result{rtt, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return 0, fmt.Errorf("ping: %w", r.err)
		}
		return r.rtt, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("ping: no answer after %s: %w", time.Since(start).Round(time.Millisecond), ctx.Err())
	}
}

func streamPing(ctx context.Context, c network.Conn) (time.Duration, error) {
	s, err := c.NewStream(network.WithAllowLimitedConn(ctx, "ping"))
	if err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	defer func() { _ = s.Reset() }() // nothing is under way after the answer
	if err := s.SetProtocol(ping.ID); err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	// A deadline of the stream could pass before that of ctx, as which it counts.
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	var sent, got [ping.PingSize]byte
	start := time.Now()
	for i := range sent {
		sent[i] = byte(start.UnixNano() >> (i % 8 * 8))
	}
	rw := mss.NewMSSelect(s, ping.ID)
	_, err = rw.Write(sent[:])
	if err == nil {
		_, err = io.ReadFull(rw, got[:])
	}
	if ctx.Err() != nil {
		err = ctx.Err() // it reset the stream
	}
	if err != nil {
		return 0, fmt.Errorf("ping: no answer after %s: %w", time.Since(start).Round(time.Millisecond), err)
	}
	if sent != got {
		return 0, errors.New("ping: the answer is not what was sent")
	}
	return time.Since(start), nil
}
