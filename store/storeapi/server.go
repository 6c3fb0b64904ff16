package storeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/wire/thanospb"
)

const (
	// maxRequest bounds a request: matchers and little else.
	maxRequest = 1 << 20
	// maxStreams bounds the calls of one connection.
	maxStreams = 256
	handshake  = 10 * time.Second
	drain      = 5 * time.Second
)

// Store is what is served.
type Store interface {
	storage.ChunkQueryable
	// Span is from the oldest to the newest sample, in milliseconds; 0, 0 without.
	Span() (oldest, newest int64)
}

// Options is what a server is made of. Logger and Registerer may be nil.
type Options struct {
	Config     Config
	Store      Store
	Labels     labels.Labels // the external ones
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Server answers Thanos.
type Server struct {
	o        Options
	m        *metrics
	cur      atomic.Pointer[settings]
	slots    chan struct{}
	listener net.Listener

	thanospb.UnimplementedStoreServer
	thanospb.UnimplementedInfoServer
}

type settings struct {
	cfg    Config
	labels labels.Labels
}

// New checks the configuration and reads the certificates once.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, slots: make(chan struct{}, max(o.Config.MaxConcurrency, 1))}
	next, err := prepare(o.Config, o.Labels)
	if err != nil {
		return nil, err
	}
	s.m = newMetrics(o.Registerer)
	s.cur.Store(next)
	return s, nil
}

func prepare(c Config, external labels.Labels) (*settings, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Listen != "" {
		if external.IsEmpty() {
			return nil, errors.New("store.thanos.listen: Thanos tells sources apart by external labels, and there is none; set island.name or prometheus.global.external_labels")
		}
		if _, err := c.tls(); err != nil {
			return nil, err
		}
	}
	return &settings{c, external}, nil
}

// Prepare checks a new configuration and new external labels; commit puts them in
// force. What needs a restart is refused by name.
func (s *Server) Prepare(next Config, external labels.Labels) (commit, discard func(), err error) {
	p, err := prepare(next, external)
	if err != nil {
		return nil, nil, err
	}
	if err := s.cur.Load().cfg.fixed(next); err != nil {
		return nil, nil, err
	}
	return func() { s.cur.Store(p) }, func() {}, nil
}

// tls reads the files; nil where none are wanted.
func (c Config) tls() (*tls.Config, error) {
	if c.Insecure {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("store.thanos.tls: %w", err)
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	if c.TLS.ClientCAFile == "" {
		return out, nil
	}
	text, err := os.ReadFile(c.TLS.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("store.thanos.tls.client_ca_file: %w", err)
	}
	out.ClientCAs, out.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !out.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("store.thanos.tls.client_ca_file: %q holds no certificate in PEM", c.TLS.ClientCAFile)
	}
	return out, nil
}

// Listen takes the address, where there is one. Run does it where nobody did.
func (s *Server) Listen() (err error) {
	if s.listener != nil {
		return nil
	}
	if addr := s.cur.Load().cfg.Listen; addr != "" {
		if s.listener, err = net.Listen("tcp", addr); err != nil {
			return fmt.Errorf("store.thanos.listen: %w", err)
		}
	}
	return nil
}

// Addr is host:port as bound, or "".
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run serves until ctx ends; calls that are open then have five seconds.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	g := grpc.NewServer(
		grpc.Creds(s.credentials()), grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshake), grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)
	thanospb.RegisterStoreServer(g, s)
	thanospb.RegisterInfoServer(g, s)
	failed := make(chan error, 1)
	go func() { failed <- g.Serve(s.listener) }()
	s.o.Logger.Info("serving the StoreAPI", "address", s.Addr())
	select {
	case err := <-failed:
		return fmt.Errorf("serve the StoreAPI: %w", err)
	case <-ctx.Done():
	}
	cut := time.AfterFunc(drain, g.Stop)
	g.GracefulStop()
	cut.Stop()
	return <-failed
}

// credentials read the files at each handshake, so that renewed ones are used.
func (s *Server) credentials() credentials.TransportCredentials {
	if s.cur.Load().cfg.Insecure {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := s.cur.Load().cfg.tls()
			if err != nil {
				s.o.Logger.Error("certificates of the StoreAPI", "err", err)
			}
			return c, err
		},
	})
}

// enter waits for a slot.
func (s *Server) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, status.Error(codes.ResourceExhausted, "no slot became free in time; raise store.thanos.max_concurrency")
	}
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.cur.Load().cfg.Timeout))
	defer cancel()
	defer func() { s.m.done(info.FullMethod, err) }()
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return next(ctx, req)
}

func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithTimeout(stream.Context(), time.Duration(s.cur.Load().cfg.Timeout))
	defer cancel()
	defer func() { s.m.done(info.FullMethod, err) }()
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return next(srv, timed{stream, ctx})
}

// timed is a stream whose calls end at a deadline.
type timed struct {
	grpc.ServerStream
	ctx context.Context
}

func (t timed) Context() context.Context { return t.ctx }
