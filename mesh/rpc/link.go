package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/stats"
)

// link is the HTTP/2 connection of one peer and class: there while it is used,
// made again by the next call when it broke. One that was dropped is done for
// and the next call makes a new one, because grpc would send calls into a
// transport for a moment after its connection was closed, and would dial by
// itself for as long as dialling fails.
type link struct {
	c     *Clients
	e     *entry
	class Class
	cc    *grpc.ClientConn
	watch watch

	mu      sync.Mutex
	conns   []*countedConn
	dials   []*dial
	dropped error // why it was dropped, nil while it is in use

	// guarded by Clients.mu
	calls int
	last  time.Time
}

type dial struct{ cancel context.CancelCauseFunc }

var (
	errUnreachable = errors.New("cannot be reached")

	errReset = errors.New("the path was given up for another one")
	errEarly = errors.New("the connection was closed before a first frame came, it may be refused there")
	errGone  = errors.New("this island stops, or the other one is no member any more")
)

const (
	// connectTime bounds dialling and the first frames.
	connectTime = 10 * time.Second
	// answerWindow is how much of an answer may be on its way, in bytes: 5 MiB/s over
	// 200 ms. Fixed windows spare each call the pings and updates, some 90 bytes, by
	// which grpc finds larger ones; Bulk wants those.
	answerWindow = 1 << 20
)

func newLink(c *Clients, e *entry, class Class) (*link, error) {
	l := &link{c: c, e: e, class: class}
	l.watch.after, l.watch.reports = time.Duration(c.limits.StallAfter), &c.background
	l.watch.report = func() {
		c.m.stalls.WithLabelValues(class.String()).Inc()
		c.stalled(e.key, class)
	}
	var windows []grpc.DialOption
	if class != Bulk {
		windows = append(windows, grpc.WithInitialWindowSize(answerWindow), grpc.WithInitialConnWindowSize(answerWindow))
	}
	cc, err := grpc.NewClient("passthrough:///"+e.key.String(), append(windows,
		grpc.WithAuthority("atoll"),
		grpc.WithTransportCredentials(dialled{}),
		grpc.WithContextDialer(l.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.DefaultConfig,
			MinConnectTimeout: connectTime,
		}),
		grpc.WithStatsHandler(listener{c, class}),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDisableHealthCheck(),
		grpc.WithIdleTimeout(0), // idle links are closed by Clients.Run, with all they hold
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(int(c.limits.MessageBytes)),
			grpc.MaxCallSendMsgSize(int(c.limits.MessageBytes)),
		))...)
	if err != nil {
		return nil, fmt.Errorf("prepare calls to %s: %w", e.name, err)
	}
	l.cc = cc
	return l, nil
}

// dial makes the connection that grpc asks for.
func (l *link) dial(ctx context.Context, _ string) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &dial{cancel}
	l.mu.Lock()
	l.dials = append(l.dials, d)
	l.mu.Unlock()
	l.c.m.dials.Inc()
	conn, err := l.c.dial(ctx, l.e.key, l.class)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.dials = slices.DeleteFunc(l.dials, func(o *dial) bool { return o == d })
	if l.dropped != nil {
		if err == nil {
			conn.Close()
		}
		return nil, l.dropped
	}
	if err != nil {
		l.c.m.fails.Inc()
		l.unreachable(err)
		return nil, err
	}
	counted := &countedConn{Conn: conn, m: &l.c.m.wire, heard: l.watch.heard}
	counted.opened(func() { l.forget(counted) })
	l.conns = append(l.conns, counted)
	return counted, nil
}

func (l *link) forget(c *countedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, func(o *countedConn) bool { return o == c })
	if !c.read.Load() && l.dropped == nil {
		l.unreachable(errEarly)
	}
}

// unreachable ends a link whose connection cannot be had; l.mu is held. Calls
// that wait for the connection learn why from dropped.
func (l *link) unreachable(err error) {
	l.dropped = fmt.Errorf("%w: %w", errUnreachable, err)
	l.c.background.Go(func() {
		l.c.detach(l)
		l.tear()
	})
}

// drop ends the link: dials under way are given up and open calls fail as
// unavailable.
func (l *link) drop(why error) {
	l.mu.Lock()
	if l.dropped != nil {
		l.mu.Unlock()
		return
	}
	l.dropped = why
	l.mu.Unlock()
	l.tear()
}

// tear closes what a dropped link holds.
func (l *link) tear() {
	l.mu.Lock()
	conns, dials, why := slices.Clone(l.conns), slices.Clone(l.dials), l.dropped
	l.mu.Unlock()
	for _, d := range dials {
		d.cancel(why)
	}
	for _, c := range conns {
		c.Close()
	}
	l.cc.Close()
	l.watch.stop()
}

// end returns why the link was dropped, nil while it is in use.
func (l *link) end() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// answer is what came from the peer for one call.
type answer struct {
	sent    bool // the call went out on a connection
	began   bool // the peer began to answer, or to stream
	heard   bool // the peer ended its answer: a status is its own
	version uint32
}

// hearing gathers an answer while grpc reads it.
type hearing struct {
	sent, began, heard atomic.Bool
	version            atomic.Uint32
}

func (h *hearing) answer() answer {
	return answer{h.sent.Load(), h.began.Load(), h.heard.Load(), h.version.Load()}
}

type hearingKey struct{}

// listener tells from grpc's own reports whether an error is the peer's word or
// the transport's: both come with the same codes.
type listener struct {
	c     *Clients
	class Class
}

func (listener) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (r listener) HandleRPC(ctx context.Context, s stats.RPCStats) {
	h, ok := ctx.Value(hearingKey{}).(*hearing)
	if !ok {
		return
	}
	switch s := s.(type) {
	case *stats.OutHeader:
		h.sent.Store(true)
	case *stats.OutPayload:
		r.c.m.sent[r.class].Add(float64(s.Length))
	case *stats.InHeader:
		h.began.Store(true)
	case *stats.InPayload:
		r.c.m.received[r.class].Add(float64(s.Length))
	case *stats.InTrailer:
		h.heard.Store(true)
		h.version.Store(versionIn(s.Trailer))
	}
}

func (listener) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (listener) HandleConn(context.Context, stats.ConnStats)                       {}
