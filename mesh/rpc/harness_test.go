package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type payload = wrapperspb.BytesValue

// echo is a service whose methods do what the test says, or answer what they are sent.
type echo struct {
	mu     sync.Mutex
	unary  map[string]func(context.Context, *payload) (*payload, error)
	stream map[string]func(grpc.ServerStream) error
}

func (e *echo) on(name string, f func(context.Context, *payload) (*payload, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unary[name] = f
}

func (e *echo) onStream(name string, f func(grpc.ServerStream) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stream[name] = f
}

const echoService = "/test.Echo/"

var echoRules = map[string]Rule{
	"Normal": {Action: policy.Read},
	"Urgent": {Action: policy.Read, Class: Urgent},
	"Bulk":   {Action: policy.Read, Class: Bulk},
	"Again":  {Action: policy.Read, Idempotent: true},
	"Renew":  {AnyMember: true, Quarantined: true},
	"New":    {Action: policy.Read, MinVersion: 20990101},
	"Small":  {Action: policy.Read, MaxRequestBytes: 16},
	"Rare":   {Action: policy.Read, RatePerSecond: 0.1, Burst: 1},
	"Short":  {Action: policy.Read, Timeout: 3 * time.Second, MaxTimeout: 4 * time.Second},
	"Forbid": {Action: policy.Administer},
	"Watch":  {Action: policy.Read, Standing: true},
	"Pull":   {Action: policy.Read, Class: Bulk},
	"Push":   {Action: policy.Read, Timeout: 3 * time.Second, MaxTimeout: 3 * time.Second},
}

func fullRules() map[string]Rule {
	out := map[string]Rule{}
	for name, r := range echoRules {
		out[echoService+name] = r
	}
	return out
}

func echoDesc() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: "test.Echo"}
	for _, name := range []string{"Normal", "Urgent", "Bulk", "Again", "Renew", "New", "Small", "Rare", "Short", "Forbid"} {
		d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name,
			Handler: func(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := &payload{}
				if err := dec(in); err != nil {
					return nil, err
				}
				e := srv.(*echo)
				e.mu.Lock()
				f := e.unary[name]
				e.mu.Unlock()
				if f == nil {
					return in, nil
				}
				return f(ctx, in)
			}})
	}
	for _, name := range []string{"Watch", "Pull", "Push"} {
		d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: name, ServerStreams: name != "Push", ClientStreams: name == "Push",
			Handler: func(srv any, st grpc.ServerStream) error {
				e := srv.(*echo)
				e.mu.Lock()
				f := e.stream[name]
				e.mu.Unlock()
				return f(st)
			}})
	}
	return d
}

// keyed is a connection whose far end has proved its key.
type keyed struct {
	net.Conn
	key trust.Key
}

// port is a listener in memory.
type port struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPort() *port { return &port{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *port) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *port) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// connect makes a connection from key.
func (p *port) connect(ctx context.Context, key trust.Key) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- keyed{there, key}:
		return here, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// logbook keeps log lines.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// world is one server and any number of callers.
type world struct {
	t       testing.TB
	server  *Server
	echo    *echo
	port    *port
	log     *logbook
	reg     *prometheus.Registry
	stop    func() // ends the server and waits
	closing []func()

	mu      sync.Mutex
	callers map[trust.Key]Caller
	unknown map[trust.Key]bool
}

var (
	lisbon, oslo, tokyo = trust.Key{1}, trust.Key{2}, trust.Key{3}
	server              = trust.Key{9}
)

func newWorld(t testing.TB, change ...func(*Limits)) *world {
	w := &world{t: t, port: newPort(), log: &logbook{}, reg: prometheus.NewRegistry(),
		echo:    &echo{unary: map[string]func(context.Context, *payload) (*payload, error){}, stream: map[string]func(grpc.ServerStream) error{}},
		callers: map[trust.Key]Caller{lisbon: {Key: lisbon, Name: "lisbon"}, oslo: {Key: oslo, Name: "oslo"}, tokyo: {Key: tokyo, Name: "tokyo"}},
		unknown: map[trust.Key]bool{}}
	limits := testLimits(change...)
	s, err := NewServer(ServerOptions{
		Identify: func(c net.Conn) (Caller, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			k := c.(keyed).key
			if w.unknown[k] {
				return Caller{}, fmt.Errorf("%s is no member", k.Short())
			}
			return w.callers[k], nil
		},
		Authorize: func(c Caller, method string, r Rule) error {
			if r.Action == policy.Administer {
				return fmt.Errorf("no policy lets island %s administer", c.Name)
			}
			return nil
		},
		Limits: limits, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Registerer: w.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(echoDesc(), w.echo, fullRules()); err != nil {
		t.Fatal(err)
	}
	w.server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, w.port) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return w
}

func testLimits(change ...func(*Limits)) Limits {
	l := Default()
	for _, f := range change {
		f(&l)
	}
	return l
}

// is changes who a caller is.
func (w *world) is(c Caller, member bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callers[c.Key], w.unknown[c.Key] = c, !member
}

// close ends everything; it is deferred rather than a cleanup because virtual
// time ends before cleanups run.
func (w *world) close() {
	for _, f := range w.closing {
		f()
	}
	w.stop()
}

// island is a caller with what a test may change of it.
type island struct {
	*Clients
	reg    *prometheus.Registry
	log    *logbook
	cancel func()
}

// caller makes the calling side of the island with that key.
func (w *world) caller(key trust.Key, change ...func(*ClientOptions)) *island {
	w.t.Helper()
	i := &island{reg: prometheus.NewRegistry(), log: &logbook{}}
	o := ClientOptions{
		Dial: func(ctx context.Context, _ trust.Key, _ Class) (net.Conn, error) { return w.port.connect(ctx, key) },
		Self: key, Name: func(k trust.Key) string { return map[trust.Key]string{server: "porto"}[k] },
		Rule: w.server.Rule, Limits: w.server.limits, Logger: slog.New(slog.NewTextHandler(i.log, nil)), Registerer: i.reg,
	}
	for _, f := range change {
		f(&o)
	}
	c, err := NewClients(o)
	if err != nil {
		w.t.Fatal(err)
	}
	i.Clients = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	i.cancel = sync.OnceFunc(func() { cancel(); <-done })
	w.closing = append(w.closing, i.cancel)
	return i
}

// call makes one unary call.
func (i *island) call(ctx context.Context, name string, text string, opts ...grpc.CallOption) (string, error) {
	class := Normal
	if r, ok := echoRules[name]; ok {
		class = r.Class
	}
	out := &payload{}
	err := i.Conn(server, class).Invoke(ctx, echoService+name, wrapperspb.Bytes([]byte(text)), out, opts...)
	return string(out.Value), err
}

func (i *island) stream(ctx context.Context, name string) (grpc.ClientStream, error) {
	d := &grpc.StreamDesc{ServerStreams: name != "Push", ClientStreams: name == "Push"}
	st, err := i.Conn(server, echoRules[name].Class).NewStream(ctx, d, echoService+name)
	if err != nil || d.ClientStreams {
		return st, err
	}
	if err := st.SendMsg(wrapperspb.Bytes(nil)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return st, st.CloseSend()
}

// metric reads one value: name and "label=value" pairs that must hold.
func metric(t testing.TB, reg prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.Metric {
			have := map[string]string{}
			for _, l := range m.Label {
				have[l.GetName()] = l.GetValue()
			}
			for _, want := range labels {
				k, v, _ := strings.Cut(want, "=")
				if have[k] != v {
					continue next
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func seconds(n int) model.Duration { return model.Duration(time.Duration(n) * time.Second) }

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

const policyRead = policy.Read

func noIdentity(net.Conn) (Caller, error) { return Caller{}, errors.New("nobody") }

func testLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
