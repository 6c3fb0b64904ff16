package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/atoll-mesh/atoll/wire"
)

// call is one call while it is served.
type call struct {
	s       *Server
	m       *method
	caller  Caller
	peer    *peerState
	started time.Time
	give    yielder
}

// convert turns every method into a streaming one, so that nothing of a unary
// request's body is read or decoded before the call is admitted.
func (s *Server) convert(desc *grpc.ServiceDesc, adopt func(name string, stream bool) *method) *grpc.ServiceDesc {
	out := &grpc.ServiceDesc{ServiceName: desc.ServiceName, HandlerType: desc.HandlerType, Metadata: desc.Metadata}
	if out.HandlerType == nil {
		out.HandlerType = (*any)(nil)
	}
	for _, d := range desc.Methods {
		m := adopt(d.MethodName, false)
		out.Streams = append(out.Streams, grpc.StreamDesc{
			StreamName: d.MethodName,
			Handler: func(impl any, st grpc.ServerStream) error {
				return s.serve(m, st, func(cs *callStream) error {
					resp, err := d.Handler(impl, cs.ctx, cs.RecvMsg, nil)
					if err != nil {
						return err
					}
					return cs.SendMsg(resp)
				})
			},
		})
	}
	for _, d := range desc.Streams {
		m := adopt(d.StreamName, true)
		out.Streams = append(out.Streams, grpc.StreamDesc{
			StreamName: d.StreamName, ClientStreams: d.ClientStreams, ServerStreams: d.ServerStreams,
			Handler: func(impl any, st grpc.ServerStream) error {
				return s.serve(m, st, func(cs *callStream) error {
					// Headers now: the caller knows that it is heard, however long
					// the first message takes.
					if err := st.SendHeader(metadata.MD{}); err != nil {
						return err
					}
					return d.Handler(impl, cs)
				})
			},
		})
	}
	return out
}

// serve carries one call out, from the first question to the last metric.
func (s *Server) serve(m *method, st grpc.ServerStream, handle func(*callStream) error) (err error) {
	c := &call{s: s, m: m, started: time.Now()}
	ctx := st.Context()
	if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
		defer cancel()
	}
	st.SetTrailer(s.version) // copied by grpc
	m.m.inFlight.Inc()
	defer func() {
		err = statusOf(ctx, err)
		m.m.inFlight.Dec()
		m.m.done(status.Code(err), time.Since(c.started))
	}()
	defer c.recovered(&err)
	if err := c.identify(ctx); err != nil {
		return err
	}
	if err := c.permit(ctx); err != nil {
		return err
	}
	if err := c.throttle(); err != nil {
		return err
	}
	release, err := s.gate.enter(ctx, c)
	if err != nil {
		return err
	}
	defer release()
	return handle(&callStream{ServerStream: st, ctx: context.WithValue(ctx, callerKey{}, c), c: c})
}

// recovered turns a handler's panic into an error of this call.
func (c *call) recovered(err *error) {
	r := recover()
	if r == nil {
		return
	}
	c.s.m.panics.Inc()
	c.s.logger.Error("BUG: rpc handler panicked", "method", c.m.full, "peer", c.caller.label(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	*err = status.Errorf(codes.Internal, "%s panicked; the log of the island that served it says where", c.m.full)
}

// identify asks anew who calls: standing, name and certificate change while a
// connection lives.
func (c *call) identify(ctx context.Context) error {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(AuthInfo)
	if !ok {
		return c.deny("identity", codes.Unauthenticated, "the connection carries no proven identity")
	}
	c.peer, c.caller = info.peer, info.Caller
	now, err := c.s.identify(info.conn)
	if err != nil {
		return c.deny("identity", codes.Unauthenticated, err.Error())
	}
	if now.Key != info.Caller.Key {
		return c.deny("identity", codes.Unauthenticated, fmt.Sprintf("the connection was proven for %s, not for %s", info.Caller.Key, now.Key))
	}
	c.caller = now
	md, _ := metadata.FromIncomingContext(ctx)
	if v := versionIn(md); v != 0 {
		c.caller.Version = v
	}
	return nil
}

// permit holds the call against version, standing and policy.
func (c *call) permit(ctx context.Context) error {
	r := c.m.rule
	if v := c.caller.Version; v < r.MinVersion {
		says := fmt.Sprint(v)
		if v == 0 {
			says = "no known version"
		}
		return c.deny("version", codes.FailedPrecondition, fmt.Sprintf("island %s speaks %s, this call needs %d: upgrade it", c.caller.label(), says, r.MinVersion))
	}
	if c.caller.Quarantined && !r.Quarantined {
		return c.deny("quarantine", codes.PermissionDenied, fmt.Sprintf("the certificate of island %s has expired: it may renew it and nothing else", c.caller.label()))
	}
	if r.AnyMember {
		return ctx.Err()
	}
	if err := c.s.authorize(c.caller, c.m.full, r); err != nil {
		return c.deny("policy", codes.PermissionDenied, err.Error())
	}
	return ctx.Err()
}

// deny counts a refusal and logs it, the same one once a minute.
func (c *call) deny(why string, code codes.Code, reason string) error {
	c.s.m.denied.WithLabelValues(why).Inc()
	if c.s.peers.firstInAWhile(c.caller.Key, c.m.full) {
		c.s.logger.Warn("rpc denied", "peer", c.caller.label(), "key", c.caller.Key.String(), "method", c.m.full, "reason", reason)
	}
	return status.Error(code, reason)
}

// throttle takes a token from each bucket that the call falls under.
func (c *call) throttle() error {
	scope, wait := c.peer.take(c.m)
	if wait == 0 {
		return nil
	}
	c.s.m.throttled.WithLabelValues(scope, c.m.rule.Class.String()).Inc()
	text := fmt.Sprintf("island %s makes too many calls", c.caller.label())
	switch scope {
	case "class":
		text = fmt.Sprintf("island %s makes too many %s calls", c.caller.label(), c.m.rule.Class)
	case "method":
		text = fmt.Sprintf("island %s calls %s too often", c.caller.label(), c.m.full)
	}
	return retryLater(codes.ResourceExhausted, wait, text)
}

// unknown answers calls to methods that are not served.
func (s *Server) unknown(_ any, st grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(st)
	m := &method{full: "/unknown/unknown", m: s.m.method("unknown", "unknown", Normal)}
	m.rule = Rule{AnyMember: true, Quarantined: true}.filled(s.limits)
	return s.serve(m, st, func(cs *callStream) error {
		s.m.denied.WithLabelValues("unknown_method").Inc()
		return status.Errorf(codes.Unimplemented, "%s is not served here; this island speaks %d", clip(full, 100), wire.Version)
	})
}

type cancelKey struct{}

// tap gives a deadline to calls without one and caps the others'. It is done
// before the stream is made, so that reads from the caller end in time too. It
// runs in the connection's reader and must not block.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	limit, most := 10*time.Second, 10*time.Second
	if m := s.method(info.FullMethodName); m != nil {
		limit, most = m.rule.Timeout, m.rule.MaxTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		if time.Until(deadline) <= most {
			return ctx, nil
		}
		limit = most
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return context.WithValue(ctx, cancelKey{}, cancel), nil
}

// callStream is what a handler speaks through.
type callStream struct {
	grpc.ServerStream
	ctx context.Context
	c   *call
}

func (cs *callStream) Context() context.Context { return cs.ctx }

// RecvMsg refuses what is larger than the rule allows.
func (cs *callStream) RecvMsg(v any) error {
	if err := cs.giveWay(); err != nil {
		return err
	}
	b := sized{msg: v, most: cs.c.m.rule.MaxRequestBytes}
	if err := cs.ServerStream.RecvMsg(&b); err != nil {
		return err
	}
	cs.c.s.m.received[cs.c.m.rule.Class].Add(float64(b.size))
	switch {
	case b.over:
		return status.Errorf(codes.ResourceExhausted, "a message of %d bytes is too large for %s: the most is %d; send less at once", b.size, cs.c.m.full, b.most)
	case b.err != nil:
		return status.Errorf(codes.InvalidArgument, "the message to %s is malformed: %v", cs.c.m.full, b.err)
	}
	return nil
}

// SendMsg sends one message of the answer.
func (cs *callStream) SendMsg(v any) error {
	if err := cs.giveWay(); err != nil {
		return err
	}
	b := sized{msg: v}
	err := cs.ServerStream.SendMsg(&b)
	cs.c.s.m.sent[cs.c.m.rule.Class].Add(float64(b.size))
	return err
}

func (cs *callStream) giveWay() error {
	if cs.c.m.rule.Class != Bulk {
		return nil
	}
	return cs.c.yield(cs.ctx)
}
