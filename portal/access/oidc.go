package access

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// maxFlows bounds how many people can be on their way at once; the oldest goes.
	maxFlows = 1000
	// flowLife is how long they may take.
	flowLife = 10 * time.Minute
	// providerTimeout bounds one request to the provider, maxProviderAnswer its answer.
	providerTimeout   = 10 * time.Second
	maxProviderAnswer = 1 << 20
	// restAfter is how long a provider that does not answer is left alone.
	restAfter = 5 * time.Second
)

// provider asks the OpenID provider, and keeps who is on the way there.
type provider struct {
	config OIDC
	client *http.Client
	now    func() time.Time

	mu    sync.Mutex
	flows map[string]flow // by state

	known   sync.Mutex // also held while the provider is asked who it is
	remote  *oidc.Provider
	err     error
	askedAt time.Time
}

// flow is somebody on the way to the provider and back.
type flow struct {
	nonce, verifier string
	// browser is a cookie's value: who comes back must be who went.
	browser string
	to      string
	began   time.Time
}

// newProvider returns nil without an issuer. It asks nobody anything yet.
func newProvider(cfg OIDC) (*provider, error) {
	if cfg.Issuer == "" {
		return nil, nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.CAFile != "" {
		text, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read http.oidc.ca_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read http.oidc.ca_file: %q: holds no certificate in PEM", cfg.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &provider{
		config: cfg, flows: map[string]flow{}, now: time.Now,
		client: &http.Client{Timeout: providerTimeout, Transport: boundedAnswers{transport}},
	}, nil
}

func (p *provider) close() {
	if p != nil {
		p.client.CloseIdleConnections()
	}
}

// boundedAnswers cuts answers off that are larger than any provider's.
type boundedAnswers struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxProviderAnswer), resp.Body}
	}
	return resp, err
}

// discover asks the provider where it wants to be asked, once.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.known.Lock()
	defer p.known.Unlock()
	if p.remote != nil {
		return p.remote, nil
	}
	if p.err != nil && p.now().Sub(p.askedAt) < restAfter {
		return nil, p.err
	}
	// Who asked first may leave; what was learned is for all.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), p.client)
	remote, err := oidc.NewProvider(ctx, p.config.Issuer)
	if p.askedAt = p.now(); err != nil {
		p.err = fmt.Errorf("ask the provider %s who it is: %w", p.config.Issuer, err)
		return nil, p.err
	}
	p.remote, p.err = remote, nil
	return remote, nil
}

func (p *provider) oauth(remote *oidc.Provider, redirect string) (*oauth2.Config, error) {
	c := &oauth2.Config{ClientID: p.config.ClientID, Endpoint: remote.Endpoint(), RedirectURL: redirect, Scopes: p.config.Scopes}
	if p.config.ClientSecretFile == "" {
		return c, nil
	}
	text, err := os.ReadFile(p.config.ClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("read http.oidc.client_secret_file: %w", err)
	}
	c.ClientSecret = strings.TrimSpace(string(text))
	return c, nil
}

// begin remembers somebody who goes, and returns the state that finds them again.
func (p *provider) begin(f flow) (state string) {
	state = random(32)
	f.began = p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest string
	for key, other := range p.flows {
		if f.began.Sub(other.began) > flowLife {
			delete(p.flows, key)
		} else if oldest == "" || other.began.Before(p.flows[oldest].began) {
			oldest = key
		}
	}
	if len(p.flows) >= maxFlows {
		delete(p.flows, oldest)
	}
	p.flows[state] = f
	return state
}

// end finds somebody who comes back; nobody comes back twice.
func (p *provider) end(state string) (flow, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flows[state]
	delete(p.flows, state)
	return f, ok && p.now().Sub(f.began) <= flowLife
}

// person is who somebody is, in the provider's word.
type person struct {
	account string
	roles   []string
}

// redeem changes a code for who they are. An *Error says what is wrong with them.
func (p *provider) redeem(ctx context.Context, code, redirect string, f flow) (person, error) {
	remote, err := p.discover(ctx)
	if err != nil {
		return person{}, err
	}
	conf, err := p.oauth(remote, redirect)
	if err != nil {
		return person{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(f.verifier))
	if err != nil {
		return person{}, fmt.Errorf("redeem the code at %s: %w", p.config.Issuer, err)
	}
	text, _ := token.Extra("id_token").(string)
	if text == "" {
		return person{}, errors.New("the provider's answer has no id_token")
	}
	id, err := remote.VerifierContext(ctx, &oidc.Config{ClientID: p.config.ClientID, Now: p.now}).Verify(ctx, text)
	if err != nil {
		return person{}, fmt.Errorf("check the ID token: %w", err)
	}
	if !sameText(id.Nonce, f.nonce) {
		return person{}, errors.New("check the ID token: it was made for another visit: its nonce is another")
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return person{}, fmt.Errorf("read the ID token: %w", err)
	}
	if err := p.addUserInfo(ctx, remote, token, id.Subject, claims); err != nil {
		return person{}, err
	}
	return p.judge(claims)
}

// addUserInfo asks for what the ID token does not have, which many providers keep
// apart.
func (p *provider) addUserInfo(ctx context.Context, remote *oidc.Provider, token *oauth2.Token, subject string, claims map[string]any) error {
	if claim(claims, p.config.NameClaim) != nil && (p.config.RolesClaim == "" || claim(claims, p.config.RolesClaim) != nil) {
		return nil
	}
	if remote.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := remote.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("ask the provider about the user: %w", err)
	}
	if info.Subject != subject {
		return errors.New("ask the provider about the user: it answered about another one")
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("read what the provider says about the user: %w", err)
	}
	for name, v := range more {
		if _, ok := claims[name]; !ok {
			claims[name] = v
		}
	}
	return nil
}

func (p *provider) judge(claims map[string]any) (person, error) {
	named, _ := claim(claims, p.config.NameClaim).(string)
	if p.config.NameClaim == "email" && claims["email_verified"] == false {
		return person{}, refusedPerson("unverified-email", "the provider has not verified the address "+clip(named), "verify it there")
	}
	account, err := personName(named)
	if err != nil {
		return person{}, refusedPerson("bad-name", "the provider's "+p.config.NameClaim+" "+err.Error(), "set http.oidc.name_claim to a claim that has a name")
	}
	roles := p.config.roles(texts(claim(claims, p.config.RolesClaim)))
	if len(roles) == 0 {
		return person{account: account}, refusedPerson("no-role", "no group of "+account+" has a role here",
			"ask an admin to add one to http.oidc.roles, or the provider for the group")
	}
	return person{account: account, roles: roles}, nil
}

func refusedPerson(code, message, remedy string) *Error {
	return &Error{Status: http.StatusForbidden, Code: code, Message: message, Remedy: remedy}
}

// stamp ends the sessions of a provider with the provider.
func (p *provider) stamp() string {
	if p == nil {
		return ""
	}
	sum := sha256.Sum256([]byte("atoll oidc\n" + p.config.Issuer + "\n" + p.config.ClientID))
	return hex.EncodeToString(sum[:9])
}
