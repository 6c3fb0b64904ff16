package talk

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
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// openDialer lets everything pass.
type openDialer struct{}

func (openDialer) DialContext(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (openDialer) Permit(netip.Addr, uint16) error { return nil }

// module is one with the defaults that a decoded one has.
func module() *definition.Module {
	return &definition.Module{Module: blackbox.DefaultModule}
}

// probe runs a prober with a deadline that a busy machine meets.
func probe(t *testing.T, f protocol.Func, target string, m *definition.Module) *protocol.Result {
	t.Helper()
	return probeWithin(t, f, target, m, 30*time.Second)
}

func probeWithin(t *testing.T, f protocol.Func, target string, m *definition.Module, wait time.Duration) *protocol.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	r := f(ctx, &protocol.Request{
		Target: target, Module: m, Dialer: openDialer{}, Resolver: net.DefaultResolver, Keep: protocol.Keep{Chain: true},
	})
	if r.Up != (r.Reason.Code == "") {
		t.Errorf("up is %v and the reason %q", r.Up, r.Reason)
	}
	var sum time.Duration
	for _, d := range r.Phases {
		sum += d
	}
	if sum > r.Took {
		t.Errorf("the phases take %v, all of it %v", sum, r.Took)
	}
	return r
}

func wantUp(t *testing.T, r *protocol.Result) {
	t.Helper()
	if !r.Up {
		t.Fatalf("down: %v", r.Reason)
	}
}

// wantDown expects a reason with all of the words.
func wantDown(t *testing.T, r *protocol.Result, code protocol.Code, words ...string) {
	t.Helper()
	if r.Up || r.Reason.Code != code {
		t.Fatalf("up %v, %v; want %s", r.Up, r.Reason, code)
	}
	for _, w := range words {
		if !strings.Contains(r.Reason.Words, w) {
			t.Errorf("the reason is %q, want %q in it", r.Reason.Words, w)
		}
	}
}

// sample returns the value of a series, whose labels are name, value, ….
func sample(t *testing.T, r *protocol.Result, name string, labels ...string) float64 {
	t.Helper()
next:
	for _, s := range r.Samples {
		if s.Name != name {
			continue
		}
		for i := 0; i < len(labels); i += 2 {
			if labelOf(s, labels[i]) != labels[i+1] {
				continue next
			}
		}
		return s.Value
	}
	t.Fatalf("no sample %s%v among %v", name, labels, r.Samples)
	return 0
}

func labelOf(s protocol.Sample, name string) string {
	for i := 0; i+1 < len(s.Labels); i += 2 {
		if s.Labels[i] == name {
			return s.Labels[i+1]
		}
	}
	return ""
}

// serve gives each connection to handle; it returns the address.
func serve(t *testing.T, handle func(conn net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, handle)
}

func serveOn(t *testing.T, ln net.Listener, handle func(conn net.Conn)) string {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// script answers lines: what it says first, then for each line that begins with a
// key (or "") its answer.
func script(hello string, answers map[string]string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, hello)
		for s := bufio.NewScanner(conn); s.Scan(); {
			word, _, _ := strings.Cut(s.Text(), " ")
			answer, ok := answers[word]
			if !ok {
				if answer, ok = answers[""]; !ok {
					return
				}
			}
			_, _ = io.WriteString(conn, answer)
		}
	}
}

// pki is an authority and a server's certificate, for 127.0.0.1 and localhost.
type pki struct {
	ca, cert, key string // files
	tls           tls.Certificate
}

func newPKI(t *testing.T) pki {
	t.Helper()
	caKey, leafKey := ecKey(t), ecKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Lab CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: ca.NotBefore, NotAfter: time.Now().Add(120 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return pki{
		ca: write("ca.pem", "CERTIFICATE", caDER), cert: write("cert.pem", "CERTIFICATE", leafDER), key: write("key.pem", "PRIVATE KEY", keyDER),
		tls: tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey},
	}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (p pki) trusted() config.TLSConfig { return config.TLSConfig{CAFile: p.ca} }

// openDir is a directory that servers may enter which are not root; their sockets
// have to be short.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "talk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program finds a server's program, or skips the test.
func program(t *testing.T, pkg string, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, dir := range []string{"", "/usr/sbin/", "/usr/lib/postfix/sbin/", "/usr/lib/postgresql/*/bin/"} {
			if found, _ := filepath.Glob(dir + name); dir != "" && len(found) > 0 {
				return found[len(found)-1]
			}
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed: apt-get install %s", names[0], pkg)
	return ""
}

// port is one that is free now, on 127.0.0.1.
func port(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// start runs a server until the end of the test and waits until it takes connections
// at address ("" for none to wait for).
func start(t *testing.T, address string, cmd *exec.Cmd) {
	t.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out.String())
		}
	})
	for deadline := time.Now().Add(60 * time.Second); address != ""; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen at %s: %v", cmd.Path, address, err)
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", cmd.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
