package secure

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Mode says where certificates come from.
type Mode string

// The modes. Auto spares connections of this machine with itself and encrypts all
// others with a certificate that the island makes.
const (
	Auto       Mode = ""
	Off        Mode = "off"
	SelfSigned Mode = "self-signed"
	Files      Mode = "files"
	ACME       Mode = "acme"
)

func modes() []Mode { return []Mode{Off, SelfSigned, Files, ACME} }

// Config is how the addresses are encrypted.
type Config struct {
	Mode Mode `yaml:"mode,omitempty"`
	// CertFile and KeyFile are PEM files, read again when they change.
	CertFile string `yaml:"cert_file,omitempty"`
	KeyFile  string `yaml:"key_file,omitempty"`
	// Names are host names and IP addresses by which the island is reached, beside
	// those of its addresses and its external URL. ACME needs at least one.
	Names []string `yaml:"names,omitempty"`
	// ACME says who signs in mode acme.
	ACME ACMEConfig `yaml:"acme,omitempty"`
}

// ACMEConfig names a certificate authority that speaks RFC 8555.
type ACMEConfig struct {
	// DirectoryURL is where its API begins.
	DirectoryURL string `yaml:"directory_url,omitempty"`
	// Email is told to it, for warnings.
	Email string `yaml:"email,omitempty"`
	// CAFile holds the roots by which the API itself is trusted; empty: the system's.
	CAFile string `yaml:"ca_file,omitempty"`
}

// Default asks Let's Encrypt where the mode is acme.
func Default() Config {
	return Config{ACME: ACMEConfig{DirectoryURL: "https://acme-v02.api.letsencrypt.org/directory"}}
}

// Validate names every field that breaks its rule. It opens no file.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("http.tls."+field+": "+format, args...))
	}
	if c.Mode != Auto && !slices.Contains(modes(), c.Mode) {
		bad("mode", "%q: must be one of %v, or left out", string(c.Mode), modes())
	}
	if files := c.CertFile != "" || c.KeyFile != ""; c.Mode == Files && (c.CertFile == "" || c.KeyFile == "") {
		bad("mode", `"files": needs cert_file and key_file`)
	} else if files && c.Mode != Files {
		bad("mode", `%q: has no use for cert_file and key_file; set it to "files", or remove them`, string(c.Mode))
	}
	for i, name := range c.Names {
		switch {
		case net.ParseIP(name) == nil && !hostName.MatchString(name):
			bad(fmt.Sprintf("names[%d]", i), `%.80q: must be a host name like "atoll.example.com" or an IP address`, name)
		case c.Mode == ACME && net.ParseIP(name) != nil:
			bad(fmt.Sprintf("names[%d]", i), "%q: with mode acme it must be a host name", name)
		}
	}
	if c.Mode == ACME {
		if len(c.Names) == 0 {
			bad("names", "is empty: mode acme needs the host names that the certificate is for")
		}
		if u, err := url.Parse(c.ACME.DirectoryURL); err != nil || u.Scheme != "https" || u.Host == "" {
			bad("acme.directory_url", "%q: must be https:// and a host", c.ACME.DirectoryURL)
		}
	}
	if strings.ContainsAny(c.ACME.Email, " ,<>\r\n") || c.ACME.Email != "" && !strings.Contains(c.ACME.Email, "@") {
		bad("acme.email", "%.80q: must be one address", c.ACME.Email)
	}
	return errors.Join(errs...)
}

var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
