package web

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// health is one question to grpc.health.v1.
type health struct {
	ctx  context.Context
	req  *protocol.Request
	want *blackbox.GRPCProbe
	r    *protocol.Result

	watch *protocol.Watch // nil without TLS

	// What grpc's goroutines write, which may go on after the call: once over, nothing
	// is written any more.
	mu      sync.Mutex
	over    bool
	dialled bool
	secured bool
	code    codes.Code
	serving string
	checked time.Duration
}

// GRPC asks a server for its health (grpc.health.v1.Health/Check).
func GRPC(ctx context.Context, req *protocol.Request) *protocol.Result {
	h := &health{ctx: ctx, req: req, want: &req.Module.GRPC, r: &protocol.Result{Start: time.Now()}, code: codes.Unknown}
	asked := h.ask()
	r := h.r
	r.Add("probe_grpc_duration_seconds", r.Phases[protocol.Resolve].Seconds(), "phase", "resolve")
	if asked {
		r.Add("probe_grpc_duration_seconds", h.checked.Seconds(), "phase", "check")
	}
	r.Add("probe_grpc_ssl", number(h.secured && h.code != codes.Unavailable))
	r.Add("probe_grpc_status_code", float64(h.status(asked)))
	if asked {
		for i := range int32(len(grpc_health_v1.HealthCheckResponse_ServingStatus_name)) {
			name := grpc_health_v1.HealthCheckResponse_ServingStatus_name[i]
			r.Add("probe_grpc_healthcheck_response", number(name == h.serving), "serving_status", name)
		}
	}
	if h.watch != nil {
		if r.Reason.Code == "" {
			protocol.Certify(ctx, req, &req.Module.Certificate, h.watch.Chain(), r)
		}
		h.watch.Record(req.Keep, r)
	}
	return r.Finish(&req.Module.Expect)
}

// status is 0 for a question that was never asked, as blackbox_exporter has it.
func (h *health) status(asked bool) codes.Code {
	if !asked {
		return codes.OK
	}
	return h.code
}

// ask tells whether the server was asked, whatever it said.
func (h *health) ask() bool {
	host, addr, ok := h.locate()
	if !ok {
		return false
	}
	creds, ok := h.credentials(host)
	if !ok {
		return false
	}
	start := time.Now()
	conn, err := grpc.NewClient("passthrough:///"+addr.String(), creds, grpc.WithContextDialer(h.dial(addr)),
		grpc.WithAuthority(authority(host, addr.Port())), grpc.WithUserAgent(agent), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithMaxHeaderListSize(maxHeader), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<10)), grpc.WithNoProxy())
	if err != nil {
		h.r.Fail(protocol.BadTarget, protocol.Connect, "set up gRPC: %.200v", err)
		return false
	}
	defer conn.Close()
	ctx := metadata.NewOutgoingContext(h.ctx, h.want.Metadata)
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: h.want.Service})
	h.checked = time.Since(start)
	h.note(func() { h.over = true })
	h.r.Phases[protocol.FirstByte] += max(0, h.checked-h.r.Phases[protocol.Connect]-h.r.Phases[protocol.TLS])
	h.code = status.Code(err)
	if err != nil {
		h.fail(err)
		return true
	}
	h.serving = resp.GetStatus().String()
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		h.r.Fail(protocol.Status, protocol.FirstByte, "%s is %s, want SERVING", service(h.want.Service), h.serving)
	}
	return true
}

func service(name string) string {
	if name == "" {
		return "the server"
	}
	return "service " + name
}

func (h *health) fail(err error) {
	s, _ := status.FromError(err)
	switch {
	case h.r.Reason.Code != "": // dial or handshake told better
	case s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled || h.ctx.Err() != nil:
		phase := protocol.FirstByte
		if !h.dialled {
			phase = protocol.Connect
		}
		h.r.FailError(phase, "ask for health", context.DeadlineExceeded)
	case s.Code() == codes.NotFound:
		h.r.Fail(protocol.Status, protocol.FirstByte, "the server does not know %s", service(h.want.Service))
	case s.Code() == codes.Unavailable:
		h.r.Fail(protocol.ConnectionReset, protocol.FirstByte, "the server does not speak gRPC, or closed the connection: %.150q", s.Message())
	default:
		h.r.Fail(protocol.Status, protocol.FirstByte, "gRPC status %s: %.150q", s.Code(), s.Message())
	}
}

func (h *health) locate() (string, netip.AddrPort, bool) {
	target, err := parseTarget(h.req.Target, false)
	if err != nil {
		h.r.Fail(protocol.BadTarget, protocol.Resolve, "read the target: %.200v", err)
		return "", netip.AddrPort{}, false
	}
	if h.want.TLS && target.Port() == "" {
		target.Scheme = "https"
	} else if target.Port() == "" {
		target.Scheme = "http"
	}
	port, err := portOf(target)
	if err != nil {
		h.r.Fail(protocol.BadTarget, protocol.Resolve, "read the port of %.100q: %v", target.Host, err)
		return "", netip.AddrPort{}, false
	}
	addr, ok := protocol.Address(h.ctx, h.req, target.Hostname(), h.want.PreferredIPProtocol, h.want.IPProtocolFallback, h.r)
	host := target.Hostname()
	if h.req.Host != "" {
		host = h.req.Host
	}
	return host, netip.AddrPortFrom(addr, port), ok
}

func authority(host string, port uint16) string {
	return net.JoinHostPort(host, strings.TrimPrefix(netip.AddrPortFrom(netip.IPv4Unspecified(), port).String(), "0.0.0.0:"))
}

func (h *health) credentials(host string) (grpc.DialOption, bool) {
	if !h.want.TLS {
		return grpc.WithTransportCredentials(insecure.NewCredentials()), true
	}
	cfg, err := protocol.ClientTLS(h.req, &h.want.TLSConfig)
	if err != nil {
		h.r.Fail(protocol.Internal, protocol.TLS, "%.300v", err)
		return nil, false
	}
	h.watch = protocol.NewWatch(cfg)
	if h.watch.Config().ServerName == "" {
		h.watch.Config().ServerName = host
	}
	return grpc.WithTransportCredentials(&watched{TransportCredentials: credentials.NewTLS(h.watch.Config()), h: h}), true
}

// watched notes how the handshake went.
type watched struct {
	credentials.TransportCredentials
	h *health
}

func (w *watched) Clone() credentials.TransportCredentials {
	return &watched{TransportCredentials: w.TransportCredentials.Clone(), h: w.h}
}

// Info leaves the server's name out, which is not the authority where a module sets
// tls_config.server_name.
func (w *watched) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (w *watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	start := time.Now()
	cfg := w.h.watch.Config().Clone()
	cfg.NextProtos = []string{"h2"}
	conn := tls.Client(raw, cfg)
	err := conn.HandshakeContext(ctx)
	state := conn.ConnectionState()
	w.h.note(func() {
		w.h.r.Phases[protocol.TLS] += time.Since(start)
		w.h.secured = err == nil
		switch {
		case err != nil:
			w.h.watch.Fail(err, w.h.r)
		case state.NegotiatedProtocol != "h2":
			w.h.r.Fail(protocol.Version, protocol.TLS, "the server does not speak HTTP/2, which gRPC needs")
			err = errors.New("no HTTP/2")
		}
	})
	if err != nil {
		raw.Close()
		return nil, nil, err
	}
	return conn, credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

// note writes down what a goroutine of grpc has seen, unless the call is over.
func (h *health) note(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		f()
	}
}

// dial opens a connection, which ends with the probe; grpc's own context lasts longer.
func (h *health) dial(addr netip.AddrPort) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(h.ctx, cancel)()
		start := time.Now()
		conn, err := h.req.Dialer.DialContext(ctx, "tcp", addr.String(), netip.Addr{})
		h.note(func() {
			h.r.Address = addr
			h.r.Phases[protocol.Connect] += time.Since(start)
			h.dialled = err == nil
			if err != nil && h.ctx.Err() == nil {
				h.r.FailError(protocol.Connect, "connect to "+addr.String(), err)
			}
		})
		return conn, err
	}
}
