package portal

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"golang.org/x/crypto/bcrypt"
)

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	cfg := testConfig()
	cfg.ExternalURL = "https://atoll.example.com"
	reloads := 0
	r := run(t, Options{Config: cfg,
		Reload: func(context.Context) error { reloads++; return nil },
		Routes: map[string]http.Handler{"/api/v2/": text("alertmanager")},
	})
	for _, tc := range []struct {
		name, method, path string
		headers            map[string]string
		want               int
	}{
		{"a tool", "POST", "/-/reload", nil, 200},
		{"our page", "POST", "/-/reload", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": r.base}, 200},
		{"the address bar", "GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site"}, 200},
		{"another site", "POST", "/-/reload", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"another port", "POST", "/-/reload", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"}, 403},
		{"an old browser elsewhere", "POST", "/-/reload", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a sandboxed frame", "POST", "/-/reload", map[string]string{"Origin": "null"}, 403},
		{"other rooms' routes", "DELETE", "/api/v2/silence/1", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"behind our proxy", "POST", "/-/reload", map[string]string{"Origin": "https://atoll.example.com"}, 200},
	} {
		code, body, _ := r.ask(t, tc.method, tc.path, func(req *http.Request) {
			for k, v := range tc.headers {
				req.Header.Set(k, v)
			}
		})
		if code != tc.want {
			t.Errorf("%s: %d %q, want %d", tc.name, code, body, tc.want)
		}
	}
	if reloads != 3 {
		t.Errorf("%d reloads, want 3", reloads)
	}
	if n := testutil.ToFloat64(r.metrics.refused.WithLabelValues(refusedCrossSite)); n != 5 {
		t.Errorf("%v refusals counted, want 5", n)
	}
}

func TestForeignHostNamesAreRefusedOnLoopback(t *testing.T) {
	cfg := testConfig()
	cfg.ExternalURL = "https://Atoll.example.com/"
	r := run(t, Options{Config: cfg})
	for host, want := range map[string]int{
		r.Addr():                    200,
		"localhost:59080":           200,
		"box":                       200,
		"[::1]:59080":               200,
		"atoll.localhost":           200,
		"host.docker.internal:1":    200,
		"atoll.example.com":         200,
		"atoll.example.com.:443":    200,
		"rebound.evil.example:1234": 421,
		"127.0.0.1.evil.example":    421,
		"localhost.evil.example":    421,
	} {
		if code, body, _ := r.ask(t, "GET", "/api/atoll/v1/health", func(req *http.Request) { req.Host = host }); code != want {
			t.Errorf("%s: %d %q, want %d", host, code, body, want)
		}
	}
}

// certificate returns PEM texts of a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "island"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func writeFile(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWebConfigTLSAndUsers(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t)
	writeFile(t, filepath.Join(dir, "cert.pem"), cert)
	writeFile(t, filepath.Join(dir, "key.pem"), key)
	webConfig := func(password string) []byte {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Appendf(nil, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {anna: %q}\n", hash)
	}
	cfg := testConfig()
	cfg.WebConfig = filepath.Join(dir, "web.yml")
	writeFile(t, cfg.WebConfig, webConfig("first"))

	r := run(t, Options{Config: cfg})
	if r.URL().Scheme != "https" {
		t.Errorf("URL %s", r.URL())
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	as := func(user, password string) int {
		code, _, _ := r.ask(t, "GET", "/api/atoll/v1/health", func(req *http.Request) {
			if user != "" {
				req.SetBasicAuth(user, password)
			}
		})
		return code
	}
	for _, tc := range []struct {
		user, password string
		want           int
	}{{"", "", 401}, {"anna", "wrong", 401}, {"bert", "first", 401}, {"anna", "first", 200}} {
		if got := as(tc.user, tc.password); got != tc.want {
			t.Errorf("%s:%s: %d, want %d", tc.user, tc.password, got, tc.want)
		}
	}
	// The file is read again for each request: no restart for a new password.
	writeFile(t, cfg.WebConfig, webConfig("second"))
	if a, b := as("anna", "first"), as("anna", "second"); a != 401 || b != 200 {
		t.Errorf("after the change: old password %d, new password %d", a, b)
	}
	plain, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + r.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP on the TLS port: %d", plain.StatusCode)
	}
	// A reload reports a file that has gone bad; nothing else would.
	writeFile(t, cfg.WebConfig, []byte("basic_auth_users: {anna: plaintext}\n"))
	if _, _, err := r.Prepare(cfg); err == nil || !strings.Contains(err.Error(), cfg.WebConfig) {
		t.Errorf("prepare with a bad web config: %v", err)
	}
}

func TestWebConfigIsCheckedBeforeListening(t *testing.T) {
	cfg := testConfig()
	cfg.WebConfig = filepath.Join(t.TempDir(), "missing.yml")
	p, err := New(Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.web_config") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Run: %v", err)
	}
	if p.Addr() != "" {
		t.Errorf("listens on %s", p.Addr())
	}
}

// slow is a handler that waits for release or its request's end.
func slow() (h http.Handler, entered, release chan struct{}, ended chan error) {
	entered, release, ended = make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		select {
		case <-release:
			_, _ = io.WriteString(w, "whole")
		case <-r.Context().Done():
		}
		ended <- r.Context().Err()
	})
	return h, entered, release, ended
}

func TestStopLetsRequestsFinish(t *testing.T) {
	h, entered, release, _ := slow()
	r := run(t, Options{Routes: map[string]http.Handler{"/slow": h}})
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := r.client.Get(r.base + "/slow")
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answers <- answer{string(body), err}
	}()
	<-entered
	stopped := make(chan error, 1)
	addr := r.Addr()
	go func() { stopped <- r.stop() }()
	waitFor(t, "the port to close", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("Run returned with a request in flight: %v", err)
	default:
	}
	close(release)
	if a := <-answers; a.err != nil || a.body != "whole" {
		t.Errorf("the request in flight: %q, %v", a.body, a.err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStopCutsRequestsAtTheDeadline(t *testing.T) {
	h, entered, _, ended := slow()
	cfg := testConfig()
	cfg.ShutdownTimeout = model.Duration(20 * time.Millisecond)
	r := run(t, Options{Config: cfg, Routes: map[string]http.Handler{"/slow": h}})
	failed := make(chan error, 1)
	go func() {
		resp, err := r.client.Get(r.base + "/slow")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the handler saw no cancellation")
		}
	default:
		t.Error("Run returned before the handler")
	}
	if err := <-failed; err == nil {
		t.Error("the client took a cut answer for whole")
	}
}

func TestMaxConnections(t *testing.T) {
	cfg := testConfig()
	cfg.MaxConnections = 1
	r := run(t, Options{Config: cfg})
	first, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	waitFor(t, "the first connection to be counted", func() bool { return testutil.ToFloat64(r.metrics.connections) == 1 })

	second, err := net.Dial("tcp", r.Addr()) // the kernel accepts, the portal does not yet
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := io.WriteString(second, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(r.metrics.connections); n != 1 {
		t.Errorf("%v connections open, want 1", n)
	}
	first.Close()
	resp, err := http.ReadResponse(bufio.NewReader(second), nil)
	if err != nil {
		t.Fatalf("the second connection after the first has ended: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// waitFor polls until ok; the deadline only bounds a failure.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
