package names

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// unboundConf answers for test. without asking anybody, over UDP, TCP, TLS and HTTPS.
const unboundConf = `
server:
  directory: "%[1]s"
  chroot: ""
  username: ""
  pidfile: "%[1]s/pid"
  logfile: "%[1]s/log"
  do-daemonize: no
  use-syslog: no
  interface: 127.0.0.1@%[2]s
  interface: 127.0.0.1@%[3]s
  interface: 127.0.0.1@%[4]s
  tls-port: %[3]s
  https-port: %[4]s
  tls-service-key: "%[1]s/key.pem"
  tls-service-pem: "%[1]s/cert.pem"
  access-control: 127.0.0.0/8 allow
  local-zone: "test." static
  local-data: "a.test. 300 IN A 192.0.2.1"
  local-data: "test. 300 IN SOA ns.test. admin.test. 7 1 2 3 4"
%[5]s
remote-control:
  control-enable: no
`

func TestUnbound(t *testing.T) {
	unbound, err := exec.LookPath("unbound")
	if err != nil {
		t.Skipf("%v: apt-get install unbound", err)
	}
	dir := t.TempDir()
	cert, ca := identity(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	plain, secure, web := freePort(t), freePort(t), freePort(t)
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "  local-data: \"big.test. 300 IN A 192.0.2.%d\"\n", i)
	}
	for name, text := range map[string]string{
		"cert.pem": ca, "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"unbound.conf": fmt.Sprintf(unboundConf, dir, plain, secure, web, many.String()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(unbound, "-d", "-c", filepath.Join(dir, "unbound.conf"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+web); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("unbound does not listen: %s", text)
		}
	}
	for name, c := range map[string]struct{ over, port, query, answer string }{
		"udp":   {"udp", plain, "a.test", "192.0.2.1"},
		"tcp":   {"tcp", plain, "a.test", "192.0.2.1"},
		"tls":   {"tls", secure, "a.test", "192.0.2.1"},
		"https": {"https", web, "a.test", "192.0.2.1"},
		"long":  {"udp", plain, "big.test", "192.0.2.199"},
	} {
		m := want(func(m *definition.Module) {
			m.DNS.QueryName, m.DNS.TLSConfig.CA = c.query, ca
			m.Resolver = definition.Resolver{Over: c.over, Answers: []string{c.answer}, Same: []string{"127.0.0.1:" + c.port}}
		})
		if r := probeOnce(t, patience, "127.0.0.1:"+c.port, m); !r.Up {
			t.Errorf("%s: %v", name, r.Reason)
		}
	}
	wantReason(t, probeOnce(t, patience, "127.0.0.1:"+plain, want(func(m *definition.Module) { m.DNS.QueryName = "none.test" })), protocol.Status, "NXDOMAIN")
	signed := want(func(m *definition.Module) { m.Resolver.DNSSEC = true })
	wantReason(t, probeOnce(t, patience, "127.0.0.1:"+plain, signed), protocol.Answer, "no RRSIG")
}

// freePort is a port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}
