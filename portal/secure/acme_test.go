package secure

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// resolver answers every name with 127.0.0.1.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(answer)
	})}
	started, done := make(chan struct{}), make(chan error, 1)
	srv.NotifyStartedFunc = func() { close(started) }
	go func() { done <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// authorityAt is a certificate authority that proves names on a port of loopback. It
// returns its directory, a file with the root of its API, and the root of what it signs.
func authorityAt(t *testing.T, port int) (url, apiRoots string, roots *x509.CertPool, stop func()) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	memory := db.NewMemoryStore()
	authority := ca.New(quiet, memory, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "the only one"}})
	validator := va.New(quiet, 1, port, true, resolver(t), memory)
	front := wfe.New(quiet, memory, validator, authority, []string{"ca.test"}, true, false, 1, 1)
	srv := httptest.NewTLSServer(front.Handler())
	t.Cleanup(srv.Close)
	apiRoots = filepath.Join(t.TempDir(), "api.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(apiRoots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	root, err := x509.ParseCertificate(authority.GetRootCert(0).DER)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(root)
	return srv.URL + wfe.DirectoryPath, apiRoots, roots, srv.Close
}

func TestACME(t *testing.T) {
	// The authority must know the port before it is started, and the island the
	// authority: a listener that is handed over settles it.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	url, apiRoots, roots, stop := authorityAt(t, l.Addr().(*net.TCPAddr).Port)
	cfg := Config{Mode: ACME, Names: []string{"atoll.test"}, ACME: ACMEConfig{DirectoryURL: url, Email: "ann@atoll.test", CAFile: apiRoots}}
	opts := Options{Config: cfg, Dir: t.TempDir()}
	with, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if s := with.Status(); s.Mode != ACME || s.FingerprintSHA256 != "" {
		t.Errorf("before the first connection: %+v", s)
	}
	serve(t, with, l)
	body, peer, err := get(t, "https://"+addr, "atoll.test", roots)
	if err != nil || body != "encrypted HTTP/2.0" {
		t.Fatalf("%q, %v", body, err)
	}
	if s := with.Status(); s.FingerprintSHA256 != Fingerprint(peer.Raw) || !s.ExpiresAt.After(time.Now()) {
		t.Errorf("status %+v", s)
	}
	if _, _, err := get(t, "https://"+addr, "other.test", roots); err == nil {
		t.Error("a certificate for a name that is not ours")
	}

	// After a restart it is there without the authority.
	stop()
	again, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, kept, err := get(t, "https://"+served(t, again, "127.0.0.1:0"), "atoll.test", roots); err != nil || !kept.Equal(peer) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestACMESettingsAreChecked(t *testing.T) {
	cfg := Config{Mode: ACME, Names: []string{"atoll.test"}, ACME: Default().ACME}
	if _, err := New(Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("without a directory: %v", err)
	}
	cfg.ACME.CAFile = filepath.Join(t.TempDir(), "none.pem")
	if _, err := New(Options{Config: cfg, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "http.tls.acme.ca_file") {
		t.Errorf("without its roots: %v", err)
	}
}
