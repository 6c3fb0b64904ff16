package web

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"crypto/x509"

	"github.com/prometheus/blackbox_exporter/prober"
)

// nginxConf serves a page over HTTP/1.1 and, over TLS, HTTP/2.
const nginxConf = `
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen %[2]s;
    location / { root %[1]s/www; }
    location /to { return 301 /; }
    location /packed { gzip on; gzip_min_length 1; gzip_types text/plain; default_type text/plain; return 200 "hello, hello, hello, hello, world"; }
  }
  server { listen %[3]s ssl http2; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem; location / { root %[1]s/www; } }
}`

func TestNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skipf("%v: apt-get install nginx", err)
	}
	dir := t.TempDir()
	cert := httptest.NewTLSServer(nil)
	cert.Close()
	key, err := x509.MarshalPKCS8PrivateKey(cert.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	plain, secure := freePort(t), freePort(t)
	for name, text := range map[string]string{
		"www/index.html": "<h1>hello</h1>",
		"cert.pem":       string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate().Raw})),
		"key.pem":        string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"nginx.conf":     fmt.Sprintf(nginxConf, dir, plain, secure),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(nginx, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"), "-p", dir, "-g", "user root;")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	listening(t, secure, filepath.Join(dir, "error.log"))
	ca := "tls_config: {server_name: example.com, ca: " + authorityPEM(cert) + "}"
	for name, c := range map[string]struct{ target, http string }{
		"HTTP/1.1": {"http://" + plain, "fail_if_body_not_matches_regexp: [hello], valid_http_versions: [HTTP/1.1]"},
		"HTTP/2":   {"https://" + secure, ca + ", fail_if_body_not_matches_regexp: [hello], valid_http_versions: [HTTP/2.0]"},
		"TLS, 1.1": {"https://" + secure, ca + ", enable_http2: false, valid_http_versions: [HTTP/1.1]"},
		"redirect": {"http://" + plain + "/to", ""},
		"gzip":     {"http://" + plain + "/packed", "compression: gzip, headers: {Accept-Encoding: gzip}, fail_if_body_not_matches_regexp: [world]"},
		"missing":  {"http://" + plain + "/none", "valid_status_codes: [404]"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, c.target, "http: {"+c.http+"}")
			compare(t, prober.ProbeHTTP, HTTP, req)
			wantUp(t, run(t, HTTP, req))
		})
	}
}

// freePort is a local address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// listening waits until somebody listens at addr.
func listening(t *testing.T, addr, log string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	text, _ := os.ReadFile(log)
	t.Fatalf("nobody listens at %s: %s", addr, text)
}
