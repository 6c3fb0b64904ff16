package protocol

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/probe/definition"
)

type direct struct{}

func (direct) DialContext(ctx context.Context, network, address string, _ netip.Addr) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
func (direct) Permit(netip.Addr, uint16) error { return nil }

// revoker answers by OCSP and hands out a CRL.
type revoker struct {
	issuer *pair
	status atomic.Int64
	asked  atomic.Int64
	list   atomic.Pointer[[]byte]
}

func (v *revoker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.asked.Add(1)
	if r.URL.Path == "/crl" {
		_, _ = w.Write(*v.list.Load())
		return
	}
	body, _ := io.ReadAll(r.Body)
	q, err := ocsp.ParseRequest(body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = w.Write(v.answer(q.SerialNumber))
}

func (v *revoker) answer(serial *big.Int) []byte {
	der, err := ocsp.CreateResponse(v.issuer.cert, v.issuer.cert, ocsp.Response{Status: int(v.status.Load()), SerialNumber: serial,
		ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour), RevokedAt: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), RevocationReason: ocsp.KeyCompromise}, v.issuer.key)
	if err != nil {
		panic(err)
	}
	return der
}

func (v *revoker) setList(t *testing.T, serials ...*big.Int) {
	t.Helper()
	var entries []x509.RevocationListEntry
	for _, s := range serials {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), ReasonCode: 4})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour), RevokedCertificateEntries: entries}, v.issuer.cert, v.issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	v.list.Store(&der)
}

func TestCertify(t *testing.T) {
	root := issue(t, "Root", nil, authority)
	v := &revoker{issuer: root}
	s := httptest.NewServer(v)
	t.Cleanup(s.Close)
	leaf := issue(t, "web.test", root, func(c *x509.Certificate) {
		c.OCSPServer = []string{s.URL + "/ocsp"}
		c.CRLDistributionPoints = []string{s.URL + "/crl"}
	})
	plain := issue(t, "web.test", root, nil)
	v.setList(t)
	certify := func(req *Request, p *pair, staple []byte, want definition.Certificate) *Result {
		server := p.server()
		server.Certificates[0].OCSPStaple = staple
		r := shake(t, server, &tls.Config{RootCAs: root.roots(), ServerName: "web.test"})
		Certify(t.Context(), req, &want, r.Chain, r)
		return r
	}
	expect := func(r *Result, code Code, words string, revocation string) {
		t.Helper()
		if r.Reason.Code != code || !strings.Contains(r.Reason.Words, words) {
			t.Errorf("reason is %v, want %q with %q", r.Reason, code, words)
		}
		if got := fmt.Sprint(r.Chain.Revocation); !strings.Contains(got, revocation) {
			t.Errorf("revocation is %q, want %q", got, revocation)
		}
	}
	req := func() *Request { return &Request{Dialer: direct{}} }

	v.status.Store(ocsp.Good)
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "ocsp"}), "", "", "[good]")
	v.status.Store(ocsp.Revoked)
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "ocsp"}), TLSRevoked, "was revoked on 2026-01-02 (its key was compromised, says OCSP)", "revoked")
	v.status.Store(ocsp.Unknown)
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "ocsp"}), "", "", "unknown: the OCSP server does not know")
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "any"}), "", "", "[good]")
	v.setList(t, big.NewInt(1), leaf.cert.SerialNumber)
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "crl"}), TLSRevoked, "(superseded, says CRL)", "revoked")
	expect(certify(req(), plain, nil, definition.Certificate{Revocation: "any"}), "", "", "names no OCSP server; the certificate names no CRL")

	v.status.Store(ocsp.Revoked)
	staple := v.answer(plain.cert.SerialNumber)
	expect(certify(req(), plain, staple, definition.Certificate{Revocation: "any"}), TLSRevoked, "revoked", "(stapled)")
	junk := []byte("not DER")
	v.list.Store(&junk)
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "crl"}), "", "", "unknown: read the CRL")
	huge := make([]byte, maxCRL+1)
	v.list.Store(&huge)
	expect(certify(req(), leaf, nil, definition.Certificate{Revocation: "crl"}), "", "", "is longer than")

	once := &Request{Dialer: direct{}, Memory: &Memory{}}
	v.status.Store(ocsp.Good)
	before := v.asked.Load()
	for range 3 {
		expect(certify(once, leaf, nil, definition.Certificate{Revocation: "ocsp"}), "", "", "[good]")
	}
	if n := v.asked.Load() - before; n != 1 {
		t.Errorf("the authority was asked %d times by a vantage that remembers, want once", n)
	}
	expect(certify(req(), leaf, nil, definition.Certificate{ExpiresAfter: model.Duration(2000 * time.Hour)}), TLSExpired, `"web.test" expires in 41 days`, "")
	expect(certify(req(), leaf, nil, definition.Certificate{ExpiresAfter: model.Duration(20 * time.Hour)}), "", "", "")
	expect(certify(req(), leaf, nil, definition.Certificate{Fingerprints: []string{"aa:bb"}}), TLSUntrusted, "none of the 1 that are fine", "")
}
