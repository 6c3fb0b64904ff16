package openapi

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestDocument(t *testing.T) {
	first, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	second, err := Document()
	if err != nil || string(first) != string(second) {
		t.Errorf("the same fragments gave two documents (%v)", err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal(first, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("openapi %q (%v), want 3.1", doc.OpenAPI, err)
	}
	for _, path := range []string{Path, "/api/atoll/v1/status", "/api/v1/query", "/api/v2/alerts"} {
		if doc.Paths[path] == nil {
			t.Errorf("path %s is not in the document", path)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	const head = "openapi: 3.1.0\n"
	for name, tc := range map[string]struct{ one, two, want string }{
		"a path twice":          {"paths: {/a: {}}", "paths: {/a: {}}", "fragment two.yaml: path /a is defined in one.yaml already"},
		"a schema twice":        {"components: {schemas: {A: {}}}", "components: {schemas: {A: {}}}", "components/schemas/A is defined in one.yaml"},
		"an operation twice":    {"paths: {/a: {get: {operationId: x}}}", "paths: {/b: {put: {operationId: x}}}", "operationId x is defined in one.yaml"},
		"a tag twice":           {"tags: [{name: a}]", "tags: [{name: a}]", "tag a is defined in one.yaml"},
		"a path twice in one":   {"paths: {/a: {}, /a: {}}", "{}", "already defined"},
		"a section misspelt":    {"path: {/a: {}}", "{}", "fragment one.yaml"},
		"a reference to no one": {`paths: {/a: {$ref: "#/components/schemas/B"}}`, "{}", `$ref "#/components/schemas/B" leads nowhere`},
		"a reference elsewhere": {`paths: {/a: {$ref: "other.yaml"}}`, "{}", `$ref "other.yaml" leads nowhere`},
		"no YAML":               {"paths: [", "{}", "fragment one.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := merge(fstest.MapFS{base: {Data: []byte(head)}, "one.yaml": {Data: []byte(tc.one)}, "two.yaml": {Data: []byte(tc.two)}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
	if _, err := merge(fstest.MapFS{}); err == nil {
		t.Error("no fragments at all were taken for a document")
	}
}

func TestHandler(t *testing.T) {
	want, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	h := Handler()
	for _, encoding := range []string{"", "gzip"} {
		r := httptest.NewRequest(http.MethodGet, Path, nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := io.Reader(w.Body)
		if got := w.Header().Get("Content-Encoding"); got != encoding {
			t.Errorf("asked for encoding %q: got %q", encoding, got)
		}
		if encoding == "gzip" {
			if body, err = gzip.NewReader(w.Body); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != string(want) {
			t.Errorf("encoding %q: got %d bytes (%v), want the document of %d", encoding, len(got), err, len(want))
		}
	}
}
