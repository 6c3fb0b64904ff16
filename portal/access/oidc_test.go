package access

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// identity is an OpenID provider that lets everybody in at once, as claims says. It
// insists on PKCE and on the client's secret.
type identity struct {
	t   *testing.T
	srv *httptest.Server
	key *rsa.PrivateKey
	// What is nil is left as it should be.
	signer *rsa.PrivateKey
	alter  func(claims map[string]any)
	none   bool // signs nothing
	refuse bool
	issuer string // that it says it is
	info   map[string]any

	mu    sync.Mutex
	codes map[string]url.Values
}

const (
	clientID     = "atoll"
	clientSecret = "s3cr&t+"
)

func newIdentity(t *testing.T) *identity {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &identity{t: t, key: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		writeJSON(w, http.StatusOK, p.info)
	})
	p.srv = httptest.NewServer(mux)
	t.Cleanup(p.srv.Close)
	p.issuer = p.srv.URL
	return p
}

func (p *identity) discovery(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer": p.issuer, "authorization_endpoint": p.srv.URL + "/authorize", "token_endpoint": p.srv.URL + "/token",
		"jwks_uri": p.srv.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
	}
	if p.info != nil {
		doc["userinfo_endpoint"] = p.srv.URL + "/userinfo"
	}
	writeJSON(w, http.StatusOK, doc)
}

func (p *identity) keys(w http.ResponseWriter, _ *http.Request) {
	b64 := base64.RawURLEncoding.EncodeToString
	writeJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
		"n": b64(p.key.N.Bytes()), "e": b64(big.NewInt(int64(p.key.E)).Bytes()),
	}}})
}

func (p *identity) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		q.Get("nonce") == "" || !strings.Contains(q.Get("scope"), "openid") {
		p.t.Errorf("asked to authorize %v", q)
	}
	back := url.Values{"state": {q.Get("state")}}
	if p.refuse {
		back.Set("error", "access_denied")
	} else {
		code := random(9)
		p.mu.Lock()
		p.codes[code] = q
		p.mu.Unlock()
		back.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *identity) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	asked, ok := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	p.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	secret, _ = url.QueryUnescape(secret)
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || id != clientID || secret != clientSecret || asked.Get("redirect_uri") != r.FormValue("redirect_uri") ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{
		"iss": p.srv.URL, "aud": clientID, "sub": "4711", "nonce": asked.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"preferred_username": "Ann@Example.com", "groups": []string{"staff", "oncall"},
	}
	if p.alter != nil {
		p.alter(claims)
	}
	writeJSON(w, http.StatusOK, map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": p.sign(claims)})
}

func (p *identity) sign(claims map[string]any) string {
	b64 := base64.RawURLEncoding.EncodeToString
	head := `{"alg":"RS256","kid":"1"}`
	if p.none {
		head = `{"alg":"none"}`
	}
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	text := b64([]byte(head)) + "." + b64(body)
	if p.none {
		return text + "."
	}
	key := p.key
	if p.signer != nil {
		key = p.signer
	}
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		p.t.Error(err)
	}
	return text + "." + b64(sig)
}

// siteOf is a site that sends people to p.
func siteOf(t *testing.T, p *identity, change func(*OIDC)) *site {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var s *site
	s = newSite(t, func(o *Options) {
		o.URL = func() string {
			if s == nil {
				return "" // it does not listen yet
			}
			return s.srv.URL
		}
		o.Config.OIDC.Issuer, o.Config.OIDC.ClientID, o.Config.OIDC.ClientSecretFile = p.srv.URL, clientID, secret
		o.Config.OIDC.Roles = map[string]string{"oncall": "operator", "chiefs": "admin"}
		if change != nil {
			change(&o.Config.OIDC)
		}
	})
	return s
}

// browser follows redirects and keeps cookies.
type browser struct {
	*http.Client
	t    *testing.T
	seen []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, Client: &http.Client{Jar: jar, Timeout: time.Minute}}
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		b.seen = append(b.seen, r.URL.String())
		return nil
	}
	return b
}

// visit returns where the browser ends, and what stands there.
func (b *browser) visit(at string) (path, body string) {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*")
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.Request.URL.RequestURI(), string(text)
}

const startPath = "/api/atoll/v1/oidc/start"

func TestOpenIDSignsIn(t *testing.T) {
	p := newIdentity(t)
	s := siteOf(t, p, nil)
	b := newBrowser(t)
	if at, who := b.visit(s.srv.URL + startPath + "?to=" + url.QueryEscape("/alerts?state=firing")); at != "/alerts?state=firing" || who != "user oidc/ann~example.com" {
		t.Fatalf("ends at %s as %s", at, who)
	}
	_, text := b.visit(s.srv.URL + "/api/atoll/v1/session")
	var session sessionAnswer
	if err := json.Unmarshal([]byte(text), &session); err != nil {
		t.Fatal(err)
	}
	if !session.OIDC || session.Source != OpenID || !slices.Equal(session.Roles, []string{"operator"}) || session.CSRF == "" {
		t.Errorf("session %+v", session)
	}
	if !s.log.has("user oidc/ann~example.com", "sign-in", "oidc/ann~example.com") {
		t.Error("signing in was not written down")
	}

	// Nobody comes back twice, and nobody with what another browser began.
	back := b.seen[slices.IndexFunc(b.seen, func(u string) bool { return strings.Contains(u, callbackPath) })]
	for name, who := range map[string]*browser{"replayed": b, "by another browser": newBrowser(t)} {
		if at, _ := who.visit(back); at != "/login?error=bad-state" {
			t.Errorf("%s: ends at %s", name, at)
		}
	}
	for _, to := range []string{"//evil.test/", "https://evil.test/", "/\\evil.test", "evil", ""} {
		if at, _ := newBrowser(t).visit(s.srv.URL + startPath + "?to=" + url.QueryEscape(to)); at != "/" {
			t.Errorf("to %q: ends at %s", to, at)
		}
	}
}

func TestOpenIDRefuses(t *testing.T) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, v any) func(*identity) {
		return func(p *identity) { p.alter = func(c map[string]any) { c[name] = v } }
	}
	for name, tc := range map[string]struct {
		code   string
		change func(*identity)
	}{
		"another nonce":      {"provider", set("nonce", "another")},
		"no nonce":           {"provider", set("nonce", "")},
		"another audience":   {"provider", set("aud", "another")},
		"expired":            {"provider", set("exp", time.Now().Add(-time.Hour).Unix())},
		"another issuer":     {"provider", set("iss", "https://evil.test")},
		"another key":        {"provider", func(p *identity) { p.signer = stranger }},
		"no signature":       {"provider", func(p *identity) { p.none = true }},
		"discovery of other": {"provider", func(p *identity) { p.issuer = "https://evil.test" }},
		"the user said no":   {"provider-refused", func(p *identity) { p.refuse = true }},
		"no group":           {"no-role", set("groups", []string{"staff"})},
		"groups of numbers":  {"no-role", set("groups", []any{1, nil})},
		"a name like a path": {"bad-name", set("preferred_username", "../admin")},
		"a name of another":  {"bad-name", set("preferred_username", "ann~example.com")},
		"no name":            {"bad-name", set("preferred_username", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIdentity(t)
			tc.change(p)
			s := siteOf(t, p, nil)
			b := newBrowser(t)
			if at, _ := b.visit(s.srv.URL + startPath); at != "/login?error="+tc.code {
				t.Errorf("ends at %s", at)
			}
			if _, who := b.visit(s.srv.URL + "/"); who != "anonymous" {
				t.Errorf("is %s", who)
			}
		})
	}
}

func TestOpenIDTakesTooLong(t *testing.T) {
	p := newIdentity(t)
	s := siteOf(t, p, nil)
	b := newBrowser(t)
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == callbackPath {
			s.provider.now = func() time.Time { return time.Now().Add(flowLife + time.Second) }
		}
		return nil
	}
	if at, _ := b.visit(s.srv.URL + startPath); at != "/login?error=bad-state" {
		t.Errorf("ends at %s", at)
	}
}

func TestOpenIDClaims(t *testing.T) {
	p := newIdentity(t)
	p.info = map[string]any{"sub": "4711", "email": "ann@example.com", "email_verified": true, "realm_access": map[string]any{"roles": "chiefs"}}
	of := func(c *OIDC) { c.NameClaim, c.RolesClaim = "email", "realm_access.roles" }
	s := siteOf(t, p, of)
	if at, who := newBrowser(t).visit(s.srv.URL + startPath); at != "/" || who != "user oidc/ann~example.com" {
		t.Errorf("ends at %s as %s", at, who)
	}
	p.info["email_verified"] = false
	if at, _ := newBrowser(t).visit(s.srv.URL + startPath); at != "/login?error=unverified-email" {
		t.Errorf("an address that is not verified: ends at %s", at)
	}
	p.info["sub"] = "4712"
	if at, _ := newBrowser(t).visit(s.srv.URL + startPath); at != "/login?error=provider" {
		t.Errorf("the word about another user: ends at %s", at)
	}
	everyone := siteOf(t, newIdentity(t), func(c *OIDC) { c.Roles = map[string]string{everybody: "viewer"} })
	b := newBrowser(t)
	b.visit(everyone.srv.URL + startPath)
	if _, text := b.visit(everyone.srv.URL + "/api/atoll/v1/session"); !strings.Contains(text, `"roles":["viewer"]`) {
		t.Errorf("everybody is a viewer, but: %s", text)
	}
}

func TestOpenIDPeopleAreShutOut(t *testing.T) {
	p := newIdentity(t)
	s := siteOf(t, p, nil)
	admin := s.admin()
	b := newBrowser(t)
	b.visit(s.srv.URL + startPath)
	admin.want(201, "POST", "/api/atoll/v1/users", fields{"name": "ann~example.com", "password": good, "roles": []string{"viewer"}})
	if _, who := b.visit(s.srv.URL + "/"); who != "user oidc/ann~example.com" {
		t.Errorf("an account of the name ends the session: %s", who)
	}
	admin.want(200, "PUT", "/api/atoll/v1/users/ann~example.com", fields{"disabled": true})
	if _, who := b.visit(s.srv.URL + "/"); who != "anonymous" {
		t.Errorf("disabled, and still %s", who)
	}
	if at, _ := b.visit(s.srv.URL + startPath); at != "/login?error=disabled" {
		t.Errorf("ends at %s", at)
	}
	if !s.log.has("anonymous", "sign-in-refused", "oidc/ann~example.com") {
		t.Error("the refusal was not written down")
	}
}

func TestOpenIDSessionsEndWithTheProvider(t *testing.T) {
	p := newIdentity(t)
	s := siteOf(t, p, nil)
	b := newBrowser(t)
	b.visit(s.srv.URL + startPath)
	home, err := url.Parse(s.srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := b.Jar.Cookies(home)
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	s.close()
	s.open(nil)
	c := s.caller()
	c.cookie = cookies[0]
	if c.want(200, "GET", "/", nil); c.message != "anonymous" {
		t.Errorf("without the provider still %s", c.message)
	}
	c.want(404, "GET", startPath, nil)
	c.want(404, "GET", callbackPath, nil)
}

func TestOpenIDForPrograms(t *testing.T) {
	p := newIdentity(t)
	s := siteOf(t, p, nil)
	p.srv.Close()
	c := s.caller()
	for range 8 {
		if c.want(502, "GET", startPath, nil); c.code != "provider" {
			t.Errorf("code %s", c.code)
		}
	}
	if c.want(429, "GET", startPath, nil); c.code != "limited" || c.last.Header.Get("Retry-After") == "" {
		t.Errorf("code %s, %v", c.code, c.last.Header)
	}
	if c.want(403, "GET", callbackPath+"?state=x&code=y", nil); c.code != "bad-state" {
		t.Errorf("code %s", c.code)
	}
}

func TestFlowsAreBounded(t *testing.T) {
	p, err := newProvider(OIDC{Issuer: "https://id.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	now := time.Now()
	p.now = func() time.Time { now = now.Add(time.Millisecond); return now }
	first := p.begin(flow{})
	for range maxFlows {
		p.begin(flow{})
	}
	if _, ok := p.end(first); ok || len(p.flows) > maxFlows {
		t.Errorf("%d are on the way", len(p.flows))
	}
}

func TestOpenIDSettingsAreChecked(t *testing.T) {
	ok := defaultOIDC()
	ok.Issuer, ok.ClientID, ok.Roles = "https://id.example.com", "atoll", map[string]string{"a": "viewer"}
	if err := ok.validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*OIDC){
		"http.oidc.issuer: is empty":            func(c *OIDC) { c.Issuer = "" },
		`http.oidc.issuer: "http://id.test"`:    func(c *OIDC) { c.Issuer = "http://id.test" },
		"http.oidc.client_id: is empty":         func(c *OIDC) { c.ClientID = "" },
		"http.oidc.scopes":                      func(c *OIDC) { c.Scopes = nil },
		"http.oidc.name_claim: is empty":        func(c *OIDC) { c.NameClaim = "" },
		"http.oidc.roles: is empty":             func(c *OIDC) { c.Roles = nil },
		`http.oidc.roles: "a": "root" must be`:  func(c *OIDC) { c.Roles = map[string]string{"a": "root"} },
		`http.oidc.redirect_url: "/x": must be`: func(c *OIDC) { c.RedirectURL = "/x" },
	} {
		c := ok
		c.Roles = maps.Clone(ok.Roles)
		change(&c)
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ok.CAFile = filepath.Join(t.TempDir(), "none.pem")
	if _, err := newProvider(ok); err == nil || !strings.Contains(err.Error(), "http.oidc.ca_file") {
		t.Errorf("without its roots: %v", err)
	}
}
