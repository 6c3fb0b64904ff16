package protocol

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Handshake makes a TLS client of conn: it times the phase TLS, takes the chain even
// where it is not valid, adds the samples about it, and says in words what is wrong.
// cfg is not changed; its ServerName is what the certificate must be for. The
// connection is the caller's to close, also after an error. What a module asks of the
// certificate beside being valid is Certify's.
func Handshake(ctx context.Context, conn net.Conn, cfg *tls.Config, keep Keep, r *Result) (*tls.Conn, error) {
	w := NewWatch(cfg)
	c, err := w.Client(ctx, conn, r)
	w.Record(keep, r)
	return c, err
}

// Watch looks at the chain of one server in place of crypto/tls. It is for those that
// shake hands by other means than Handshake (QUIC, libraries), or more than once in a
// probe.
type Watch struct {
	config *tls.Config
	roots  *x509.CertPool
	skip   bool
	now    func() time.Time
	next   func(tls.ConnectionState) error

	// A library may still be shaking hands when the probe has ended.
	mu   sync.Mutex
	seen seen
}

// seen is what a handshake has shown.
type seen struct {
	state   tls.ConnectionState
	chains  [][]*x509.Certificate
	code    Code
	problem string
}

// errChain ends a handshake whose chain is not valid; Watch has the words.
var errChain = errors.New("the certificate is not valid")

// NewWatch returns a watch over connections made with its Config.
func NewWatch(cfg *tls.Config) *Watch {
	w := &Watch{config: cfg.Clone(), roots: cfg.RootCAs, skip: cfg.InsecureSkipVerify, now: cfg.Time, next: cfg.VerifyConnection}
	if w.now == nil {
		w.now = time.Now
	}
	w.config.InsecureSkipVerify = true
	w.config.VerifyConnection = w.verify
	return w
}

// Config is what to give to crypto/tls.
func (w *Watch) Config() *tls.Config { return w.config }

// Client shakes hands over conn.
func (w *Watch) Client(ctx context.Context, conn net.Conn, r *Result) (*tls.Conn, error) {
	start := time.Now()
	c := tls.Client(conn, w.config)
	err := c.HandshakeContext(ctx)
	r.Phases[TLS] += time.Since(start)
	if err != nil {
		w.Fail(err, r)
		return nil, err
	}
	return c, nil
}

func (w *Watch) verify(cs tls.ConnectionState) error {
	s := seen{state: cs}
	switch {
	case len(cs.PeerCertificates) == 0:
		s.code, s.problem = TLSHandshake, "the server sent no certificate"
	case !w.skip:
		opts := w.options(cs.PeerCertificates)
		chains, err := cs.PeerCertificates[0].Verify(opts)
		if err != nil {
			s.code, s.problem = diagnose(cs.PeerCertificates, opts, err)
		}
		s.chains = chains
	}
	w.mu.Lock()
	w.seen = s
	w.mu.Unlock()
	if s.problem != "" {
		return errChain
	}
	if w.next != nil {
		return w.next(cs)
	}
	return nil
}

func (w *Watch) options(sent []*x509.Certificate) x509.VerifyOptions {
	opts := x509.VerifyOptions{Roots: w.roots, CurrentTime: w.now(), DNSName: w.config.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range sent[1:] {
		opts.Intermediates.AddCert(c)
	}
	return opts
}

func (w *Watch) look() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// Fail says why a handshake with Config failed.
func (w *Watch) Fail(err error, r *Result) {
	var op *net.OpError
	var plain tls.RecordHeaderError
	s := w.look()
	switch {
	case s.problem != "":
		r.Fail(s.code, TLS, "%s", s.problem)
	case errors.Is(err, ErrDenied), isTimeout(err):
		r.FailError(TLS, "TLS handshake", err)
	case errors.As(err, &plain):
		r.Fail(TLSMissing, TLS, "the server does not speak TLS on this port: it sent %q", plain.RecordHeader[:])
	case errors.As(err, &op) && op.Op == "remote error":
		r.Fail(TLSHandshake, TLS, "the server refused the TLS handshake: %s", strings.TrimPrefix(op.Err.Error(), "tls: "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		r.Fail(ConnectionReset, TLS, "the server closed the connection during the TLS handshake")
	default:
		r.Fail(TLSHandshake, TLS, "TLS handshake: %.200s", strings.TrimPrefix(err.Error(), "tls: "))
	}
}

// Chain is what the server sent; nil before a handshake came that far.
func (w *Watch) Chain() *Chain {
	s := w.look()
	sent := s.state.PeerCertificates
	if len(sent) == 0 {
		return nil
	}
	if w.skip && s.problem == "" {
		opts := w.options(sent)
		if _, err := sent[0].Verify(opts); err != nil {
			_, s.problem = diagnose(sent, opts, err)
		}
	}
	return &Chain{
		Sent: sent, Verified: s.chains, Problem: s.problem, Staple: s.state.OCSPResponse,
		Version: tls.VersionName(s.state.Version), Cipher: tls.CipherSuiteName(s.state.CipherSuite), Protocol: s.state.NegotiatedProtocol,
	}
}

// maxSamples certificates of a chain get samples of their own: no honest chain is
// longer.
const maxSamples = 10

// Record adds the samples of the connection, and the chain if it is to be kept.
func (w *Watch) Record(keep Keep, r *Result) {
	s := w.look()
	sent := s.state.PeerCertificates
	if len(sent) == 0 {
		return
	}
	leaf := sent[0]
	r.Add("probe_ssl_earliest_cert_expiry", float64(earliest(sent).Unix()))
	if s.problem == "" {
		r.Add("probe_ssl_last_chain_expiry_timestamp_seconds", float64(lastExpiry(s.chains).Unix()))
	}
	sum := sha256.Sum256(leaf.Raw)
	r.Add("probe_ssl_last_chain_info", 1,
		"fingerprint_sha256", hex.EncodeToString(sum[:]), "subject", label(leaf.Subject.String()), "issuer", label(leaf.Issuer.String()),
		"subjectalternative", label(strings.Join(leaf.DNSNames, ",")), "serialnumber", serial(leaf))
	r.Add("probe_tls_version_info", 1, "version", tls.VersionName(s.state.Version))
	r.Add("probe_tls_cipher_info", 1, "cipher", tls.CipherSuiteName(s.state.CipherSuite))
	for i, c := range sent[:min(len(sent), maxSamples)] {
		position := strconv.Itoa(i)
		r.Add("probe_tls_certificate_not_after_seconds", float64(c.NotAfter.Unix()),
			"position", position, "subject", label(c.Subject.String()), "issuer", label(c.Issuer.String()), "serial", serial(c))
		if bits := KeyBits(c); bits > 0 {
			r.Add("probe_tls_certificate_key_bits", float64(bits), "position", position)
		}
	}
	if keep.Chain {
		r.Chain = w.Chain()
	}
}

func earliest(certs []*x509.Certificate) time.Time {
	var t time.Time
	for _, c := range certs {
		if !c.NotAfter.IsZero() && (t.IsZero() || c.NotAfter.Before(t)) {
			t = c.NotAfter
		}
	}
	return t
}

// lastExpiry is when the last of the valid chains ends.
func lastExpiry(chains [][]*x509.Certificate) time.Time {
	var last time.Time
	for _, chain := range chains {
		if t := earliest(chain); last.IsZero() || last.Before(t) {
			last = t
		}
	}
	return last
}

// serial keeps leading zeros of a byte, as blackbox_exporter does.
func serial(c *x509.Certificate) string {
	return label(fmt.Sprintf("%x", c.SerialNumber.Bytes()))
}

// maxLabel is the longest label value that is made of a server's words, in bytes.
const maxLabel = 1024

// label makes a label value of what a server sent.
func label(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// KeyBits is how long a certificate's key is, 0 where that says nothing.
func KeyBits(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	}
	return 0
}
