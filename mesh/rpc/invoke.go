package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
)

// conn calls one peer in one class.
type conn struct {
	c     *Clients
	peer  trust.Key
	class Class
}

type idempotent struct{ grpc.EmptyCallOption }

// Idempotent marks a call that may be carried out twice, where its method's
// rule does not say so.
func Idempotent() grpc.CallOption { return idempotent{} }

// Uncompressed sends a call of class Bulk as it is, because its messages are
// compressed already.
func Uncompressed() grpc.CallOption { return grpc.UseCompressor(encoding.Identity) }

// outgoing is one call from its start to its end, over however many attempts.
type outgoing struct {
	*conn
	method string
	name   string
	rule   Rule
	again  bool // may be made once more
	opts   []grpc.CallOption
	m      methodMetrics
	begun  time.Time
	budget time.Duration
	user   context.Context // the caller's own
	cancel context.CancelFunc
	tries  int
}

// attempt is one try on one connection.
type attempt struct {
	o     *outgoing
	e     *entry
	l     *link
	epoch int
	begun time.Time
	unary bool
	first bool
	heard hearing
}

func (c *conn) begin(ctx context.Context, method string, opts []grpc.CallOption) (context.Context, *outgoing) {
	o := &outgoing{conn: c, method: method, name: c.c.name(c.peer), user: ctx, begun: time.Now(), m: c.c.metrics(method, c.class)}
	rule, known := c.c.rule(method)
	if !known {
		rule = Rule{Class: c.class}
	}
	o.rule = rule.filled(c.c.limits)
	o.again = o.rule.Idempotent
	for _, opt := range opts {
		if _, ok := opt.(idempotent); ok {
			o.again = true
		}
	}
	o.opts = []grpc.CallOption{grpc.MaxCallRecvMsgSize(o.rule.MaxResponseBytes)}
	if c.class == Bulk {
		o.opts = append(o.opts, grpc.UseCompressor(gzip.Name))
	}
	o.opts = append(o.opts, opts...)
	o.cancel = func() {}
	if deadline, ok := ctx.Deadline(); ok {
		o.budget = time.Until(deadline)
	} else {
		o.budget = o.rule.Timeout
		ctx, o.cancel = context.WithTimeout(ctx, o.budget)
	}
	o.m.inFlight.Inc()
	return metadata.AppendToOutgoingContext(ctx, versionKey, c.c.version), o
}

// done ends the outgoing call.
func (o *outgoing) done(err error) {
	o.cancel()
	o.m.inFlight.Dec()
	o.m.done(status.Code(err), time.Since(o.begun))
}

// Invoke makes a unary call.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) (err error) {
	ctx, o := c.begin(ctx, method, opts)
	defer func() { o.done(err) }()
	a, ctx2, err := o.attempt(ctx, true)
	if err != nil {
		return err
	}
	err = a.end(a.l.cc.Invoke(ctx2, method, args, reply, o.opts...))
	if err == nil || !a.repeatable(err) || ctx.Err() != nil {
		return err
	}
	c.c.m.retries.WithLabelValues(c.class.String()).Inc()
	first := err
	if a, ctx2, err = o.attempt(ctx, true); err != nil {
		return first
	}
	return a.end(a.l.cc.Invoke(ctx2, method, args, reply, o.opts...))
}

// attempt asks the breaker and takes the link.
func (o *outgoing) attempt(ctx context.Context, unary bool) (*attempt, context.Context, error) {
	refuse := func(text string) (*attempt, context.Context, error) {
		return nil, nil, newError(o.name, o.method, status.Error(codes.Unavailable, text), answer{})
	}
	if o.peer == o.c.self {
		err := status.Error(codes.FailedPrecondition, "it is this island itself; use what serves the method directly")
		return nil, nil, newError(o.name, o.method, err, answer{})
	}
	e, err := o.c.borrow(o.peer)
	if err != nil {
		return refuse(err.Error())
	}
	epoch, refusal := e.breaker.acquire(o.name)
	if refusal != "" {
		o.c.giveBack(e, nil)
		return refuse(refusal)
	}
	l, err := o.c.link(e, o.class)
	if err != nil {
		e.breaker.record(epoch, o.name, o.begun, neutral, "")
		o.c.giveBack(e, nil)
		return refuse(err.Error())
	}
	o.tries++
	a := &attempt{o: o, e: e, l: l, epoch: epoch, begun: time.Now(), unary: unary, first: o.tries == 1}
	l.watch.begin(unary)
	return a, context.WithValue(ctx, hearingKey{}, &a.heard), nil
}

// end gives all back and returns the error in this package's words.
func (a *attempt) end(err error) error {
	a.l.watch.end(a.unary)
	err = a.explain(err)
	verdict, reason := a.judge(err)
	a.e.breaker.record(a.epoch, a.o.name, a.begun, verdict, reason)
	a.o.c.giveBack(a.e, a.l)
	return err
}

// repeatable reports whether the transport failed before an answer came and the
// call may be made again: because it is idempotent, or because it never went out.
func (a *attempt) repeatable(err error) bool {
	said := a.heard.answer()
	if status.Code(err) != codes.Unavailable || said.began || said.heard {
		return false
	}
	if !said.sent {
		return a.unsent(err)
	}
	return a.o.again && !errors.Is(a.l.end(), errGone)
}

// unsent reports whether a call waited for a connection that Reset has ended, or
// that closed before it could carry anything, as one of two that both islands made
// at once does: another one may be there. A dial that failed is not repeated: the
// next one would fail the same.
func (a *attempt) unsent(err error) bool {
	dropped := a.l.end()
	return status.Code(err) == codes.Unavailable && !a.heard.sent.Load() &&
		(errors.Is(dropped, errReset) || errors.Is(dropped, errEarly))
}

// judge says what the attempt tells about the peer. That it said nothing until
// the caller's deadline counts against it, even where its own word of that came
// first, unless the deadline was too short to expect an answer.
func (a *attempt) judge(err error) (outcome, string) {
	var e *Error
	if err == nil || !errors.As(err, &e) {
		return success, ""
	}
	began := a.heard.began.Load()
	if dropped := a.l.end(); !e.Answered && (errors.Is(dropped, errReset) || errors.Is(dropped, errGone)) {
		return neutral, ""
	}
	if a.first && a.unsent(err) {
		return neutral, "" // the second try tells
	}
	switch {
	case e.Code == codes.DeadlineExceeded && !began && a.o.budget >= fairDeadline && time.Since(a.o.begun) >= a.o.budget,
		e.Code == codes.Unavailable && !e.Answered:
		return failure, e.Text
	case e.Answered || began:
		return success, ""
	}
	return neutral, ""
}

// fairDeadline is the shortest deadline whose passing counts against the peer.
const fairDeadline = time.Second

// explain turns grpc's error into an *Error that says what happened.
func (a *attempt) explain(err error) error {
	if err == nil {
		return nil
	}
	said := a.heard.answer()
	e := newError(a.o.name, a.o.method, err, said)
	if said.heard {
		if e.Code == codes.Unimplemented && said.version != 0 && said.version < wire.Version {
			e.Text += fmt.Sprintf("; island %s speaks %d, this one %d: upgrade it", a.o.name, said.version, wire.Version)
		}
		return e
	}
	dropped := a.l.end()
	if e.Code == codes.Canceled && a.o.user.Err() == nil && dropped != nil { // grpc's word for its connection being closed here
		e.Code = codes.Unavailable
		e.st = status.New(codes.Unavailable, e.Text)
	}
	switch {
	case e.Code == codes.Unavailable && dropped != nil && !said.sent:
		e.Text = clip(dropped.Error(), maxText)
	case e.Code == codes.Unavailable && dropped != nil && !errors.Is(dropped, errUnreachable):
		e.Text = dropped.Error() + " before the answer was complete, the call may have been carried out"
	case e.Code == codes.Unavailable && said.began:
		e.Text = "the connection broke in the middle of the answer: " + e.Text
	case e.Code == codes.Unavailable && said.sent:
		e.Text = "the connection broke before an answer came, the call may have been carried out: " + e.Text
	case e.Code == codes.DeadlineExceeded && said.sent:
		e.Text = fmt.Sprintf("no answer within %s", a.o.budget.Round(time.Millisecond))
	case e.Code == codes.DeadlineExceeded:
		e.Text = fmt.Sprintf("no connection within %s", a.o.budget.Round(time.Millisecond))
	}
	return e
}

// NewStream begins a streaming call. One that could not go out is tried once more.
func (c *conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, o := c.begin(ctx, method, opts)
	cs, again, err := o.open(ctx, desc)
	if again {
		c.c.m.retries.WithLabelValues(c.class.String()).Inc()
		cs, _, err = o.open(ctx, desc)
	}
	return cs, err
}

// open makes one attempt at a stream. It ends the call if it fails, unless the first
// one may be followed by another.
func (o *outgoing) open(ctx context.Context, desc *grpc.StreamDesc) (_ grpc.ClientStream, again bool, _ error) {
	a, ctx2, err := o.attempt(ctx, false)
	if err != nil {
		o.done(err)
		return nil, false, err
	}
	// grpc may call OnFinish at any time, also after NewStream has returned; only
	// until then the call is made again.
	var mu sync.Mutex
	var opened, finished bool
	finish := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if finished {
			return
		}
		finished = true
		if errors.Is(err, io.EOF) {
			err = nil
		}
		err = a.end(err)
		if !opened && a.first && ctx.Err() == nil && a.unsent(err) {
			again = true
			return
		}
		o.done(err)
	}
	opts := append(slices.Clone(o.opts), grpc.OnFinish(finish))
	cs, err := a.l.cc.NewStream(ctx2, desc, o.method, opts...)
	if err != nil {
		finish(err)
	}
	mu.Lock()
	defer mu.Unlock()
	opened = true
	if err != nil {
		err = a.explain(err)
	}
	if err != nil || again {
		return nil, again, err
	}
	return &clientStream{ClientStream: cs, a: a}, false, nil
}

// clientStream explains errors and tells the watch and the breaker what passes.
type clientStream struct {
	grpc.ClientStream
	a     *attempt
	first sync.Once
}

func (s *clientStream) SendMsg(m any) error {
	s.a.l.watch.sent()
	return s.explain(s.ClientStream.SendMsg(m))
}

func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.first.Do(func() { s.a.e.breaker.record(s.a.epoch, s.a.o.name, s.a.begun, success, "") })
	}
	return s.explain(err)
}

func (s *clientStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, s.explain(err)
}

func (s *clientStream) explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return s.a.explain(err)
}
