package portal

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"

	"github.com/atoll-mesh/atoll/portal/secure"
)

// encryptLocked gets the certificate ready where an address needs one.
func (p *Portal) encryptLocked() error {
	if p.tls != nil {
		return nil
	}
	cfg := p.config
	if err := cfg.oneTLS(); err != nil {
		return err
	}
	hosts := cfg.hosts()
	if servesTLS(cfg.WebConfig) || cfg.TLS.Mode == secure.Auto && !slices.ContainsFunc(hosts, notLoopback) {
		return nil
	}
	if u, err := cfg.externalURL(); err == nil && u != nil {
		hosts = append(hosts, u.Hostname())
	}
	opts := secure.Options{Config: cfg.TLS, Hosts: hosts, Logger: p.log, Registerer: p.opts.Registerer}
	if p.opts.Dir != "" {
		opts.Dir = filepath.Join(p.opts.Dir, "portal", "tls")
	}
	var err error
	if p.tls, err = secure.New(opts); err != nil {
		return fmt.Errorf("certificate of http.listen: %w", err)
	}
	return nil
}

// oneTLS refuses two answers to the question which certificate is shown.
func (c Config) oneTLS() error {
	if c.TLS.Mode != secure.Auto && servesTLS(c.WebConfig) {
		return fmt.Errorf("http.tls.mode: %q: http.web_config has tls_server_config, which says it already; remove one of the two", string(c.TLS.Mode))
	}
	return nil
}

// hosts are those of all addresses, "" where an address names none.
func (c Config) hosts() []string {
	var all []string
	for _, addr := range c.Listen {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			all = append(all, host)
		}
	}
	return all
}

func notLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// sayListening tells of an address, and loudly of one that has no TLS and should.
func (p *Portal) sayListening(addr net.Addr, cfg Config, tls *secure.TLS) {
	log := p.log.With("address", addr.String())
	loopback := secure.Loopback(addr)
	switch s := tls.Status(); {
	case servesTLS(cfg.WebConfig):
		log.Info("listening", "tls", "web_config", "web_config", cfg.WebConfig)
	case s == nil || s.PlainOnLoopback && loopback:
		log.Info("listening", "tls", secure.Off, "web_config", cfg.WebConfig)
		if !loopback {
			log.Warn("address is reachable from other machines without TLS: passwords, cookies and tokens can be read on the way",
				"remedy", "leave http.tls.mode out, or set it to self-signed, files or acme; or listen on 127.0.0.1 behind a proxy")
		}
	default:
		log.Info("listening", "tls", s.Mode, "plain_on_loopback", s.PlainOnLoopback, "web_config", cfg.WebConfig,
			"certificate_sha256", s.FingerprintSHA256)
	}
}

func (p *Portal) tlsStatus() *secure.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tls.Status()
}

// tlsText is what people read of a certificate.
func tlsText(s *secure.Status) string {
	text := string(s.Mode)
	if s.FingerprintSHA256 != "" {
		text += ", SHA-256 " + s.FingerprintSHA256
	}
	if s.ExpiresAt != nil {
		text += ", until " + s.ExpiresAt.Local().Format(time.DateTime)
	}
	if s.PlainOnLoopback {
		text += ", none on loopback"
	}
	return text
}

// servesTLS reads the toolkit's file; one that cannot be read is reported by
// Listen and Prepare, here it counts as plain.
func servesTLS(path string) bool {
	c, err := readWebConfig(path)
	return err == nil && c.TLSConfig.IsEnabled()
}

func readWebConfig(path string) (*web.Config, error) {
	if path == "" {
		return nil, errors.New("none is named")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &web.Config{}
	return c, yaml.Unmarshal(text, c)
}
