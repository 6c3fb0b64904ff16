package protocol

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxWalk certificates of what a server sent are looked at when it is not valid.
const maxWalk = 20

// diagnose says in words all that is wrong with a chain for which Verify gave err,
// with the code of the first.
func diagnose(sent []*x509.Certificate, opts x509.VerifyOptions, err error) (Code, string) {
	path, broken := walk(sent)
	var code Code
	var words []string
	add := func(c Code, w string) {
		if w == "" {
			return
		}
		if code == "" {
			code = c
		}
		words = append(words, w)
	}
	for _, c := range path {
		add(TLSExpired, age(c, opts.CurrentTime))
	}
	add(TLSName, mismatch(sent[0], opts.DNSName))
	add(TLSUntrusted, distrust(path, broken, opts))
	if code == "" {
		return TLSUntrusted, fmt.Sprintf("the chain is not valid: %.200s", strings.TrimPrefix(err.Error(), "x509: "))
	}
	return code, strings.Join(words, "; ")
}

// walk follows the issuers from the leaf through what was sent. broken is the
// certificate whose issuer was sent by name, with another key; nil if none.
func walk(sent []*x509.Certificate) (path []*x509.Certificate, broken *x509.Certificate) {
	rest := slices.Clone(sent[:min(len(sent), maxWalk)])
	at := rest[0]
	path, rest = append(path, at), rest[1:]
	for !bytes.Equal(at.RawIssuer, at.RawSubject) {
		next := -1
		for i, c := range rest {
			if !bytes.Equal(c.RawSubject, at.RawIssuer) {
				continue
			}
			next = i
			if signedBy(at, c) {
				break
			}
		}
		if next < 0 {
			return path, nil
		}
		if !weak(at) && !signedBy(at, rest[next]) {
			return path, at
		}
		at = rest[next]
		path, rest = append(path, at), slices.Delete(rest, next, next+1)
	}
	return path, nil
}

// signedBy leaves out whether the issuer may sign, which is told apart.
func signedBy(c, issuer *x509.Certificate) bool {
	return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func age(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("the certificate %q expired %s ago, on %s", title(c), span(now.Sub(c.NotAfter)), c.NotAfter.UTC().Format("2006-01-02 15:04 MST"))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("the certificate %q is not valid before %s, in %s", title(c), c.NotBefore.UTC().Format("2006-01-02 15:04 MST"), span(c.NotBefore.Sub(now)))
	}
	return ""
}

func mismatch(leaf *x509.Certificate, name string) string {
	if name == "" || leaf.VerifyHostname(name) == nil {
		return ""
	}
	var names []string
	for _, n := range leaf.DNSNames {
		names = append(names, printable(n))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	switch n := len(names); {
	case n == 0 && leaf.Subject.CommonName != "":
		return fmt.Sprintf("the certificate has no subject alternative name for %.100q, only the common name %q", name, printable(leaf.Subject.CommonName))
	case n == 0:
		return fmt.Sprintf("the certificate has no names at all, want %.100q", name)
	case n > 5:
		names = append(names[:5], fmt.Sprintf("%d more", n-5))
	}
	return fmt.Sprintf("the certificate is for %s, not for %.100q", strings.Join(names, ", "), name)
}

// distrust tells why no way leads from the leaf to a trusted root, whatever the time
// and the name.
func distrust(path []*x509.Certificate, broken *x509.Certificate, opts x509.VerifyOptions) string {
	leaf, top := path[0], path[len(path)-1]
	opts.DNSName, opts.CurrentTime = "", during(path)
	_, err := leaf.Verify(opts)
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil, errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ""
	case errors.As(err, &invalid) && invalid.Reason == x509.NotAuthorizedToSign:
		return fmt.Sprintf("%q signed another certificate and is no authority", title(invalid.Cert))
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fmt.Sprintf("%q is not for use by servers", title(leaf))
	case errors.As(err, &unknown):
	default:
		return fmt.Sprintf("%.200s", strings.TrimPrefix(err.Error(), "x509: "))
	}
	for i, c := range path[:len(path)-1] {
		if ca := path[i+1]; !ca.BasicConstraintsValid || !ca.IsCA {
			return fmt.Sprintf("%q signed %q and is no authority", title(ca), title(c))
		}
	}
	for _, c := range path {
		if weak(c) && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			return fmt.Sprintf("the signature of %q is weak: %s", title(c), c.SignatureAlgorithm)
		}
	}
	issuer := printable(commonName(top.Issuer.CommonName, top.Issuer.String()))
	switch {
	case broken != nil:
		return fmt.Sprintf("the signature of %q is not by the %q that was sent with it", title(broken), printable(commonName(broken.Issuer.CommonName, broken.Issuer.String())))
	case bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		return fmt.Sprintf("self-signed: nobody vouches for %q but itself", title(leaf))
	case bytes.Equal(top.RawIssuer, top.RawSubject):
		return fmt.Sprintf("the root %q is not trusted here", title(top))
	case len(path) == 1:
		return fmt.Sprintf("missing intermediate: %q was issued by %q, which was neither sent nor is trusted here", title(top), issuer)
	}
	return fmt.Sprintf("%q was issued by %q, which was neither sent nor is trusted here", title(top), issuer)
}

// during is a time at which all of path was valid, or the leaf at least.
func during(path []*x509.Certificate) time.Time {
	from, to := path[0].NotBefore, path[0].NotAfter
	for _, c := range path[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	if from.After(to) {
		return path[0].NotAfter
	}
	return from.Add(to.Sub(from) / 2)
}

func weak(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

// title is what people call a certificate.
func title(c *x509.Certificate) string {
	if c.Subject.CommonName == "" && len(c.DNSNames) > 0 {
		return printable(c.DNSNames[0])
	}
	return printable(commonName(c.Subject.CommonName, c.Subject.String()))
}

func commonName(cn, all string) string {
	if cn != "" {
		return cn
	}
	return all
}

// printable cuts a server's words to what a sentence can bear.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// span is a duration in the unit in which people would say it.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", int(d/time.Minute))
	}
	return fmt.Sprintf("%d seconds", int(d/time.Second))
}
