package gather

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// keptBody is how much of a body is kept.
const keptBody = 4 << 10

// look probes once more, with all that the server says, and with its packets.
func (g *gathering) look(ctx context.Context) {
	recorded := g.record(ctx)
	r := g.Look(ctx, &protocol.Request{
		Target: g.Target, Host: g.Host, Module: g.Module, Dialer: g.Dialer, Resolver: again{g.Resolver, g.Address.Addr()},
		Keep: protocol.Keep{Chain: true, Header: true, Body: keptBody, Hash: true},
	})
	recorded()
	g.mu.Lock()
	g.found.Look = r
	g.mu.Unlock()
	text := struct {
		Failed *resultText `json:"failed,omitempty"`
		Look   *resultText `json:"look"`
	}{describe(g.Failed), describe(r)}
	g.putJSON(lookFile, text)
	g.chain(r)
	g.response(r)
}

// again has a look go to the address that the last probe went to, where a name has many.
type again struct {
	protocol.Resolver
	last netip.Addr
}

// LookupNetIP implements protocol.Resolver.
func (a again) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := a.Resolver.LookupNetIP(ctx, network, host)
	if i := slices.IndexFunc(addrs, func(one netip.Addr) bool { return one.Unmap() == a.last }); i > 0 {
		addrs = slices.Clone(addrs)
		addrs[0], addrs[i] = addrs[i], addrs[0]
	}
	return addrs, err
}

// resultText is a result for people and programs.
type resultText struct {
	At      time.Time `json:"at"`
	Up      bool      `json:"up"`
	Code    string    `json:"code,omitempty"`
	Phase   string    `json:"phase,omitempty"`
	Words   string    `json:"words,omitempty"`
	Address string    `json:"address,omitempty"`
	// Took and Phases are milliseconds.
	Took    float64            `json:"tookMilliseconds"`
	Phases  map[string]float64 `json:"phasesMilliseconds"`
	Samples []string           `json:"samples"`
}

func describe(r *protocol.Result) *resultText {
	if r == nil {
		return nil
	}
	t := &resultText{At: r.Start.UTC(), Up: r.Up, Code: string(r.Reason.Code), Words: r.Reason.Words, Took: milliseconds(r.Took), Phases: map[string]float64{}}
	if t.Code != "" {
		t.Phase = r.Reason.Phase.String()
	}
	if r.Address.IsValid() {
		t.Address = r.Address.String()
	}
	for p, took := range r.Phases {
		if took > 0 {
			t.Phases[protocol.Phase(p).String()] = milliseconds(took)
		}
	}
	const most = 500 // samples
	for _, s := range r.Samples[:min(len(r.Samples), most)] {
		var b strings.Builder
		b.WriteString(s.Name)
		for i := 0; i+1 < len(s.Labels); i += 2 {
			b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
			fmt.Fprintf(&b, "%s=%q", s.Labels[i], s.Labels[i+1])
		}
		if len(s.Labels) > 1 {
			b.WriteByte('}')
		}
		b.WriteString(" " + strconv.FormatFloat(s.Value, 'g', -1, 64))
		t.Samples = append(t.Samples, b.String())
	}
	return t
}

// response writes the first line, the headers and the beginning of the body.
func (g *gathering) response(r *protocol.Result) {
	if r.Response == nil || r.Response.Status == "" && len(r.Response.Header) == 0 && len(r.Response.Body) == 0 {
		g.miss(responseFile, "%s", because(r, "the protocol has no response that is kept"))
		return
	}
	const most = 64 << 10 // bytes of the headers
	var b bytes.Buffer
	b.WriteString(cut(r.Response.Status, most) + "\n")
	for _, h := range r.Response.Header {
		name, value := h[0], h[1]
		if strings.EqualFold(name, "Set-Cookie") {
			// Whoever may see evidence is not to become who the probe logged in as.
			key, _, _ := strings.Cut(value, "=")
			value = key + "=(not kept)"
		}
		if b.Len()+len(name)+len(value) > most {
			b.WriteString("(more headers are not kept)\n")
			break
		}
		b.WriteString(name + ": " + value + "\n")
	}
	b.WriteByte('\n')
	b.Write(r.Response.Body[:min(len(r.Response.Body), keptBody)])
	g.put(responseFile, b.Bytes())
	if len(r.Response.Screenshot) > 0 {
		g.put(screenshotFile, r.Response.Screenshot)
	}
}

// because is why a look did not come so far, or what to say if it did.
func because(r *protocol.Result, otherwise string) string {
	if !r.Up && r.Reason.Words != "" {
		return "the look did not come so far, or found none: " + r.Reason.Words
	}
	return otherwise
}

// certificate is one of a chain, for people and programs.
type certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	CA        bool      `json:"ca"`
	Key       string    `json:"key"`
	Signature string    `json:"signature"`
	SHA256    string    `json:"sha256"`
	// Revocation is what OCSP or a CRL said where the module asks.
	Revocation string `json:"revocation,omitempty"`
}

// Of a chain at most so much is kept.
const (
	mostCertificates = 20
	mostNames        = 100
	mostText         = 1024 // bytes
	mostDER          = 32 << 10
)

func (g *gathering) chain(r *protocol.Result) {
	c := r.Chain
	if c == nil || len(c.Sent) == 0 {
		why := because(r, "the target does not speak TLS")
		g.miss(chainFile, "%s", why)
		g.miss(pemFile, "%s", why)
		return
	}
	text := struct {
		Valid        bool          `json:"valid"`
		Problem      string        `json:"problem,omitempty"`
		Version      string        `json:"version"`
		Cipher       string        `json:"cipher"`
		Protocol     string        `json:"alpn,omitempty"`
		Stapled      bool          `json:"stapled"`
		Certificates []certificate `json:"certificates"`
	}{c.Problem == "", c.Problem, c.Version, c.Cipher, c.Protocol, len(c.Staple) > 0, nil}
	var b bytes.Buffer
	for i, cert := range c.Sent[:min(len(c.Sent), mostCertificates)] {
		d := describeCertificate(cert)
		if i < len(c.Revocation) {
			d.Revocation = c.Revocation[i]
		}
		text.Certificates = append(text.Certificates, d)
		fmt.Fprintf(&b, "subject: %s\nissuer:  %s\nvalid:   %s to %s\n", oneLine(d.Subject), oneLine(d.Issuer), d.NotBefore.Format(time.RFC3339), d.NotAfter.Format(time.RFC3339))
		if len(cert.Raw) > mostDER {
			fmt.Fprintf(&b, "(%d bytes are not kept)\n", len(cert.Raw))
			continue
		}
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}) // into memory
	}
	g.putJSON(chainFile, text)
	g.put(pemFile, b.Bytes())
}

func describeCertificate(c *x509.Certificate) certificate {
	sum := sha256.Sum256(c.Raw)
	d := certificate{
		Subject: cut(c.Subject.String(), mostText), Issuer: cut(c.Issuer.String(), mostText), Serial: cut(fmt.Sprintf("%x", c.SerialNumber), mostText),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), CA: c.IsCA,
		Key: c.PublicKeyAlgorithm.String(), Signature: c.SignatureAlgorithm.String(), SHA256: hex.EncodeToString(sum[:]),
	}
	if bits := protocol.KeyBits(c); bits > 0 {
		d.Key += " " + strconv.Itoa(bits)
	}
	for _, n := range c.DNSNames {
		d.Names = append(d.Names, cut(n, mostText))
	}
	for _, a := range c.IPAddresses {
		d.Names = append(d.Names, a.String())
	}
	d.Names = d.Names[:min(len(d.Names), mostNames)]
	return d
}

// oneLine keeps a server's words from ending a line of the PEM file, or from being one.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
