package web

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/common/config"
)

// agent is what the probers call themselves.
const agent = "Atoll-Probe"

// maxFile is the longest file that is sent as a body.
const maxFile = 16 << 20

// fill gives a request its headers and body.
func (p *probe) fill(a *ask) error {
	a.Header = make(http.Header, len(p.want.Headers)+2)
	for name, value := range p.want.Headers {
		if textproto.CanonicalMIMEHeaderKey(name) == "Host" {
			a.Host, a.name = value, (&url.URL{Host: value}).Hostname()
			continue
		}
		a.Header.Set(name, value)
	}
	if p.req.Host != "" {
		a.Host, a.name = p.req.Host, p.req.Host
	}
	if name := p.want.HTTPClientConfig.TLSConfig.ServerName; name != "" {
		a.name = name
	}
	if _, ok := a.Header["User-Agent"]; !ok {
		a.Header.Set("User-Agent", agent)
	}
	switch {
	case p.want.BodyFile != "":
		body, err := readFile(p.want.BodyFile, maxFile)
		if err != nil {
			return fmt.Errorf("read body_file: %w", err)
		}
		a.setBody(body)
	case p.want.Body != "":
		a.setBody([]byte(p.want.Body))
	}
	return p.authorize(a)
}

func (a *ask) setBody(body []byte) {
	a.body = body
	if len(body) == 0 {
		a.Body, a.GetBody, a.ContentLength = nil, nil, 0
		return
	}
	a.ContentLength = int64(len(body))
	a.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	a.Body, _ = a.GetBody()
}

// authorize adds who asks, unless the headers say so already. What it leaves out is
// the round tripper's of unusual settings.
func (p *probe) authorize(a *ask) error {
	if a.Header.Get("Authorization") != "" {
		return nil
	}
	if u := a.URL.User; u != nil {
		password, _ := u.Password()
		a.SetBasicAuth(u.Username(), password)
		return nil
	}
	c := &p.want.HTTPClientConfig
	if unusual(p.want) {
		return nil
	}
	switch {
	case c.BasicAuth != nil:
		user, err := secret(config.Secret(c.BasicAuth.Username), c.BasicAuth.UsernameFile)
		if err != nil {
			return err
		}
		password, err := secret(c.BasicAuth.Password, c.BasicAuth.PasswordFile)
		if err != nil {
			return err
		}
		a.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	case c.Authorization != nil:
		credentials, err := secret(c.Authorization.Credentials, c.Authorization.CredentialsFile)
		if err != nil {
			return err
		}
		a.Header.Set("Authorization", c.Authorization.Type+" "+credentials)
	case c.BearerToken != "" || c.BearerTokenFile != "":
		token, err := secret(c.BearerToken, c.BearerTokenFile)
		if err != nil {
			return err
		}
		a.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

func secret(text config.Secret, file string) (string, error) {
	if text != "" || file == "" {
		return string(text), nil
	}
	b, err := readFile(file, 64<<10)
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return b, err
}

// proxied tells that requests do not go to the target itself.
func proxied(h *blackbox.HTTPProbe) bool {
	return h.HTTPClientConfig.ProxyURL.URL != nil || h.HTTPClientConfig.ProxyFromEnvironment
}

// unusual tells of settings that are left to the client of prometheus/common.
func unusual(h *blackbox.HTTPProbe) bool {
	c := &h.HTTPClientConfig
	return proxied(h) || c.OAuth2 != nil || c.HTTPHeaders != nil ||
		c.BasicAuth != nil && (c.BasicAuth.UsernameRef != "" || c.BasicAuth.PasswordRef != "") ||
		c.Authorization != nil && c.Authorization.CredentialsRef != ""
}
