package portal

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/atoll-mesh/atoll/portal/secure"
)

// trusting has the client trust the certificate that an island made.
func (r *running) trusting(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "portal", "tls", "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
}

func TestSelfSignedPortal(t *testing.T) {
	cfg := testConfig()
	cfg.TLS.Mode = secure.SelfSigned
	dir := t.TempDir()
	r := run(t, Options{Config: cfg, Dir: dir, Status: func() Status { return Status{Name: "oslo"} }})
	if r.URL().Scheme != "https" {
		t.Errorf("URL %s", r.URL())
	}
	r.base = "https://" + r.Addr()
	r.trusting(t, dir)
	_, body, _ := r.ask(t, "GET", "/api/atoll/v1/status", nil)
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if s.TLS == nil || s.TLS.Mode != secure.SelfSigned || s.TLS.FingerprintSHA256 == "" || s.TLS.PlainOnLoopback {
		t.Errorf("status of TLS: %+v", s.TLS)
	}
	text := new(strings.Builder)
	if err := (&Report{Status: s}).WriteText(text); err != nil || !strings.Contains(text.String(), "SHA-256 "+s.TLS.FingerprintSHA256) {
		t.Errorf("%v, %s", err, text)
	}
	code, body, _ := r.askPlain(t)
	if code != http.StatusBadRequest {
		t.Errorf("plain HTTP: %d %s", code, body)
	}
}

// askPlain asks without TLS, whatever the portal has.
func (r *running) askPlain(t *testing.T) (int, string, http.Header) {
	t.Helper()
	plain := *r
	plain.base, plain.client = "http://"+r.Addr(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return plain.ask(t, "GET", "/-/healthy", nil)
}

// TestLoopbackIsPlainByDefault on an address that other machines reach too.
func TestLoopbackIsPlainByDefault(t *testing.T) {
	cfg := testConfig()
	cfg.Listen = []string{"0.0.0.0:0"}
	r := run(t, Options{Config: cfg, Dir: t.TempDir(), Status: func() Status { return Status{} }})
	_, port, err := net.SplitHostPort(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.URL().String(); got != "http://localhost:"+port {
		t.Errorf("URL %s", got)
	}
	r.base = "http://127.0.0.1:" + port
	if code, body, _ := r.ask(t, "GET", "/api/atoll/v1/status", nil); code != 200 || !strings.Contains(body, `"plain_on_loopback":true`) {
		t.Errorf("%d %s", code, body)
	}
}

func TestPasswordsOfTheWebConfigUnderTLSOfOurs(t *testing.T) {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.TLS.Mode, cfg.WebConfig = secure.SelfSigned, filepath.Join(dir, "web.yml")
	writeFile(t, cfg.WebConfig, []byte("basic_auth_users: {anna: '"+string(hash)+"'}\n"))
	r := run(t, Options{Config: cfg, Dir: dir})
	r.base = "https://" + r.Addr()
	r.trusting(t, dir)
	if code, _, _ := r.ask(t, "GET", "/-/healthy", nil); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", code)
	}
	if code, _, _ := r.ask(t, "GET", "/-/healthy", func(q *http.Request) { q.SetBasicAuth("anna", "secret") }); code != 200 {
		t.Errorf("with it: %d", code)
	}
}

func TestTwoCertificatesAreRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t)
	writeFile(t, filepath.Join(dir, "cert.pem"), cert)
	writeFile(t, filepath.Join(dir, "key.pem"), key)
	cfg := testConfig()
	cfg.TLS.Mode, cfg.WebConfig = secure.SelfSigned, filepath.Join(dir, "web.yml")
	writeFile(t, cfg.WebConfig, []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"))
	p, err := New(Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err == nil || !strings.Contains(err.Error(), "remove one of the two") {
		t.Errorf("Listen: %v", err)
	}
	cfg.WebConfig, cfg.TLS.Mode = "", secure.Files
	if _, err := New(Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "http.tls.mode") {
		t.Errorf("files without files: %v", err)
	}
}
