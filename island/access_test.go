package island

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/portal/access"
)

// TestAccess sets an island up with the code from its disk, makes a network over
// HTTP as its first admin, and looks at what was written down.
func TestAccess(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	s := newSpecimen(t, lone("a", near)).run()
	var cookie *http.Cookie
	csrf := ""
	do := func(want int, method, path string, body any) string {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if raw, ok := body.(string); ok {
			text = []byte(raw)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr()+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if cookie != nil {
			req.AddCookie(cookie)
			req.Header.Set(access.CSRFHeader, csrf)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s %s: %s %s (%v), want %d", method, path, resp.Status, answer, err, want)
		}
		for _, c := range resp.Cookies() {
			cookie = c
		}
		return string(answer)
	}
	const users, invite, note = "/api/atoll/v1/users", control.Prefix + "invite", "/api/atoll/v1/documents/owner/shop"
	for path, method := range map[string]string{users: "POST", control.Prefix + "init": "POST", note: "PUT"} {
		do(401, method, path, map[string]any{})
	}
	file := filepath.Join(s.Config().Island.DataDir, "run", "setup-code")
	s.eventually("the set-up code is written", func() bool { _, err := os.Stat(file); return err == nil })
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var signed struct{ CSRF string }
	answer := do(200, "POST", "/api/atoll/v1/setup", map[string]string{"code": string(code), "user": "ann", "password": "correct horse battery"})
	if err := json.Unmarshal([]byte(answer), &signed); err != nil || signed.CSRF == "" {
		t.Fatalf("set up: %s, %v", answer, err)
	}
	csrf = signed.CSRF

	do(200, "POST", control.Prefix+"init", control.InitRequest{Network: "acme"})
	if token := do(200, "POST", invite, control.InviteRequest{Role: "island", Uses: 1, ExpiresSeconds: 60}); !strings.Contains(token, "token") {
		t.Errorf("invited: %s", token)
	}
	do(200, "PUT", note, "team: shop\n")
	traversals(t, "http://"+s.Addr()+"/api/atoll/v1/documents/")
	do(201, "POST", users, map[string]any{"name": "bob", "password": "correct horse battery", "roles": []string{"viewer"}})
	for _, path := range []string{"/api/atoll/v1/documents/users/bob", "/api/atoll/v1/documents?prefix=users/&values=true", "/api/atoll/v1/documents/users/bob/history"} {
		if got := do(200, "GET", path, nil); !strings.Contains(got, "users/bob") || strings.Contains(got, "argon2") {
			t.Errorf("%s tells %s", path, got)
		}
	}
	log := do(200, "GET", "/api/atoll/v1/audit?limit=500", nil)
	for _, want := range []string{
		`"actor":"user ann","action":"mesh-init"`, `"actor":"user ann","action":"mesh-invite"`,
		`"actor":"user ann","action":"document-write","subject":"owner/shop"`, `"actor":"user ann","action":"user-add"`,
		`"action":"sign-in","subject":"ann"`, `"action":"denied"`, `"log":"network"`, `"log":"island"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	var page struct {
		Items []access.Entry
		Next  string
	}
	seen := map[string]int{}
	for path, n := "/api/atoll/v1/audit?limit=3", 0; path != ""; n++ {
		page.Next, page.Items = "", nil
		if err := json.Unmarshal([]byte(do(200, "GET", path, nil)), &page); err != nil || n > 50 {
			t.Fatalf("page %d: %v", n, err)
		}
		for _, e := range page.Items {
			seen[e.Log+e.Action+e.Subject+e.Time.String()]++
		}
		if path = ""; page.Next != "" {
			path = "/api/atoll/v1/audit?limit=3&before=" + page.Next
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d different entries on all pages", len(seen))
	}

	// The socket is open to the island's own user without any of this.
	client := control.NewClient(s.Config().Island.DataDir)
	resp, err := client.Do(t.Context(), http.MethodPut, users+"/bob", nil, []byte(`{"roles":["operator"]}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	do(200, "GET", users+"/bob", nil)
}

// traversals asks below base for what lies elsewhere.
func traversals(t *testing.T, base string) {
	t.Helper()
	for _, path := range []string{
		"rules/../../portal/access.db", "rules/..%2f..%2fportal%2faccess.db", "rules/%2e%2e/%2e%2e/portal/access.db",
		"owner%2f..%2fusers/ann", "owner/..%5c..%5cportal", "owner/shop%00", "owner/..", "owner/../history", "../portal/audit.jsonl",
		"owner/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "%2fetc/passwd", "owner/%2fetc%2fpasswd/history",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req) // follows nothing
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode == http.StatusOK || resp.StatusCode >= 500 {
			t.Errorf("%s: %s %.200s (%v)", path, resp.Status, answer, err)
		}
	}
}
