package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // registers itself in grpc: what callers of class Bulk send is understood
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/atoll-mesh/atoll/trust"
)

// ServerOptions is what a server is made of; Logger and Registerer may be nil.
type ServerOptions struct {
	// Identify says who is at the other end. It is asked once when a connection
	// comes in and again for each call, because a standing changes while a
	// connection lives: it must be cheap and safe for concurrent use. An error
	// closes the connection, or refuses the call.
	Identify func(net.Conn) (Caller, error)
	// Authorize asks the policy for one call; nil permits. The error is the
	// reason, in words for the caller. Not asked for rules with AnyMember.
	Authorize  func(c Caller, method string, r Rule) error
	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Server serves gRPC to members of the mesh. All methods are safe for concurrent use.
type Server struct {
	identify  func(net.Conn) (Caller, error)
	authorize func(Caller, string, Rule) error
	limits    Limits
	logger    *slog.Logger
	m         *serverMetrics
	grpc      *grpc.Server
	gate      *gate
	peers     *peers
	version   metadata.MD

	mu      sync.RWMutex
	methods map[string]*method // by "/service/Method"; fixed once serving
	serving bool
	conns   map[*countedConn]struct{}
}

// method is one that is served.
type method struct {
	full string
	rule Rule
	m    methodMetrics
}

// NewServer checks the options and prepares a server; it starts nothing.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Identify == nil {
		return nil, errors.New("rpc server: Identify is nil: who calls must be known")
	}
	if err := o.Limits.Validate(); err != nil {
		return nil, fmt.Errorf("rpc server: limits: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Authorize == nil {
		o.Authorize = func(Caller, string, Rule) error { return nil }
	}
	s := &Server{
		identify:  o.Identify,
		authorize: o.Authorize,
		limits:    o.Limits,
		logger:    o.Logger,
		m:         newServerMetrics(o.Registerer),
		methods:   map[string]*method{},
		conns:     map[*countedConn]struct{}{},
		version:   metadata.Pairs(versionKey, ownVersion()),
	}
	s.gate = newGate(o.Limits, s.m)
	s.peers = newPeers(o.Limits)
	s.grpc = grpc.NewServer(
		grpc.Creds(proven{s}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.InTapHandle(s.tap),
		grpc.UnknownServiceHandler(s.unknown),
		grpc.MaxConcurrentStreams(o.Limits.StreamsPerConnection),
		grpc.MaxRecvMsgSize(int(o.Limits.MessageBytes)),
		grpc.MaxSendMsgSize(int(o.Limits.MessageBytes)),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(time.Duration(o.Limits.Handshake)),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// Callers close idle connections themselves; this is for those who do not.
			MaxConnectionIdle: (keptLonger + 1) * time.Duration(o.Limits.Idle),
			Time:              math.MaxInt64, // no pings
		}),
		grpc.InitialWindowSize(requestWindow),
		grpc.InitialConnWindowSize(2*requestWindow),
		grpc.ReadBufferSize(readBuffer),
		grpc.WaitForHandlers(true),
	)
	return s, nil
}

const (
	// maxHeaderBytes bounds the headers of one call.
	maxHeaderBytes = 16 << 10
	// requestWindow is how much of one call's requests may wait here unread, in bytes;
	// more where a handler waits for a larger message. Found by pings it would be 16 MiB,
	// and cost each call some 50 bytes.
	requestWindow = 512 << 10
	// readBuffer is kept for each connection, however idle. Reads of whole frames
	// bypass it.
	readBuffer = 4 << 10
)

// Register adds a service. Each of its methods needs a rule, under its full
// name "/package.Service/Method". It must be called before Serve.
func (s *Server) Register(desc *grpc.ServiceDesc, impl any, rules map[string]Rule) error {
	add := map[string]*method{}
	var errs []error
	adopt := func(name string, stream bool) *method {
		full := "/" + desc.ServiceName + "/" + name
		rule, ok := rules[full]
		if !ok {
			errs = append(errs, fmt.Errorf("method %s: has no rule; give it one", full))
		} else if err := rule.Validate(s.limits); err != nil {
			errs = append(errs, fmt.Errorf("method %s: %w", full, err))
		} else if rule.Standing && !stream {
			errs = append(errs, fmt.Errorf("method %s: standing is for streams; drop it", full))
		}
		rule = rule.filled(s.limits)
		add[full] = &method{full, rule, s.m.method(desc.ServiceName, name, rule.Class)}
		return add[full]
	}
	converted := s.convert(desc, adopt)
	for full := range rules {
		if add[full] == nil {
			errs = append(errs, fmt.Errorf("rule %s: service %s has no such method", full, desc.ServiceName))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.serving:
		errs = append(errs, errors.New("the server serves already; register before Serve"))
	case s.grpc.GetServiceInfo()[desc.ServiceName].Methods != nil:
		errs = append(errs, errors.New("is registered already"))
	case desc.HandlerType != nil && !reflect.TypeOf(impl).Implements(reflect.TypeOf(desc.HandlerType).Elem()):
		errs = append(errs, fmt.Errorf("%T does not implement %s", impl, reflect.TypeOf(desc.HandlerType).Elem()))
	}
	if len(errs) > 0 {
		return fmt.Errorf("register service %s: %w", desc.ServiceName, errors.Join(errs...))
	}
	for full, m := range add {
		s.methods[full] = m
	}
	s.grpc.RegisterService(converted, impl)
	return nil
}

// Rule returns the rule of a method served here, which is what Clients may go
// by too: all islands serve the same methods.
func (s *Server) Rule(method string) (Rule, bool) {
	m := s.method(method)
	if m == nil {
		return Rule{}, false
	}
	return m.rule, true
}

func (s *Server) method(full string) *method {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.methods[full]
}

// Serve answers calls on the listener's connections until ctx ends, then says
// goodbye (GOAWAY), lets open calls go on for Limits.Drain, ends the rest and
// returns nil. A server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.mu.Lock()
	again := s.serving
	s.serving = true
	s.mu.Unlock()
	if again {
		return errors.New("serve rpc: this server has served already; make a new one")
	}
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(accepting{ln, s}) }()
	select {
	case err := <-served:
		s.stop()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("serve rpc: %w", err)
	case <-ctx.Done():
	}
	if s.stop() {
		if err := <-served; err != nil {
			// The end was asked for; the listener's end may have come to it first.
			s.logger.Debug("calls ended", "err", err)
		}
	}
	return nil
}

// stop drains, then cuts. A handler that ignores its context for yet another
// Drain is named in the log and left behind, with what waits for it in grpc;
// that is reported by false.
func (s *Server) stop() bool {
	drain := time.Duration(s.limits.Drain)
	done := make(chan struct{})
	go func() { defer close(done); s.grpc.GracefulStop() }()
	if closedWithin(done, drain) {
		return true
	}
	s.logger.Warn("calls are still open, ending them", "after", drain, "methods", s.gate.running())
	cut := make(chan struct{})
	go func() { defer close(cut); s.grpc.Stop(); <-done }()
	s.mu.Lock()
	for c := range s.conns { // those too that never spoke HTTP/2, which grpc would wait for
		c.Conn.Close()
	}
	s.mu.Unlock()
	if closedWithin(cut, drain) {
		return true
	}
	s.logger.Error("BUG: handlers ignore the end of their context", "methods", s.gate.running())
	return false
}

func closedWithin(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// accepting counts connections from the moment they are accepted, so that
// whoever closes one, at whatever stage, gives back what it holds.
type accepting struct {
	net.Listener
	s *Server
}

func (a accepting) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &countedConn{Conn: conn, m: &a.s.m.wire}
	a.s.mu.Lock()
	a.s.conns[c] = struct{}{}
	a.s.mu.Unlock()
	c.opened(func() {
		a.s.mu.Lock()
		defer a.s.mu.Unlock()
		delete(a.s.conns, c)
	})
	return c, nil
}

// welcome takes the identity of a new connection, or refuses it.
func (s *Server) welcome(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	counted, ok := conn.(*countedConn)
	if !ok {
		return nil, nil, fmt.Errorf("BUG: connection of type %T did not come through Serve", conn)
	}
	caller, err := s.identify(counted.Conn)
	if err != nil {
		s.m.denied.WithLabelValues("identity").Inc()
		if s.peers.firstInAWhile(trust.Key{}, "identify") {
			s.logger.Warn("rpc connection refused", "from", conn.RemoteAddr(), "reason", err)
		}
		return nil, nil, fmt.Errorf("identify %s: %w", conn.RemoteAddr(), err)
	}
	p, err := s.peers.connect(caller.Key)
	if err != nil {
		s.m.denied.WithLabelValues("connections").Inc()
		if s.peers.firstInAWhile(caller.Key, "connection") {
			s.logger.Warn("rpc connection refused", "peer", caller.label(), "reason", err)
		}
		return nil, nil, err
	}
	counted.onClose(func() { s.peers.disconnect(p) })
	return counted, AuthInfo{secured(), caller, counted.Conn, p}, nil
}
