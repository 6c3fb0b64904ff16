package protocol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// shake has a client and a server of TLS meet.
func shake(t *testing.T, server, client *tls.Config) *Result {
	t.Helper()
	// A pipe has no buffers: both sides would write and wait for each other.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	here, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
		c := tls.Server(there, server)
		if c.Handshake() == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := &Result{}
	c, err := Handshake(ctx, here, client, Keep{Chain: true}, r)
	if (err == nil) != (r.Reason.Code == "") || (c == nil) != (err != nil) {
		t.Errorf("handshake gave %v and error %v with reason %v", c, err, r.Reason)
	}
	here.Close()
	<-done
	return r
}

func TestHandshakeTellsWhatIsWrong(t *testing.T) {
	root := issue(t, "Root", nil, authority)
	other := issue(t, "Other root", nil, authority)
	middle := issue(t, "Middle", root, authority)
	good := issue(t, "web.test", middle, nil)
	alone := func(p *pair) *pair { return &pair{cert: p.cert, key: p.key, sent: p.sent[:1]} }
	// An impostor has the name of the intermediate, and another key.
	impostor := issue(t, "Middle", root, authority)
	forged := &pair{cert: good.cert, key: good.key, sent: [][]byte{good.sent[0], impostor.sent[0]}}
	notCA := issue(t, "notca.test", root, nil)
	oldMiddle := issue(t, "Old middle", root, func(c *x509.Certificate) { authority(c); c.NotAfter = time.Now().Add(-100 * time.Hour) })
	for name, c := range map[string]struct {
		server *pair
		roots  *pair
		name   string
		skip   bool
		code   Code
		words  []string
	}{
		"good":    {server: good},
		"expired": {server: issue(t, "web.test", middle, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-73 * time.Hour) }), code: TLSExpired, words: []string{`"web.test" expired 3 days ago, on `}},
		"future":  {server: issue(t, "web.test", middle, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(73 * time.Hour) }), code: TLSExpired, words: []string{"not valid before", "in 3 days"}},
		"name": {server: issue(t, "a.test", middle, func(c *x509.Certificate) { c.DNSNames = []string{"a.test", "b.test"} }), code: TLSName,
			words: []string{`is for a.test, b.test, 127.0.0.1, not for "web.test"`}},
		"no name":     {server: issue(t, "web.test", middle, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }), code: TLSName, words: []string{`only the common name "web.test"`}},
		"self-signed": {server: issue(t, "web.test", nil, nil), code: TLSUntrusted, words: []string{`self-signed: nobody vouches for "web.test"`}},
		"missing":     {server: alone(good), code: TLSUntrusted, words: []string{`missing intermediate: "web.test" was issued by "Middle", which was neither sent nor is trusted here`}},
		"root":        {server: good, roots: other, code: TLSUntrusted, words: []string{`"Middle" was issued by "Root", which was neither sent nor is trusted here`}},
		"root sent":   {server: &pair{cert: good.cert, key: good.key, sent: append(good.sent, root.sent...)}, roots: other, code: TLSUntrusted, words: []string{`the root "Root" is not trusted here`}},
		"forged":      {server: forged, code: TLSUntrusted, words: []string{`the signature of "web.test" is not by the "Middle" that was sent with it`}},
		"not a CA":    {server: issue(t, "web.test", &pair{cert: notCA.cert, key: notCA.key, sent: notCA.sent}, nil), code: TLSUntrusted, words: []string{"no authority"}},
		"old middle":  {server: issue(t, "web.test", oldMiddle, nil), code: TLSExpired, words: []string{`"Old middle" expired 4 days ago`}},
		"client only": {server: issue(t, "web.test", middle, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), code: TLSUntrusted, words: []string{"not for use by servers"}},
		"all at once": {server: issue(t, "a.test", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour * 3) }), code: TLSExpired,
			words: []string{"expired 3 hours ago", `not for "web.test"`, "self-signed"}},
		"skipped": {server: issue(t, "a.test", nil, nil), skip: true},
	} {
		t.Run(name, func(t *testing.T) {
			roots := root
			if c.roots != nil {
				roots = c.roots
			}
			r := shake(t, c.server.server(), &tls.Config{RootCAs: roots.roots(), ServerName: "web.test", InsecureSkipVerify: c.skip})
			if r.Reason.Code != c.code {
				t.Errorf("reason is %v, want %q", r.Reason, c.code)
			}
			for _, w := range c.words {
				if !strings.Contains(r.Reason.Words, w) {
					t.Errorf("words are %q, want %q", r.Reason.Words, w)
				}
			}
			if r.Chain == nil || len(r.Chain.Sent) != len(c.server.sent) {
				t.Fatalf("chain is %+v, want %d certificates", r.Chain, len(c.server.sent))
			}
			if (r.Chain.Problem != "") != (c.code != "" || c.skip) {
				t.Errorf("the chain's problem is %q", r.Chain.Problem)
			}
			has := map[string]int{}
			for _, s := range r.Samples {
				has[s.Name]++
			}
			if has["probe_tls_certificate_not_after_seconds"] != len(c.server.sent) || has["probe_ssl_earliest_cert_expiry"] != 1 {
				t.Errorf("samples are %v", has)
			}
		})
	}
}

func TestWeakKeyIsTold(t *testing.T) {
	root := issue(t, "Root", nil, authority)
	leaf := issueWith(t, rsaKey(t, 1024), "web.test", root, nil)
	r := shake(t, leaf.server(), &tls.Config{RootCAs: root.roots(), ServerName: "web.test"})
	for _, s := range r.Samples {
		if s.Name == "probe_tls_certificate_key_bits" && s.Value == 1024 {
			return
		}
	}
	t.Errorf("no sample tells of the key's 1,024 bits: %v, %v", r.Reason, r.Samples)
}

func TestWeakSignatureIsNamed(t *testing.T) {
	root := issue(t, "Root", nil, authority)
	leaf := issue(t, "web.test", root, nil)
	// crypto/x509 signs nothing by SHA-1 any more: the algorithm is only claimed.
	c := *leaf.cert
	c.SignatureAlgorithm = x509.ECDSAWithSHA1
	_, words := diagnose([]*x509.Certificate{&c}, x509.VerifyOptions{Roots: root.roots(), CurrentTime: time.Now(), DNSName: "web.test", Intermediates: x509.NewCertPool()}, x509.UnknownAuthorityError{})
	if !strings.Contains(words, `signature of "web.test" is weak: ECDSA-SHA1`) {
		t.Errorf("words are %q", words)
	}
}

func TestHandshakeWithOthers(t *testing.T) {
	for name, c := range map[string]struct {
		says  string
		code  Code
		words string
	}{
		"plain text": {says: "220 mail.test ESMTP\r\n", code: TLSMissing, words: `does not speak TLS on this port: it sent "220 m"`},
		"alert":      {says: "\x15\x03\x01\x00\x02\x02\x28", code: TLSHandshake, words: "refused the TLS handshake: handshake failure"},
		"nothing":    {says: "", code: ConnectionReset, words: "closed the connection during the TLS handshake"},
		"garbage":    {says: "\x16\x03\x03\x00\x05\x02\x00\x00\x01\x00", code: TLSHandshake, words: "TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			go func() {
				buf := make([]byte, 64<<10)
				_, _ = there.Read(buf)
				_, _ = io.WriteString(there, c.says)
				there.Close()
			}()
			r := &Result{}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := Handshake(ctx, here, &tls.Config{ServerName: "web.test"}, Keep{}, r); err == nil {
				t.Error("the handshake passed")
			}
			if r.Reason.Code != c.code || !strings.Contains(r.Reason.Words, c.words) {
				t.Errorf("reason is %v, want %s: %s", r.Reason, c.code, c.words)
			}
		})
	}
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r := &Result{}
		start := time.Now()
		_, _ = Handshake(ctx, here, &tls.Config{ServerName: "web.test"}, Keep{}, r)
		if r.Reason.Code != TLSTimeout || time.Since(start) != 5*time.Second || r.Phases[TLS] != 5*time.Second {
			t.Errorf("reason %v after %s, phase %s", r.Reason, time.Since(start), r.Phases[TLS])
		}
		here.Close()
	})
}

func FuzzDiagnose(f *testing.F) {
	root := issue(f, "Root", nil, authority)
	leaf := issue(f, "web.test", root, nil)
	f.Add(leaf.sent[0], root.sent[0])
	f.Add(root.sent[0], leaf.sent[0])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, err := x509.ParseCertificate(a)
		if err != nil {
			return
		}
		sent := []*x509.Certificate{first}
		if second, err := x509.ParseCertificate(b); err == nil {
			sent = append(sent, second)
		}
		opts := x509.VerifyOptions{Roots: x509.NewCertPool(), CurrentTime: time.Now(), DNSName: "web.test", Intermediates: x509.NewCertPool()}
		code, words := diagnose(sent, opts, x509.UnknownAuthorityError{})
		if code == "" || words == "" || len(words) > 10_000 || !bytes.Equal([]byte(strings.ToValidUTF8(words, "")), []byte(words)) {
			t.Errorf("%q: %q", code, words)
		}
		w := &Watch{seen: seen{state: tls.ConnectionState{PeerCertificates: sent}}, now: time.Now}
		w.Record(Keep{}, &Result{})
	})
}
