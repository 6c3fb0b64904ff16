package secure

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
)

// Options is what the portal hands over.
type Options struct {
	Config Config
	// Dir keeps keys and certificates; empty: they are kept in memory only.
	Dir string
	// Hosts are names and addresses by which the island is reached, for the
	// certificate that it makes.
	Hosts      []string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// source hands out the certificate of a connection.
type source interface {
	certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// TLS encrypts connections.
type TLS struct {
	mode     Mode
	log      *slog.Logger
	source   source
	config   *tls.Config
	failures prometheus.Counter

	mu     sync.Mutex
	last   *x509.Certificate // that was handed out last
	said   string            // the error that was logged last
	saidAt time.Time
}

// New loads the certificate, or makes it. It returns nil with mode off.
func New(opts Options) (*TLS, error) {
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	if opts.Config.Mode == Off {
		return nil, nil
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	t := &TLS{mode: opts.Config.Mode, log: opts.Logger}
	t.config = &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: t.certificate,
	}
	var err error
	switch opts.Config.Mode {
	case Files:
		t.source = &files{cert: opts.Config.CertFile, key: opts.Config.KeyFile}
	case ACME:
		t.source, err = newACME(opts)
		t.config.NextProtos = append(t.config.NextProtos, acme.ALPNProto)
	default:
		t.source = &selfSigned{dir: opts.Dir, must: opts.must(), log: opts.Logger, now: time.Now}
	}
	if err != nil {
		return nil, err
	}
	if err := t.register(opts.Registerer); err != nil {
		return nil, fmt.Errorf("register metrics of TLS: %w", err)
	}
	if opts.Config.Mode == ACME {
		return t, nil // the first connection asks for it
	}
	// Whatever is wrong with it is told now, and not to the first visitor.
	_, err = t.certificate(nil)
	return t, err
}

// must are the names that a certificate of ours has to have.
func (o Options) must() []string {
	var all []string
	for _, name := range append(append([]string{}, o.Hosts...), o.Config.Names...) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if ip := net.ParseIP(name); ip != nil && ip.IsUnspecified() {
			continue
		}
		if name != "" && (net.ParseIP(name) != nil || hostName.MatchString(name)) {
			all = append(all, name)
		}
	}
	return all
}

func (t *TLS) register(reg prometheus.Registerer) error {
	t.failures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "atoll_portal_certificate_failures_total",
		Help: "Connections for which the certificate could not be loaded, renewed or obtained.",
	})
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "atoll_portal_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that was handed out last ends; 0 before the first.",
	}, func() float64 {
		if c := t.leaf(); c != nil {
			return float64(c.NotAfter.Unix())
		}
		return 0
	})
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{t.failures, expiry} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (t *TLS) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := t.source.certificate(hello)
	if err != nil {
		t.failed(err, c == nil)
	}
	if c == nil {
		return nil, err
	}
	// A certificate that answers a challenge is none that people see.
	if hello == nil || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != acme.ALPNProto {
		t.handed(c)
	}
	return c, nil
}

func (t *TLS) failed(err error, whole bool) {
	t.failures.Inc()
	t.mu.Lock()
	defer t.mu.Unlock()
	// Strangers can cause errors, each with another text.
	if t.said == err.Error() || time.Since(t.saidAt) < sayEvery {
		return
	}
	t.said, t.saidAt = err.Error(), time.Now()
	t.log.Error("certificate", "error", err, "connections_fail", whole)
}

// sayEvery is how often an error of certificates goes to the log.
const sayEvery = 10 * time.Second

func (t *TLS) handed(c *tls.Certificate) {
	leaf := c.Leaf
	if leaf == nil && len(c.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(c.Certificate[0]) // what cannot be parsed is nothing to tell of
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = leaf
}

func (t *TLS) leaf() *x509.Certificate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// Status is what an island tells of its certificate.
type Status struct {
	Mode Mode `json:"mode"`
	// PlainOnLoopback tells that connections of this machine with itself are plain.
	PlainOnLoopback bool `json:"plain_on_loopback"`
	// FingerprintSHA256 is that of the certificate, as browsers show it; "" before
	// there is one.
	FingerprintSHA256 string     `json:"fingerprint_sha256,omitempty"`
	ExpiresAt         *time.Time `json:"expires_at,omitempty"`
}

// Status tells of the certificate that was handed out last. Of nil it is nil.
func (t *TLS) Status() *Status {
	if t == nil {
		return nil
	}
	s := &Status{Mode: t.mode, PlainOnLoopback: t.SparesLoopback()}
	if s.Mode == Auto {
		s.Mode = SelfSigned
	}
	if leaf := t.leaf(); leaf != nil {
		at := leaf.NotAfter.UTC()
		s.FingerprintSHA256, s.ExpiresAt = Fingerprint(leaf.Raw), &at
	}
	return s
}

// Fingerprint is the SHA-256 of a certificate's DER as pairs of hex digits.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	pairs := make([]string, 0, len(sum))
	for i := 0; i < len(text); i += 2 {
		pairs = append(pairs, text[i:i+2])
	}
	return strings.Join(pairs, ":")
}

// SparesLoopback reports whether connections of this machine with itself are plain.
func (t *TLS) SparesLoopback() bool { return t != nil && t.mode == Auto }

// Wrap returns a listener whose connections are encrypted. A nil t returns l.
func (t *TLS) Wrap(l net.Listener) net.Listener {
	if t == nil {
		return l
	}
	return &listener{Listener: l, tls: t}
}

type listener struct {
	net.Listener
	tls *TLS
}

// Accept goes by the address that a connection came to, which on a wildcard
// listener differs from one to the next.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.tls.SparesLoopback() && Loopback(c.LocalAddr()) {
		return c, nil
	}
	return tls.Server(c, l.tls.config), nil
}

// Loopback reports whether only this machine reaches an address.
func Loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
