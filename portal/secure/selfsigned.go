package secure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// lifetime is below what systems put up with in certificates that people trust
	// by themselves, 825 days.
	lifetime    = 800 * 24 * time.Hour
	renewBefore = 30 * 24 * time.Hour
	// tryAgain is how long a renewal that failed rests.
	tryAgain = time.Hour

	certName, keyName = "cert.pem", "key.pem"
)

// selfSigned is a certificate that the island makes. Its key is kept, so that who
// trusts the key goes on trusting it.
type selfSigned struct {
	dir  string
	must []string
	log  *slog.Logger
	now  func() time.Time

	mu     sync.Mutex
	loaded *tls.Certificate
	tried  time.Time
	err    error // of the last try
}

func (s *selfSigned) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded != nil && s.good(s.loaded.Leaf) {
		return s.loaded, nil
	}
	if s.loaded != nil && s.err != nil && s.now().Sub(s.tried) < tryAgain {
		return s.loaded, s.err
	}
	s.tried = s.now()
	c, err := s.loadOrMake()
	if s.err = err; err == nil {
		s.loaded = c
	}
	return s.loaded, s.err
}

// good reports whether a certificate lasts and has every name it must have. Names
// that this machine had when it was made may have gone: that changes too often.
func (s *selfSigned) good(leaf *x509.Certificate) bool {
	if s.now().Before(leaf.NotBefore) || s.now().Add(renewBefore).After(leaf.NotAfter) {
		return false
	}
	return !slices.ContainsFunc(s.must, func(name string) bool { return leaf.VerifyHostname(name) != nil })
}

func (s *selfSigned) loadOrMake() (*tls.Certificate, error) {
	key, err := s.loadKey()
	if err != nil {
		return nil, err
	}
	if c := s.load(key); c != nil && s.good(c.Leaf) {
		return c, nil
	}
	c, err := s.make(key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if err := s.save(certName, "CERTIFICATE", c.Certificate[0], 0o644); err != nil {
		return nil, err
	}
	s.log.Info("made a certificate", "names", c.Leaf.DNSNames, "addresses", c.Leaf.IPAddresses, "expires", c.Leaf.NotAfter,
		"sha256", Fingerprint(c.Leaf.Raw), "file", s.path(certName))
	return c, nil
}

func (s *selfSigned) path(name string) string {
	if s.dir == "" {
		return ""
	}
	return filepath.Join(s.dir, name)
}

// loadKey makes a key where there is none; one that cannot be read is not replaced,
// because somebody may trust it.
func (s *selfSigned) loadKey() (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(s.path(keyName))
	if s.dir == "" || errors.Is(err, fs.ErrNotExist) {
		return s.makeKey()
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of the certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("read the key of the certificate: %s: holds no PEM; remove it and a new one is made", s.path(keyName))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the key of the certificate: %s: %w; remove it and a new one is made", s.path(keyName), err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read the key of the certificate: %s: is a %T, want ECDSA; remove it and a new one is made", s.path(keyName), parsed)
	}
	return key, nil
}

func (s *selfSigned) makeKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the key of the certificate: %w", err)
	}
	return key, s.save(keyName, "PRIVATE KEY", der, 0o600)
}

// load returns nil for what is not there, or is not of this key: then another is made.
func (s *selfSigned) load(key *ecdsa.PrivateKey) *tls.Certificate {
	if s.dir == "" {
		return nil
	}
	text, err := os.ReadFile(s.path(certName))
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		return nil
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func (s *selfSigned) make(key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // a machine without a name has addresses
	// Nobody is to take it for an authority: it signs itself and nothing else.
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Atoll"}, CommonName: "Atoll " + host},
		NotBefore: s.now().Add(-time.Hour), NotAfter: s.now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range slices.Concat(s.must, []string{"localhost", host}, machineAddresses()) {
		addName(template, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func addName(c *x509.Certificate, name string) {
	if ip := net.ParseIP(name); ip != nil {
		if !slices.ContainsFunc(c.IPAddresses, ip.Equal) {
			c.IPAddresses = append(c.IPAddresses, ip)
		}
		return
	}
	if hostName.MatchString(name) && !slices.Contains(c.DNSNames, name) {
		c.DNSNames = append(c.DNSNames, name)
	}
}

// maxAddresses bounds the certificate on machines with very many addresses.
const maxAddresses = 64

// machineAddresses are this machine's own. Without them the certificate is good for
// its names.
func machineAddresses() []string {
	out := []string{"127.0.0.1", "::1"}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() && !n.IP.IsLoopback() && len(out) < maxAddresses {
			out = append(out, n.IP.String())
		}
	}
	return out
}

// save replaces a file as a whole.
func (s *selfSigned) save(name, kind string, der []byte, mode fs.FileMode) error {
	if s.dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the certificate: %w", err)
	}
	path := s.path(name)
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		return errors.Join(fmt.Errorf("write the certificate: %w", err), ignoreMissing(os.Remove(path+".new")))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
