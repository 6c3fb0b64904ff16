package web

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// shop wants a login with a token from its page, and hands out a session.
func shop() http.HandlerFunc {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "pre", Value: "1"})
		fmt.Fprint(w, `<html><form action="/search"><input type="hidden" name="csrf" value="wrong"></form>
			<form method=post action='login'><input type=hidden name=csrf value="t&amp;k">
			<input name=user><input type=password name=password></form></html>`)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		pre, err := r.Cookie("pre")
		if err != nil || pre.Value != "1" || r.FormValue("csrf") != "t&k" || r.FormValue("user") != "u" || r.FormValue("password") != "p w" {
			http.Error(w, "no: "+r.FormValue("csrf"), http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s7"})
		http.Redirect(w, r, "/account", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /account", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("session")
		if err != nil {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Token", "abc")
		fmt.Fprintf(w, `{"session": %q, "cart": {"id": 42}}`, c.Value)
	})
	mux.HandleFunc("POST /cart/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "cart %s token %s body %s", r.PathValue("id"), r.Header.Get("X-Token"), body)
	})
	return mux.ServeHTTP
}

const login = `
flow:
- {name: page, url: /login, contains: [form]}
- {name: login, url: /login, form: {user: u, password: p w}, json: [{path: $.session, equals: s7}], save: {cart: {json: $.cart.id}, token: {header: X-Token}, session: {cookie: session}, word: {regexp: '"(sess)ion"'}}}
- {name: cart, method: POST, url: '/cart/${cart}', headers: {X-Token: '${token}'}, body: '${session} ${word} ${none}', contains: ['^cart 42 token abc body s7 sess \$\{none\}$'], absent: [error]}
`

func TestFlow(t *testing.T) {
	s := server(t, shop())
	r := run(t, HTTP, request(t, s.URL, login))
	wantUp(t, r)
	wantValue(t, r, 1, "probe_http_step_success", "step", "cart")
	wantValue(t, r, 1, "probe_http_redirects")
	wantValue(t, r, 200, "probe_http_status_code")
	for name, c := range map[string]struct {
		flow  string
		code  protocol.Code
		words string
	}{
		"status":   {"[{name: a, url: /account}]", protocol.Status, `step "a": status 401 Unauthorized, want 200 to 299`},
		"wanted":   {"[{url: /account, status: [401]}]", "", ""},
		"no token": {"[{name: login, url: /login, form: {user: u, password: p w}}]", protocol.Status, `step "login": status 403`},
		"contains": {"[{name: a, url: /login, contains: [moon]}]", protocol.Body, `step "a": the body does not match "moon"`},
		"absent":   {"[{name: a, url: /login, absent: [form]}]", protocol.Body, `step "a": the body matches "form"`},
		"save":     {"[{name: a, url: /login, save: {x: {header: X-None}}}]", protocol.Body, `no value to save as "x"`},
		"json":     {"[{name: a, url: /login, json: [{path: $.a, equals: 1}]}]", protocol.Body, "no JSON"},
		"scheme":   {"[{name: a, url: 'file:///etc/passwd'}]", protocol.Internal, "neither http nor https"},
		"gone":     {"[{name: a, url: 'http://none.test/'}]", protocol.ResolveFailed, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, HTTP, request(t, s.URL, "flow: "+c.flow))
			wantReason(t, r, c.code, c.words)
		})
	}
}

func TestHiddenFields(t *testing.T) {
	page := mustURL(t, "http://a.test/dir/page")
	for _, c := range []struct {
		html string
		to   string
		want [][2]string
	}{
		{`<form><input type=hidden name=a value=1></form><input type=hidden name=b value=2>`, "http://a.test/dir/page", [][2]string{{"a", "1"}}},
		{`<form action="?x=1"><input type=hidden name=a value='&lt;'><input name=b value=2>`, "http://a.test/dir/page", [][2]string{{"a", "<"}}},
		{`<form action="other"><input type="hidden" name="a"></form>`, "http://a.test/dir/other", [][2]string{{"a", ""}}},
		{`<form action="http://b.test/dir/page"><input type=hidden name=a value=1></form>`, "http://a.test/dir/page", nil},
		{`<!-- <form><input type=hidden name=a value=1></form> -->`, "http://a.test/dir/page", nil},
	} {
		if got := hiddenFields([]byte(c.html), page, mustURL(t, c.to)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.html, got, c.want)
		}
	}
}

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func FuzzHiddenFields(f *testing.F) {
	f.Add([]byte(`<form action="/a"><input type=hidden name=a value=1></form>`))
	f.Add([]byte(`<form><input type="hidden" name="a`))
	page := mustURL(f, "http://a.test/a")
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(hiddenFields(b, page, page)); n > maxFields {
			t.Errorf("%d fields", n)
		}
	})
}

func TestExpect(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"ok": true, "n": 3, "items": [{"name": "a"}, {"name": "b"}]}`)
	})
	for _, c := range []struct {
		expect string
		code   protocol.Code
		words  string
	}{
		{"json: [{path: $.ok, equals: true}, {path: $.n, equals: 3}, {path: '$.items[1].name', equals: b}, {path: '$.items[*].name', equals: b}]", "", ""},
		{"json: [{path: '$.items[0]', equals: {name: a}}]", "", ""},
		{"json: [{path: $.n, equals: '3'}]", protocol.Body, `$.n is 3, want "3"`},
		{"json: [{path: $.n, matches: '^3$'}]", "", ""},
		{"json: [{path: '$.items[*].name', matches: '^c$'}]", protocol.Body, `is "a", which does not match "^c$"`},
		{"json: [{path: $.none}]", protocol.Body, "$.none does not exist"},
		{"json: [{path: $.none, exists: false}]", "", ""},
		{"json: [{path: $.n, exists: false}]", protocol.Body, "$.n is 3, and must not exist"},
		{"json: [{path: '$['}]", protocol.Body, "read the path"},
		{"sha256: b1946ac92492d2347c6235b4d2611184", protocol.Content, "SHA-256 is "},
		{"min_size: 100", protocol.Content, "61 bytes, want at least 100 bytes"},
		{"max_size: 10", protocol.Content, "61 bytes, want at most 10 bytes"},
		{"min_size: 61, max_size: 61", "", ""},
	} {
		r := run(t, HTTP, request(t, s.URL, "expect: {"+c.expect+"}"))
		if r.Reason.Code != c.code || !strings.Contains(r.Reason.Words, c.words) {
			t.Errorf("%s: reason is %v", c.expect, r.Reason)
		}
	}
}
