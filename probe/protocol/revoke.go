package protocol

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

type certificate = *x509.Certificate

// Bounds of what is asked of authorities, which are other people's servers.
const (
	maxAsked       = 4
	revocationWait = 3 * time.Second
	maxOCSP        = 64 << 10
	maxCRL         = 4 << 20
)

// revocation is what an authority said of one certificate.
type revocation struct {
	words   string // good, revoked …, unknown …
	revoked bool
	known   bool
	until   time.Time
}

// askRevocation takes the stapled answer if there is one, else what is remembered,
// else asks. RFC 6960 and RFC 5280.
func askRevocation(ctx context.Context, req *Request, how string, c, issuer certificate, staple []byte) revocation {
	now := time.Now()
	if how != "crl" && len(staple) > 0 {
		if a, err := readOCSP(staple, c, issuer, now); err == nil && a.known {
			a.words += " (stapled)"
			return a
		}
	}
	sum := sha256.Sum256(append(append([]byte(how), issuer.RawSubjectPublicKeyInfo...), c.SerialNumber.Bytes()...))
	key := string(sum[:])
	if a, ok := req.Memory.answer(key, now); ok {
		return a
	}
	var a revocation
	var why []string
	if how != "crl" {
		var err error
		if a, err = askOCSP(ctx, req, c, issuer, now); err != nil {
			why = append(why, err.Error())
		}
	}
	if how != "ocsp" && !a.known {
		var err error
		if a, err = askCRL(ctx, req, c, issuer, now); err != nil {
			why = append(why, err.Error())
		}
	}
	if !a.known {
		a = revocation{words: "unknown: " + strings.Join(why, "; ")}
	}
	if a.until.IsZero() {
		a.until = now.Add(askAgain)
	}
	if limit := now.Add(longestRest); a.until.After(limit) {
		a.until = limit
	}
	req.Memory.keep(key, a)
	return a
}

func askOCSP(ctx context.Context, req *Request, c, issuer certificate, now time.Time) (revocation, error) {
	if len(c.OCSPServer) == 0 {
		return revocation{}, fmt.Errorf("the certificate names no OCSP server")
	}
	question, err := ocsp.CreateRequest(c, issuer, nil)
	if err != nil {
		return revocation{}, fmt.Errorf("make an OCSP request: %w", err)
	}
	answer, err := fetch(ctx, req, http.MethodPost, c.OCSPServer[0], "application/ocsp-request", question, maxOCSP)
	if err != nil {
		return revocation{}, fmt.Errorf("ask OCSP: %w", err)
	}
	return readOCSP(answer, c, issuer, now)
}

func readOCSP(der []byte, c, issuer certificate, now time.Time) (revocation, error) {
	resp, err := ocsp.ParseResponseForCert(der, c, issuer)
	if err != nil {
		return revocation{}, fmt.Errorf("read the OCSP answer: %w", err)
	}
	if !resp.NextUpdate.IsZero() && now.After(resp.NextUpdate) {
		return revocation{}, fmt.Errorf("the OCSP answer ended on %s", resp.NextUpdate.UTC().Format(time.RFC3339))
	}
	switch resp.Status {
	case ocsp.Good:
		return revocation{words: "good", known: true, until: resp.NextUpdate}, nil
	case ocsp.Revoked:
		return revocation{words: revokedOn(resp.RevokedAt, resp.RevocationReason, "OCSP"), revoked: true, known: true, until: resp.NextUpdate}, nil
	}
	return revocation{}, fmt.Errorf("the OCSP server does not know the certificate")
}

func askCRL(ctx context.Context, req *Request, c, issuer certificate, now time.Time) (revocation, error) {
	if len(c.CRLDistributionPoints) == 0 {
		return revocation{}, fmt.Errorf("the certificate names no CRL")
	}
	der, err := fetch(ctx, req, http.MethodGet, c.CRLDistributionPoints[0], "", nil, maxCRL)
	if err != nil {
		return revocation{}, fmt.Errorf("get the CRL: %w", err)
	}
	return readCRL(der, c, issuer, now)
}

func readCRL(der []byte, c, issuer certificate, now time.Time) (revocation, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return revocation{}, fmt.Errorf("read the CRL: %w", err)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return revocation{}, fmt.Errorf("the CRL is not signed by %q: %w", title(issuer), err)
	}
	if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
		return revocation{}, fmt.Errorf("the CRL ended on %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return revocation{words: revokedOn(e.RevocationTime, e.ReasonCode, "CRL"), revoked: true, known: true, until: list.NextUpdate}, nil
		}
	}
	return revocation{words: "good", known: true, until: list.NextUpdate}, nil
}

func revokedOn(t time.Time, reason int, by string) string {
	// RFC 5280, 5.3.1.
	names := map[int]string{1: "its key was compromised", 2: "its authority was compromised", 3: "affiliation changed", 4: "superseded", 5: "no longer in use", 6: "on hold", 9: "privilege withdrawn", 10: "its authority was compromised"}
	why := names[reason]
	if why == "" {
		why = "no reason given"
	}
	return fmt.Sprintf("revoked on %s (%s, says %s)", t.UTC().Format("2006-01-02"), why, by)
}

// fetch is one small request of HTTP through the guarded dialer.
func fetch(ctx context.Context, req *Request, method, url, contentType string, body []byte, most int64) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DialContext: Dial(req)}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ask, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		ask.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(ask)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%.100s answered %s", url, resp.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(answer)) > most {
		return nil, fmt.Errorf("%.100s is longer than %d bytes", url, most)
	}
	return answer, nil
}

// Dial is the dialer of req for libraries that want to give it a name: it looks the
// name up with req's resolver, and dials what it found, guarded.
func Dial(req *Request) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if _, err := netip.ParseAddr(host); err != nil {
			addrs, err := req.Resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return nil, err
			}
			if len(addrs) == 0 {
				return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
			}
			address = net.JoinHostPort(addrs[0].Unmap().String(), port)
		}
		return req.Dialer.DialContext(ctx, network, address, netip.Addr{})
	}
}
