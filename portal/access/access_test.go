package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryLog keeps entries; refuse makes it fail.
type memoryLog struct {
	mu      sync.Mutex
	entries []Entry
	refuse  error
}

func (l *memoryLog) Append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return l.refuse
	}
	l.entries = append(l.entries, e)
	return nil
}

func (l *memoryLog) Newest(_ string, limit int) ([]Entry, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.entries)
	slices.Reverse(out)
	return out[:min(limit, len(out))], "", nil
}

func (l *memoryLog) has(actor, action, subject string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.entries, func(e Entry) bool {
		return e.Actor == actor && e.Action == action && strings.Contains(e.Subject, subject)
	})
}

// shared is a network's documents.
type shared struct {
	mu     sync.Mutex
	docs   map[string][]byte
	refuse error
}

func (s *shared) Get(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.docs[key], nil
}

func (s *shared) List(prefix string) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]byte{}
	for key, v := range s.docs {
		if strings.HasPrefix(key, prefix) {
			out[key] = v
		}
	}
	return out
}

func (s *shared) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	kind, _, _ := strings.Cut(key, "/")
	if err := CheckDocument(kind, value); err != nil {
		return err
	}
	s.docs[key] = value
	return nil
}

func (s *shared) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.docs, key)
	return s.refuse
}

// site is an Access behind an HTTP server, with routes that answer what was asked.
type site struct {
	*Access
	t    *testing.T
	dir  string
	log  *memoryLog
	net  *shared
	zone Zone
	srv  *httptest.Server
	hits []string
}

func newSite(t *testing.T, change func(*Options)) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), log: &memoryLog{}}
	s.open(change)
	return s
}

func (s *site) open(change func(*Options)) {
	s.t.Helper()
	opts := Options{Config: Default(), Dir: s.dir, Island: "oslo", Log: s.log, Registerer: prometheus.NewRegistry()}
	opts.Network = func() Documents {
		if s.net == nil {
			return nil
		}
		return s.net
	}
	if change != nil {
		change(&opts)
	}
	a, err := New(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := a.Open(); err != nil {
		s.t.Fatal(err)
	}
	if err := a.tend(); err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, h := range a.Routes() {
		mux.Handle(pattern, h)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.hits = append(s.hits, r.Method+" "+r.URL.Path)
		_, _ = io.WriteString(w, From(r.Context()).Actor())
	})
	s.Access = a
	s.srv = httptest.NewServer(a.Guard(mux, func(*http.Request) Zone { return s.zone }))
	s.t.Cleanup(s.close)
}

func (s *site) close() {
	s.srv.Close()
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

// caller has a cookie jar of one and a token.
type caller struct {
	s             *site
	cookie        *http.Cookie
	csrf, token   string
	last          *http.Response
	code          string // of the last refusal
	user, message string
}

func (s *site) caller() *caller { return &caller{s: s} }

func (c *caller) do(method, path string, body any) int {
	c.s.t.Helper()
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	req, err := http.NewRequestWithContext(c.s.t.Context(), method, c.s.srv.URL+path, bytes.NewReader(text))
	if err != nil {
		c.s.t.Fatal(err)
	}
	if c.cookie != nil {
		req.AddCookie(c.cookie)
	}
	if c.csrf != "" {
		req.Header.Set(CSRFHeader, c.csrf)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		c.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	c.last, c.message = resp, string(answer)
	var said struct{ Code, CSRF, User string }
	_ = json.Unmarshal(answer, &said) // not every answer is JSON
	c.code, c.user = said.Code, said.User
	for _, k := range resp.Cookies() {
		if c.cookie = k; k.MaxAge < 0 {
			c.cookie = nil
		}
	}
	if said.CSRF != "" {
		c.csrf = said.CSRF
	}
	return resp.StatusCode
}

func (c *caller) want(status int, method, path string, body any) {
	c.s.t.Helper()
	if got := c.do(method, path, body); got != status {
		c.s.t.Errorf("%s %s: %d %s, want %d", method, path, got, c.message, status)
	}
}

type fields map[string]any

const good = "correct horse battery"

// admin sets the site up with the code from its file.
func (s *site) admin() *caller {
	s.t.Helper()
	code, err := os.ReadFile(filepath.Join(s.dir, "run", "setup-code"))
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.caller()
	c.want(200, "POST", "/api/atoll/v1/setup", fields{"code": strings.TrimSpace(string(code)), "user": "ann", "password": good})
	return c
}

func (s *site) signIn(name, password string) *caller {
	s.t.Helper()
	c := s.caller()
	c.want(200, "POST", "/api/atoll/v1/session", fields{"user": name, "password": password})
	return c
}

func TestSetUp(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	info, err := os.Stat(filepath.Join(s.dir, "run", "setup-code"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the code's file: %v, %v", info, err)
	}
	c := s.caller()
	if c.want(200, "GET", "/api/atoll/v1/session", nil); !strings.Contains(c.message, `"setup_needed":true`) {
		t.Errorf("session: %s", c.message)
	}
	c.want(403, "POST", "/api/atoll/v1/setup", fields{"code": "0000-0000-0000", "user": "eve", "password": good})
	if !s.log.has("anonymous", "set-up-refused", "") {
		t.Error("a wrong code is not in the log")
	}
	code, _ := os.ReadFile(filepath.Join(s.dir, "run", "setup-code"))
	c.want(422, "POST", "/api/atoll/v1/setup", fields{"code": string(code), "user": "ann", "password": "short"})
	c = s.admin()
	if c.user != "ann" || c.cookie == nil || !c.cookie.HttpOnly || c.cookie.SameSite != http.SameSiteStrictMode || c.cookie.Secure {
		t.Errorf("signed in as %q with cookie %+v", c.user, c.cookie)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "run", "setup-code")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the code is still there: %v", err)
	}
	s.caller().want(409, "POST", "/api/atoll/v1/setup", fields{"code": string(code), "user": "eve", "password": good})
	c.want(200, "GET", "/api/atoll/v1/users", nil)
	if strings.Contains(c.message, "argon2") {
		t.Errorf("a password hash is shown: %s", c.message)
	}

	// The session, and nothing that opens it, is on disk: it outlives a restart.
	raw, err := os.ReadFile(filepath.Join(s.dir, "portal", "access.db"))
	if err != nil || bytes.Contains(raw, []byte(c.cookie.Value)) || bytes.Contains(raw, []byte(good)) {
		t.Errorf("a secret stands in the file (%v)", err)
	}
	s.close()
	s.open(nil)
	c.want(200, "GET", "/api/atoll/v1/users", nil)
}

func TestPasswordAndSession(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	ann := s.admin()
	bob := s.caller()
	bob.cookie = &http.Cookie{Name: ann.cookie.Name, Value: "chosen-by-somebody-else"} // session fixation
	ann.want(201, "POST", "/api/atoll/v1/users", fields{"name": "bob", "password": good, "roles": []string{"viewer"}})
	ann.want(409, "POST", "/api/atoll/v1/users", fields{"name": "bob", "password": good, "roles": []string{"viewer"}})
	bob.want(401, "POST", "/api/atoll/v1/session", fields{"user": "bob", "password": "something else"})
	bob.want(401, "POST", "/api/atoll/v1/session", fields{"user": "nobody", "password": good})
	bob.want(200, "POST", "/api/atoll/v1/session", fields{"user": " Bob ", "password": good})
	if bob.cookie.Value == "chosen-by-somebody-else" {
		t.Error("a session has the ID that somebody else chose")
	}
	first := *bob
	bob.want(200, "POST", "/api/atoll/v1/session", fields{"user": "bob", "password": good})
	first.want(401, "GET", "/api/v1/query", nil) // signing in again ends the one before
	other := s.signIn("bob", good)
	bob.want(403, "POST", "/api/atoll/v1/password", fields{"old": "not the old one", "new": "a new long password"})
	bob.want(200, "POST", "/api/atoll/v1/password", fields{"old": good, "new": "a new long password"})
	bob.want(200, "GET", "/api/v1/query", nil)
	other.want(401, "GET", "/api/v1/query", nil) // a new password ends other sessions
	bob.want(403, "DELETE", "/api/atoll/v1/users/ann", nil)
	if !s.log.has("user bob", "denied", "DELETE /api/atoll/v1/users/ann") || !s.log.has("user ann", "user-add", "bob") {
		t.Errorf("the log lacks who did what: %+v", s.log.entries)
	}
	ann.want(409, "DELETE", "/api/atoll/v1/users/ann", nil) // the last admin
	ann.want(200, "PUT", "/api/atoll/v1/users/bob", fields{"roles": []string{"operator"}})
	bob.want(200, "POST", "/api/v2/silences", nil) // at once
	ann.want(200, "PUT", "/api/atoll/v1/users/bob", fields{"disabled": true})
	bob.want(401, "GET", "/api/v1/query", nil)
	s.caller().want(401, "POST", "/api/atoll/v1/session", fields{"user": "bob", "password": "a new long password"})
	ann.want(204, "DELETE", "/api/atoll/v1/session", nil)
	ann.want(401, "GET", "/api/v1/query", nil)
}

func TestCSRF(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	ann := s.admin()
	s.zone.Loopback = true // even where everybody may
	value := ann.csrf
	for _, wrong := range []string{"", "0", value[:len(value)-1]} {
		ann.csrf = wrong
		for _, route := range []string{"POST /api/v2/silences", "DELETE /api/atoll/v1/session", "POST /api/atoll/v1/users", "PUT /api/atoll/v1/documents/rules/x", "POST /-/reload"} {
			method, path, _ := strings.Cut(route, " ")
			if ann.want(403, method, path, nil); ann.code != "csrf" {
				t.Errorf("%s with %q: code %q, want csrf", route, wrong, ann.code)
			}
		}
		ann.want(200, "POST", "/api/v1/query", nil) // changes nothing
	}
	ann.csrf = value
	ann.want(200, "PUT", "/api/atoll/v1/documents/rules/x", nil)
}

func TestTokens(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	ann := s.admin()
	make := func(c *caller, body fields) *caller {
		t.Helper()
		c.want(201, "POST", "/api/atoll/v1/tokens", body)
		var got struct{ Token string }
		_ = json.Unmarshal([]byte(c.message), &got)
		return &caller{s: s, token: got.Token}
	}
	routes := map[string]string{
		"read": "GET /api/v1/query", "ingest": "POST /api/v1/write", "silence": "DELETE /api/v2/silence/1", "probe": "POST /api/v1/probes/run",
		"write": "PUT /api/atoll/v1/documents/rules/x", "administer": "POST /api/atoll/v1/mesh/invite",
	}
	for _, scope := range Scopes() {
		tok := make(ann, fields{"name": scope, "scopes": []string{scope}})
		for other, route := range routes {
			method, path, _ := strings.Cut(route, " ")
			want := 403
			if other == scope {
				want = 200
			}
			tok.want(want, method, path, nil)
		}
		s.zone.Loopback = true // a token is never good for more than its scopes
		if scope != "read" {
			tok.want(403, "GET", "/api/v1/query", nil)
		}
		s.zone.Loopback = false
	}
	ann.want(201, "POST", "/api/atoll/v1/users", fields{"name": "bob", "password": good, "roles": []string{"viewer"}})
	bob := s.signIn("bob", good)
	all := make(bob, fields{"name": "all", "scopes": Scopes()})
	all.want(200, "GET", "/api/v1/query", nil)
	all.want(403, "POST", "/api/atoll/v1/mesh/invite", nil) // no more than its owner
	narrow := make(bob, fields{"name": "narrow", "scopes": []string{"read"}})
	narrow.want(403, "POST", "/api/atoll/v1/tokens", fields{"name": "wide", "scopes": Scopes()})
	bob.want(403, "POST", "/api/atoll/v1/tokens", fields{"name": "x", "scopes": []string{"read"}, "roles": []string{"admin"}})
	bob.want(422, "POST", "/api/atoll/v1/tokens", fields{"name": "x", "scopes": []string{"everything"}})
	service := make(ann, fields{"name": "grafana", "scopes": []string{"read"}, "roles": []string{"viewer"}, "expires_seconds": 3600})
	service.want(200, "GET", "/api/v1/query", nil)
	if !strings.HasPrefix(service.message, "token ") || !strings.Contains(service.message, "(grafana)") {
		t.Errorf("it acts as %q", service.message)
	}
	id := strings.Split(service.token, "_")[1]
	bob.want(404, "DELETE", "/api/atoll/v1/tokens/"+id, nil)
	if bob.want(200, "GET", "/api/atoll/v1/tokens", nil); strings.Contains(bob.message, "grafana") || strings.Contains(bob.message, "hash") {
		t.Errorf("bob sees %s", bob.message)
	}
	ann.want(204, "DELETE", "/api/atoll/v1/tokens/"+id, nil)
	service.want(401, "GET", "/api/v1/query", nil)
	ann.want(204, "DELETE", "/api/atoll/v1/users/bob", nil)
	all.want(401, "GET", "/api/v1/query", nil)
	for _, bad := range []string{"x", "atoll_0123456789abcdef_", all.token + "x", all.token[:len(all.token)-1] + "_"} {
		(&caller{s: s, token: bad}).want(401, "GET", "/api/v1/query", nil)
	}
}

func TestRoutes(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	nobody := s.caller()
	for _, tc := range []struct {
		route           string
		plain, loopback int
	}{
		{"GET /", 200, 200},
		{"GET /islands/x", 200, 200},
		{"GET /-/healthy", 200, 200},
		{"GET /metrics", 401, 200},
		{"GET /api/v1/query", 401, 200},
		{"HEAD /api/v1/query", 401, 200},
		{"POST /api/v1/query", 401, 200},
		{"POST /api/v1/write", 401, 200},
		{"POST /api/v2/silences", 401, 200},
		{"POST /-/reload", 401, 200},
		{"POST /api/v1/admin/tsdb/snapshot", 401, 200},
		{"GET /debug/pprof/", 401, 200},
		{"POST /api/atoll/v1/mesh/invite", 401, 401},
		{"POST /api/atoll/v1/alerts/x/acknowledge", 401, 401},
		{"PUT /api/atoll/v1/documents/rules/x", 401, 401},
		{"GET /api/atoll/v1/users", 401, 401},
		{"GET /api/atoll/v1/tokens", 401, 401},
		{"GET /api/atoll/v1/audit", 401, 401},
		{"POST /api/v1/something/new", 403, 403},
		{"PATCH /api/v1/query", 403, 403},
		{"POST /", 403, 403},
		{"POST /api/v1/admin%2ftsdb/snapshot", 403, 403},
		{"POST /api/v1/query/../admin/tsdb/snapshot", 401, 200},
		{"PUT /api/atoll/v1/documents/rules%2F..%2Fpolicy/main", 403, 403},
		{"PUT /api/atoll/v1/documents/Rules/x", 403, 403},
	} {
		method, path, _ := strings.Cut(tc.route, " ")
		s.zone.Loopback = false
		if got := nobody.do(method, path, nil); got != tc.plain && (tc.plain != 200 || got != 307) {
			t.Errorf("%s from elsewhere: %d %s, want %d", tc.route, got, nobody.message, tc.plain)
		}
		s.zone.Loopback = true
		if got := nobody.do(method, path, nil); got != tc.loopback && got != 307 && got != 301 {
			t.Errorf("%s on loopback: %d %s, want %d", tc.route, got, nobody.message, tc.loopback)
		}
	}
	if slices.Contains(s.hits, "POST /api/v1/admin/tsdb/snapshot") != true {
		t.Error("the admin API was not reached on loopback at all")
	}
}

func TestAnonymousIsConfigurable(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, func(o *Options) { o.Config.Anonymous = []Class{ClassIngest} })
	nobody := s.caller()
	for range 2 {
		nobody.want(401, "GET", "/api/v1/query", nil)
		nobody.want(200, "POST", "/api/v1/write", nil)
		s.zone.Loopback = true
	}
	s.zone = Zone{Authenticated: true, User: "prometheus"}
	if nobody.want(200, "GET", "/api/v1/query", nil); nobody.message != "web_config user prometheus" {
		t.Errorf("acts as %q", nobody.message)
	}
	nobody.want(401, "POST", "/api/atoll/v1/mesh/invite", nil)
}

func TestLoginFlood(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	ann := s.admin()
	ann.want(201, "POST", "/api/atoll/v1/users", fields{"name": "bob", "password": good, "roles": []string{"viewer"}})
	eve := s.caller()
	limited := 0
	for range 12 {
		if eve.do("POST", "/api/atoll/v1/session", fields{"user": "bob", "password": "guess"}) == 429 {
			limited++
			if eve.last.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if limited != 12-int(perUser.burst) {
		t.Errorf("%d of 12 guesses were turned away, want all but %v", limited, perUser.burst)
	}
	l := newLimiter()
	for n := range 3 * maxBuckets {
		l.try("user"+string(rune(n)), "192.0.2.1")
		l.try("x", "10.0."+string(rune(n)))
	}
	if l.size() > maxBuckets+1 {
		t.Errorf("%d buckets", l.size())
	}
}

// TestNothingWithoutAudit holds what changes to being written down first.
func TestNothingWithoutAudit(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	ann := s.admin()
	s.log.refuse = errors.New("no space left on device")
	ann.want(503, "POST", "/api/atoll/v1/users", fields{"name": "bob", "password": good, "roles": []string{"viewer"}})
	ann.want(503, "PUT", "/api/atoll/v1/documents/rules/x", nil)
	s.caller().want(503, "POST", "/api/atoll/v1/session", fields{"user": "ann", "password": good})
	s.log.refuse = nil
	ann.want(404, "GET", "/api/atoll/v1/users/bob", nil)
	if len(s.hits) > 0 {
		t.Errorf("handlers were reached: %v", s.hits)
	}
}

func TestNetwork(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	s := newSite(t, nil)
	ann := s.admin() // before there was a network: this island's own
	s.net = &shared{docs: map[string][]byte{}}
	ann.want(201, "POST", "/api/atoll/v1/users", fields{"name": "bob", "password": good, "roles": []string{"operator"}})
	if s.net.docs["users/bob"] == nil {
		t.Fatalf("bob is not shared: %s", ann.message)
	}
	other := newSite(t, nil)
	other.net = s.net
	bob := other.signIn("bob", good) // one account works at every island
	bob.want(201, "POST", "/api/atoll/v1/tokens", fields{"name": "mine", "scopes": []string{"read"}})
	var got struct{ Token, Place string }
	_ = json.Unmarshal([]byte(bob.message), &got)
	(&caller{s: s, token: got.Token}).want(200, "GET", "/api/v1/query", nil)
	ann.want(200, "GET", "/api/atoll/v1/users", nil)
	for _, want := range []string{`"name":"ann","roles":["admin"],"place":"island"`, `"name":"bob","roles":["operator"],"place":"network"`} {
		if !strings.Contains(ann.message, want) {
			t.Errorf("users %s, want %s", ann.message, want)
		}
	}
	s.net.refuse = forbidden("no policy permits it", "")
	ann.want(403, "POST", "/api/atoll/v1/users", fields{"name": "carl", "password": good, "roles": []string{"viewer"}})
	ann.want(201, "POST", "/api/atoll/v1/users", fields{"name": "carl", "password": good, "roles": []string{"viewer"}, "place": "island"})
	s.net.refuse = nil
	ann.want(204, "DELETE", "/api/atoll/v1/users/bob", nil)
	bob.want(401, "GET", "/api/v1/query", nil)
}

func TestPolicyOfTheNetworkDecides(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	set, err := policy.Parse("policy/main", []byte(`permit (principal is User, action == Action::"read", resource);`))
	if err != nil {
		t.Fatal(err)
	}
	var inForce *policy.Set
	s := newSite(t, func(o *Options) { o.Policy = func() *policy.Set { return inForce } })
	ann := s.admin()
	ann.want(200, "PUT", "/api/atoll/v1/documents/rules/x", nil)
	inForce = set
	if ann.want(403, "PUT", "/api/atoll/v1/documents/rules/x", nil); !strings.Contains(ann.message, "no policy permits user ann (admin) to write document rules/x") {
		t.Errorf("refused with %s", ann.message)
	}
	ann.want(200, "GET", "/api/v1/query", nil)
	if inForce, err = policy.Parse("policy/main", policy.Default()); err != nil {
		t.Fatal(err)
	}
	ann.want(200, "PUT", "/api/atoll/v1/documents/rules/x", nil) // a text from before users leaves them their rights
}

func FuzzCheckDocument(f *testing.F) {
	f.Add(true, []byte(`{"name":"ann","roles":["admin"],"password":"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AA","stamp":"x"}`))
	f.Add(false, []byte(`{"id":"0123456789abcdef","name":"x","scopes":["read"],"hash":"00","expires":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(_ *testing.T, users bool, text []byte) {
		kind := KindTokens
		if users {
			kind = KindUsers
		}
		_ = CheckDocument(kind, text) // it must not panic
		_, _, _ = decodeHash(string(text))
		_, _, _ = splitToken(string(text))
	})
}
