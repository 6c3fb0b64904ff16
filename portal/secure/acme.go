package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// acmeTimeout bounds one request to the authority.
const acmeTimeout = 30 * time.Second

// authority obtains certificates of a public or private authority. It proves that a
// name is ours by TLS-ALPN-01, on the very address that serves it: nothing else
// needs to listen, but port 443 of the name must lead there.
type authority struct {
	manager *autocert.Manager
	first   string // of the names
}

func newACME(opts Options) (*authority, error) {
	if opts.Dir == "" {
		return nil, errors.New("http.tls.mode: acme needs a data directory to keep its account in")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if file := opts.Config.ACME.CAFile; file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read http.tls.acme.ca_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read http.tls.acme.ca_file: %q: holds no certificate in PEM", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &authority{first: opts.Config.Names[0], manager: &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(filepath.Join(opts.Dir, "acme")),
		HostPolicy: autocert.HostWhitelist(opts.Config.Names...),
		Email:      opts.Config.ACME.Email,
		Client: &acme.Client{
			DirectoryURL: opts.Config.ACME.DirectoryURL,
			HTTPClient:   &http.Client{Timeout: acmeTimeout, Transport: transport},
			UserAgent:    "atoll",
		},
	}}, nil
}

func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		// Who asks by an address gets to see what the first name has.
		named := *hello
		named.ServerName = a.first
		hello = &named
	}
	c, err := a.manager.GetCertificate(hello)
	if err != nil {
		return nil, fmt.Errorf("certificate of the ACME authority for %.80q: %w", hello.ServerName, err)
	}
	return c, nil
}
