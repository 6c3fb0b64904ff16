package replica

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/trust"
)

type web struct {
	t   *testing.T
	url string
}

func (w web) do(method, path, body string, header ...string) (int, http.Header, map[string]any) {
	w.t.Helper()
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.url+"/api/atoll/v1"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var out map[string]any
	if json.Unmarshal(raw, &out) != nil {
		out = map[string]any{"text": string(raw)}
	}
	return r.StatusCode, r.Header, out
}

func serveHTTP(t *testing.T, h http.Handler) web {
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return web{t, s.URL}
}

func TestHTTP(t *testing.T) {
	f := newFleet(t, 2)
	x := f.nodes[0]
	x.o.Validate = func(kind string, value []byte) error {
		if kind == "probe" {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	w := serveHTTP(t, x.WriteHandler())
	code, header, _ := w.do("PUT", "/documents/rules/a", "one", "If-None-Match", "*")
	first := header.Get("ETag")
	if code != 200 || first == "" {
		t.Fatalf("put: %d, ETag %q", code, first)
	}
	for _, tc := range []struct {
		method, path, body string
		header             []string
		status             int
		field, want        string
	}{
		{"PUT", "/documents/rules/a", "two", []string{"If-None-Match", "*"}, 412, "code", "conflict"},
		{"PUT", "/documents/rules/a", "two", []string{"If-Match", `"7"`}, 412, "code", "conflict"},
		{"PUT", "/documents/rules/a", "two", []string{"If-Match", "yesterday"}, 400, "field", "If-Match"},
		{"PUT", "/documents/rules/a", "two", []string{"If-Match", first}, 200, "key", "rules/a"},
		{"PUT", "/documents/rules/b", strings.Repeat("x", trust.MaxDocumentValue+1), nil, 413, "code", "too_large"},
		{"PUT", "/documents/rules/b", "\xff", nil, 400, "field", "value"},
		{"PUT", "/documents/probe/b", "x", nil, 400, "field", "value"},
		{"PUT", "/documents/revoked/b", "x", nil, 403, "remedy", "run atoll revoke NAME on an island of role admin"},
		{"PUT", "/documents/secret/b", "x", nil, 403, "code", "forbidden"},
		{"PUT", "/documents/Rules/b", "x", nil, 400, "field", "key"},
		{"GET", "/documents/rules/a", "", nil, 200, "value", "two"},
		{"GET", "/documents/rules/a", "", []string{"Accept", "text/plain"}, 200, "text", "two"},
		{"GET", "/documents/rules/none", "", nil, 404, "code", "not_found"},
		{"GET", "/documents/rules/none/history", "", nil, 404, "code", "not_found"},
		{"DELETE", "/documents/rules/none", "", nil, 404, "code", "not_found"},
		{"DELETE", "/documents/rules/a", "", []string{"If-Match", first}, 412, "code", "conflict"},
	} {
		code, _, got := w.do(tc.method, tc.path, tc.body, tc.header...)
		if code != tc.status || got[tc.field] != tc.want {
			t.Errorf("%s %s %.10q %v: %d %v; want %d with %s %q", tc.method, tc.path, tc.body, tc.header, code, got, tc.status, tc.field, tc.want)
		}
	}
	_, _, list := w.do("GET", "/documents?prefix=rules/&values=true", "")
	if docs := list["documents"].([]any); len(docs) != 1 || docs[0].(map[string]any)["value"] != "two" {
		t.Errorf("list %v", list)
	}
	_, _, history := w.do("GET", "/documents/rules/a/history", "")
	if v := history["versions"].([]any); len(v) != 1 || v[0].(map[string]any)["value"] != "one" || history["current"].(map[string]any)["value"] != "two" {
		t.Errorf("history %v", history)
	}
	if code, _, _ := w.do("DELETE", "/documents/rules/a", ""); code != 200 || x.value("rules/a") != "" {
		t.Errorf("delete: %d", code)
	}
	x.sync(f.nodes[1])
	_, _, status := w.do("GET", "/replica", "")
	peers := status["peers"].([]any)
	if len(peers) != 1 || peers[0].(map[string]any)["lag_ms"] == nil || status["tombstones"] != 1.0 || len(status["root"].(string)) != 32 {
		t.Errorf("status %v", status)
	}
	read := serveHTTP(t, x.Handler())
	if code, _, _ := read.do("PUT", "/documents/rules/a", "x"); code != http.StatusMethodNotAllowed {
		t.Errorf("put where only reading is served: %d", code)
	}
}

func TestHTTPWatch(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	w := serveHTTP(t, x.Handler())
	r, err := http.Get(w.url + "/api/atoll/v1/documents/watch?prefix=rules/")
	f.must(err)
	defer r.Body.Close()
	if got := r.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	x.set("owner/a", "x")
	x.set("rules/a", "x")
	lines := bufio.NewScanner(r.Body)
	var got []string
	for len(got) < 2 && lines.Scan() {
		got = append(got, lines.Text())
	}
	if len(got) != 2 || got[0] != "event: document" || !strings.Contains(got[1], `"key":"rules/a","value":"x"`) {
		t.Errorf("events %q", got)
	}
}
