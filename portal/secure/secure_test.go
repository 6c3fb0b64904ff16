package secure

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The authority of the ACME test has workers that nothing ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]Config{
		`http.tls.mode: "on": must be one of [off self-signed files acme]`: {Mode: "on"},
		"needs cert_file and key_file":                                     {Mode: Files, CertFile: "a.pem"},
		`has no use for cert_file`:                                         {Mode: SelfSigned, CertFile: "a.pem", KeyFile: "b.pem"},
		`http.tls.names[0]: "a b": must be a host name`:                    {Names: []string{"a b"}},
		"http.tls.names: is empty":                                         {Mode: ACME, ACME: Default().ACME},
		`names[0]: "10.0.0.1": with mode acme`:                             {Mode: ACME, Names: []string{"10.0.0.1"}, ACME: Default().ACME},
		`http.tls.acme.directory_url: "http://x/"`:                         {Mode: ACME, Names: []string{"a.test"}, ACME: ACMEConfig{DirectoryURL: "http://x/"}},
		`http.tls.acme.email: "a, b@c"`:                                    {ACME: ACMEConfig{Email: "a, b@c"}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	if err := (Config{Names: []string{"atoll.example.com", "10.0.0.1", "fd00::1", "n1"}}).Validate(); err != nil {
		t.Error(err)
	}
}

// served answers on an address with TLS as t has it, and returns that address.
func served(t *testing.T, with *TLS, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, with, l)
	return l.Addr().String()
}

func serve(t *testing.T, with *TLS, l net.Listener) {
	t.Helper()
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			_, _ = io.WriteString(w, "encrypted "+r.Proto)
			return
		}
		_, _ = io.WriteString(w, "plain")
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(with.Wrap(l)) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func get(t *testing.T, url, name string, roots *x509.CertPool) (body string, peer *x509.Certificate, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 2 * time.Minute}).Get(url)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.TLS != nil {
		peer = resp.TLS.PeerCertificates[0]
	}
	return string(text), peer, err
}

func rootsOf(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, certName))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", text)
	}
	return roots
}

func TestSelfSignedIsServedAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "portal", "tls")
	opts := Options{Config: Config{Mode: SelfSigned, Names: []string{"Atoll.Test"}}, Dir: dir, Hosts: []string{"", "0.0.0.0", "192.0.2.7"}}
	first, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	addr := served(t, first, "127.0.0.1:0")
	for _, name := range []string{"", "atoll.test", "localhost", "192.0.2.7"} {
		body, peer, err := get(t, "https://"+addr, name, rootsOf(t, dir))
		if err != nil || body != "encrypted HTTP/2.0" {
			t.Fatalf("as %q: %q, %v", name, body, err)
		}
		if got := first.Status().FingerprintSHA256; got != Fingerprint(peer.Raw) || len(got) != 95 {
			t.Errorf("status tells %s of %s", got, Fingerprint(peer.Raw))
		}
	}
	if _, _, err := get(t, "https://"+addr, "other.test", rootsOf(t, dir)); err == nil {
		t.Error("is good for another name")
	}
	info, err := os.Stat(filepath.Join(dir, keyName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}

	again, err := New(opts)
	if err != nil || again.Status().FingerprintSHA256 != first.Status().FingerprintSHA256 {
		t.Errorf("after a restart: %+v, %v", again.Status(), err)
	}
	opts.Hosts = append(opts.Hosts, "192.0.2.8")
	more, err := New(opts)
	if err != nil || more.Status().FingerprintSHA256 == first.Status().FingerprintSHA256 {
		t.Errorf("with another name: %+v, %v", more.Status(), err)
	}
	if !more.leaf().PublicKey.(*ecdsa.PublicKey).Equal(first.leaf().PublicKey) {
		t.Error("the key is another")
	}
}

func TestSelfSignedIsRenewed(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	s := &selfSigned{dir: dir, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	one, err := s.certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(lifetime - renewBefore - time.Minute)
	if same, err := s.certificate(nil); err != nil || same != one {
		t.Errorf("renewed too early: %v", err)
	}
	// A disk that takes no file must not cost the certificate that is still good.
	if err := os.Mkdir(filepath.Join(dir, certName+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	if kept, err := s.certificate(nil); err == nil || kept != one {
		t.Errorf("a renewal that fails: %v, the old one kept: %v", err, kept == one)
	}
	if err := os.RemoveAll(filepath.Join(dir, certName+".new")); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.certificate(nil); err == nil || kept != one {
		t.Errorf("it is tried again at once: %v", err)
	}
	now = now.Add(tryAgain)
	two, err := s.certificate(nil)
	if err != nil || two == one || !two.Leaf.NotAfter.After(one.Leaf.NotAfter) {
		t.Fatalf("not renewed: %v", err)
	}
	block, _ := pem.Decode(must(os.ReadFile(filepath.Join(dir, certName))))
	if block == nil || !slices.Equal(block.Bytes, two.Leaf.Raw) {
		t.Error("the file has another certificate")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestBadKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "torn", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))} {
		if err := os.WriteFile(filepath.Join(dir, keyName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Options{Config: Config{Mode: SelfSigned}, Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "remove it and a new one is made") {
			t.Errorf("%q: %v", text, err)
		}
		if got := must(os.ReadFile(filepath.Join(dir, keyName))); string(got) != text {
			t.Errorf("%q was replaced", text)
		}
	}
}

func TestAutoSparesLoopbackOnly(t *testing.T) {
	with, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(served(t, with, ":0"))
	if err != nil {
		t.Fatal(err)
	}
	if body, _, err := get(t, "http://127.0.0.1:"+port, "", nil); err != nil || body != "plain" {
		t.Errorf("on loopback: %q, %v", body, err)
	}
	mine := slices.DeleteFunc(machineAddresses(), func(a string) bool { return net.ParseIP(a).IsLoopback() })
	if len(mine) == 0 {
		t.Skip("this machine has no address besides loopback")
	}
	roots := x509.NewCertPool()
	roots.AddCert(with.leaf())
	at := net.JoinHostPort(mine[0], port)
	if body, _, err := get(t, "https://"+at, "", roots); err != nil || body != "encrypted HTTP/2.0" {
		t.Errorf("elsewhere: %q, %v", body, err)
	}
	if body, _, err := get(t, "http://"+at, "", nil); err != nil || !strings.Contains(body, "HTTP request to an HTTPS server") {
		t.Errorf("plain elsewhere: %q, %v", body, err)
	}
	if s := with.Status(); s.Mode != SelfSigned || !s.PlainOnLoopback || s.ExpiresAt == nil {
		t.Errorf("status %+v", s)
	}
}

func TestOff(t *testing.T) {
	with, err := New(Options{Config: Config{Mode: Off}})
	if err != nil || with != nil || with.Status() != nil || with.SparesLoopback() {
		t.Fatalf("%v, %v", with, err)
	}
	if body, _, err := get(t, "http://"+served(t, with, "127.0.0.1:0"), "", nil); err != nil || body != "plain" {
		t.Errorf("%q, %v", body, err)
	}
}

// pair writes a certificate of its own and its key.
func pair(t *testing.T, cert, key string) *tls.Certificate {
	t.Helper()
	s := &selfSigned{dir: t.TempDir(), log: slog.New(slog.DiscardHandler), now: time.Now}
	c, err := s.certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{certName: cert, keyName: key} {
		if to == "" {
			continue
		}
		if err := os.WriteFile(to, must(os.ReadFile(s.path(from))), 0o600); err != nil {
			t.Fatal(err)
		}
		// Two writes in one tick of the file system's clock look like one.
		later := time.Now().Add(time.Duration(must(os.Stat(to)).Size()) * time.Second)
		if err := os.Chtimes(to, later, later); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	cfg := Config{Mode: Files, CertFile: cert, KeyFile: key}
	if _, err := New(Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "http.tls.cert_file") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	one := pair(t, cert, key)
	reg := prometheus.NewPedanticRegistry()
	with, err := New(Options{Config: cfg, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	addr := served(t, with, "127.0.0.1:0")
	shows := func() string {
		roots := x509.NewCertPool()
		roots.AddCert(with.leaf())
		// Who trusts the old one is refused by the new one, and the other way round.
		_, _, _ = get(t, "https://"+addr, "localhost", roots)
		return with.Status().FingerprintSHA256
	}
	if got := shows(); got != Fingerprint(one.Leaf.Raw) {
		t.Errorf("shows %s", got)
	}
	// Half of a change, as between two writes: the one from before stays.
	future := time.Now().Add(time.Hour)
	pair(t, cert, "")
	if err := os.Chtimes(cert, future, future); err != nil {
		t.Fatal(err)
	}
	if got := shows(); got != Fingerprint(one.Leaf.Raw) {
		t.Errorf("half a change: shows %s", got)
	}
	if n := testutil.ToFloat64(with.failures); n < 1 {
		t.Errorf("%v failures counted", n)
	}
	three := pair(t, cert, key)
	future = future.Add(time.Hour)
	if err := os.Chtimes(cert, future, future); err != nil {
		t.Fatal(err)
	}
	if got := shows(); got != Fingerprint(three.Leaf.Raw) {
		t.Errorf("after the change: shows %s", got)
	}
}
