package portal

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/portal/secure"
)

// raw sends bytes as they are over a connection of its own, and returns the status of
// each answer until the other side closes.
func raw(t *testing.T, addr, text string) (codes []int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return codes
		}
		_, _ = io.Copy(io.Discard, resp.Body) // the status is what matters
		resp.Body.Close()
		codes = append(codes, resp.StatusCode)
	}
}

// TestSmuggling sends requests whose end two programs in a row could see in different
// places. Where it is in doubt, nothing that stands behind them is handled.
func TestSmuggling(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	r := run(t, Options{Routes: map[string]http.Handler{"/echo/": http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // a body that ends badly ends the connection
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, q.URL.Path)
	})}})
	const (
		hidden = "GET /echo/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
		last   = "0\r\n\r\n"
	)
	for _, tc := range []struct {
		name, head, body string
		codes            []int
		seen             []string
	}{
		// What is in no doubt is handled, and so is what follows it.
		{"length", "Content-Length: 5\r\n", last, []int{200, 200}, []string{"/echo/outer", "/echo/hidden"}},
		{"same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n", last, []int{200, 200}, []string{"/echo/outer", "/echo/hidden"}},
		// Chunks go before a length, as RFC 9112 has it, but are the last word.
		{"length and chunks", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", last, []int{200}, []string{"/echo/outer"}},
		{"chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", last, []int{200}, []string{"/echo/outer"}},
		{"chunks and bad length", "Transfer-Encoding: chunked\r\nContent-Length: -1\r\n", last, []int{400}, nil},
		{"chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", last, []int{501}, nil},
		{"chunks and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", last, []int{501}, nil},
		{"a list", "Transfer-Encoding: identity, chunked\r\n", last, []int{501}, nil},
		{"a word that is none", "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", last, []int{501}, nil},
		{"a space before the colon", "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", last, []int{400}, nil},
		{"two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n", last, []int{400}, nil},
		{"a list of lengths", "Content-Length: 5, 5\r\n", last, []int{400}, nil},
		{"a sign", "Content-Length: +5\r\n", last, []int{400}, nil},
		{"hexadecimal", "Content-Length: 0x5\r\n", last, []int{400}, nil},
		{"a bare return", "X: a\rContent-Length: 5\r\n", last, []int{400}, nil},
		{"two hosts", "Host: localhost\r\nContent-Length: 5\r\n", last, []int{400}, nil},
	} {
		mu.Lock()
		seen = nil
		mu.Unlock()
		codes := raw(t, r.Addr(), "POST /echo/outer HTTP/1.1\r\nHost: localhost\r\n"+tc.head+"\r\n"+tc.body+hidden)
		mu.Lock()
		if !slices.Equal(codes, tc.codes) || !slices.Equal(seen, tc.seen) {
			t.Errorf("%s: answers %v, want %v; handled %v, want %v", tc.name, codes, tc.codes, seen, tc.seen)
		}
		mu.Unlock()
	}
}

// silentLog takes every line.
type silentLog struct{}

func (silentLog) Append(access.Entry) error { return nil }

func (silentLog) Newest(string, int) ([]access.Entry, string, error) { return nil, "", nil }

// TestSessionUnderTLS looks at the cookie that browsers get, over a real connection.
func TestSessionUnderTLS(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig()
	cfg.TLS.Mode = secure.SelfSigned
	guard, err := access.New(access.Options{Config: cfg.Config, Dir: dir, Island: "oslo", Log: silentLog{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guard.Close(); err != nil {
			t.Error(err)
		}
	})
	const body = `{"name":"ann","password":"correct horse battery","roles":["admin"]}`
	made := httptest.NewRecorder()
	guard.AsSocket(guard.Routes()["POST /api/atoll/v1/users"]).ServeHTTP(made, httptest.NewRequest(http.MethodPost, "/api/atoll/v1/users", strings.NewReader(body)))
	if made.Code != http.StatusCreated {
		t.Fatalf("make a user: %d %s", made.Code, made.Body)
	}
	r := run(t, Options{Config: cfg, Dir: dir, Access: guard})
	r.base = "https://" + r.Addr()
	r.trusting(t, dir)
	signIn := func(site string) (int, []*http.Cookie) {
		q, err := http.NewRequest(http.MethodPost, r.base+"/api/atoll/v1/session", strings.NewReader(`{"user":"ann","password":"correct horse battery"}`))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Sec-Fetch-Site", site)
		resp, err := r.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Cookies()
	}
	if code, cookies := signIn("cross-site"); code != http.StatusForbidden || len(cookies) != 0 {
		t.Errorf("another site's page signs in: %d %v", code, cookies)
	}
	code, cookies := signIn("same-origin")
	if code != http.StatusOK || len(cookies) != 1 {
		t.Fatalf("sign in: %d %v", code, cookies)
	}
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %s", c.Raw)
	}
	session := func(name string) string {
		_, text, _ := r.ask(t, "GET", "/api/atoll/v1/session", func(q *http.Request) { q.AddCookie(&http.Cookie{Name: name, Value: c.Value}) })
		return text
	}
	if text := session(c.Name); !strings.Contains(text, `"user":"ann"`) {
		t.Errorf("with the cookie: %s", text)
	}
	// A page without TLS, or a neighbour of the host name, can set this one.
	if text := session(strings.TrimPrefix(c.Name, "__Host-")); !strings.Contains(text, `"user":""`) {
		t.Errorf("with a cookie of less worth: %s", text)
	}
}
