package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// credentials are how a command that asks over HTTP proves who it is, and knows whom
// it asks.
type credentials struct {
	Token  string `env:"ATOLL_TOKEN" placeholder:"TOKEN" help:"API token to show. Others on this machine can read it here; in ATOLL_TOKEN they cannot."`
	CAFile string `env:"ATOLL_CA_FILE" placeholder:"FILE" predictor:"file" help:"Trust an https:// island by these certificates in PEM, such as portal/tls/cert.pem of its data directory."`
}

// client asks the server at base.
func (c credentials) client(base string) (*http.Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca-file %q: holds no certificate in PEM", c.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	token := strings.TrimSpace(c.Token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("--token: holds a space or another character that no token has")
	}
	return &http.Client{Transport: &identified{token: token, scheme: u.Scheme, host: u.Host, next: transport}}, nil
}

// identified shows the token to the island it is for, and says what to do where the
// island does not let one in.
type identified struct {
	token, scheme, host string
	next                http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *identified) RoundTrip(r *http.Request) (*http.Response, error) {
	// A redirect may lead elsewhere.
	if t.token != "" && r.URL.Host == t.host && r.URL.Scheme == t.scheme {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, advised(err)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, &refusedError{t.unauthorized(refusalOf(resp))}
	case resp.StatusCode == http.StatusBadRequest && r.URL.Scheme == "http":
		return plainRefused(resp)
	}
	return resp, nil
}

// refusedError is an answer, though not the one that was asked for.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

func (t *identified) unauthorized(text string) string {
	if t.token != "" {
		return "the token was refused: " + text
	}
	return text + "; show a token by --token or ATOLL_TOKEN: on the island's own machine `atoll token create NAME --scope read --role viewer` makes one"
}

// mostSaid bounds what is read of a refusal.
const mostSaid = 64 << 10

// refusalOf is the message of a refusal.
func refusalOf(resp *http.Response) string {
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, mostSaid)) // the status says enough
	var problem struct{ Message string }
	if json.Unmarshal(text, &problem) == nil && problem.Message != "" {
		return problem.Message
	}
	return "it answered " + resp.Status
}

// plainRefused looks whether the request went to a port that speaks TLS.
func plainRefused(resp *http.Response) (*http.Response, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostSaid))
	if err == nil && strings.Contains(string(text), "HTTP request to an HTTPS server") {
		return nil, errors.Join(&refusedError{"the island speaks TLS there: begin the URL with https://"}, resp.Body.Close())
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), resp.Body), resp.Body}
	return resp, nil
}

// advised adds what to do about a certificate that nobody vouches for.
func advised(err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w; if the island made it, trust it by --ca-file or ATOLL_CA_FILE: portal/tls/cert.pem of its data directory", err)
	}
	return err
}
