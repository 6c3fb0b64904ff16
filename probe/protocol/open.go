package protocol

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Open opens a connection to addr, times the phase Connect and notes the
// address. Reading and writing end with ctx, and so does Close, which must be
// called. Where it answers false, r says why.
func Open(ctx context.Context, req *Request, network string, addr netip.AddrPort, source netip.Addr, r *Result) (net.Conn, bool) {
	r.Address = addr
	start := time.Now()
	conn, err := req.Dialer.DialContext(ctx, network, addr.String(), source)
	r.Phases[Connect] += time.Since(start)
	if err != nil {
		r.FailError(Connect, "connect to "+addr.String(), err)
		return nil, false
	}
	return Bind(ctx, conn), true
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	stop func() bool
}

// Bind makes reading from and writing to conn end with ctx.
func Bind(ctx context.Context, conn net.Conn) net.Conn {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return &bound{conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })}
}

func (b *bound) Close() error {
	b.stop()
	return b.Conn.Close()
}
