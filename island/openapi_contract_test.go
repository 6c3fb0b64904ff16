package island

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"

	"github.com/atoll-mesh/atoll/portal/openapi"
)

// contract is the API's description as a judge of answers. Other clients than this
// put up with fields that are not described; it does not, so that what handlers
// answer is in the document.
type contract struct {
	t *testing.T
	validator.Validator
	operations []operation
}

// operation is one documented method of one path.
type operation struct {
	method, path string
	streams      bool // its answer is lines or events
	params       bool // it cannot be asked without parameters
}

func (o operation) String() string { return o.method + " " + o.path }

// oneSchema is where the contract judges single values, such as lines of a stream.
const oneSchema = "/test/"

func newContract(t *testing.T) *contract {
	t.Helper()
	text, err := openapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	c := &contract{t: t}
	paths := doc["paths"].(map[string]any)
	for path, item := range paths {
		c.operations = append(c.operations, operationsOf(path, item.(map[string]any))...)
	}
	slices.SortFunc(c.operations, func(a, b operation) int { return strings.Compare(a.String(), b.String()) })
	closeObjects(doc)
	for name := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		paths[oneSchema+name] = map[string]any{"get": map[string]any{"responses": map[string]any{"200": map[string]any{
			"description": name, "content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/" + name}}},
		}}}}
	}
	if text, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	parsed, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, wrong := v.ValidateDocument(); !ok {
		t.Errorf("the document is no OpenAPI 3.1: %v", wrong)
	}
	c.Validator = v
	return c
}

func operationsOf(path string, item map[string]any) (out []operation) {
	for _, method := range []string{"get", "put", "post", "delete", "patch"} {
		op, ok := item[method].(map[string]any)
		if !ok {
			continue
		}
		o := operation{method: strings.ToUpper(method), path: path, params: strings.Contains(path, "{")}
		answer, _ := json.Marshal(op["responses"].(map[string]any)["200"])
		o.streams = bytes.Contains(answer, []byte("ndjson")) || bytes.Contains(answer, []byte("event-stream"))
		params, _ := json.Marshal(op["parameters"])
		o.params = o.params || bytes.Contains(params, []byte(`"required":true`)) || bytes.Contains(params, []byte("expression")) || bytes.Contains(params, []byte("probeTarget"))
		out = append(out, o)
	}
	return out
}

// closeObjects forbids fields that are not described.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		_, described := node["properties"].(map[string]any)
		if _, says := node["additionalProperties"]; described && !says && node["type"] != nil {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// judge compares an answer with what is described for its path and status.
func (c *contract) judge(r *http.Request, resp *http.Response, body []byte) {
	c.t.Helper()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if ok, errs := c.ValidateHttpResponse(r, resp); !ok {
		var why strings.Builder
		for _, e := range errs {
			fmt.Fprintf(&why, "\n  %s: %s", e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				fmt.Fprintf(&why, "\n    %s: %s", s.FieldPath, s.Reason)
			}
		}
		c.t.Errorf("%s %s: the answer is not as described:%s\n%.2000s", r.Method, r.URL, &why, body)
	}
}

// one judges a value by the name of its schema.
func (c *contract) one(schema string, value []byte) {
	c.t.Helper()
	r := httptest.NewRequest(http.MethodGet, oneSchema+schema, nil)
	c.judge(r, &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r}, value)
}

// TestContractKnowsWrong makes sure that the judge can say no.
func TestContractKnowsWrong(t *testing.T) {
	c := newContract(t)
	for name, answer := range map[string]string{
		"a field is missing":     `{"worst":""}`,
		"a field is unknown":     `{"worst":"","active":[],"more":1}`,
		"a type is another":      `{"worst":"","active":"none"}`,
		"a value is none of it":  `{"worst":"awful","active":[]}`,
		"a time is none":         `{"worst":"","active":[{"code":"a","severity":"info","title":"","remedy":"","text":"","since":"now"}]}`,
		"there is no JSON in it": `fine`,
	} {
		t.Run(name, func(t *testing.T) {
			quiet := &testing.T{}
			c.t = quiet
			c.one("Health", []byte(answer))
			if !quiet.Failed() {
				t.Errorf("%s was taken for what is described", answer)
			}
		})
	}
	c.t = t
	c.one("Health", []byte(`{"worst":"","active":[]}`))
}

// TestDescribed compares the document with the routes of the portal and of the
// rooms behind it, in both directions.
func TestDescribed(t *testing.T) {
	s := newSpecimen(t, strings.Replace(lone("one"), "http: {", "http: {admin_api: true, ", 1)).run()
	described := map[string]bool{}
	for _, o := range newContract(t).operations {
		described[o.String()] = true
	}
	registered := s.registered()
	for pattern := range registered {
		if !described[pattern] && !undescribed(pattern) {
			t.Errorf("%s is served, and no fragment in portal/openapi describes it", pattern)
		}
	}
	for pattern := range described {
		if !registered[pattern] {
			t.Errorf("%s is described in portal/openapi, and nobody serves it", pattern)
		}
	}
	if len(registered) < 40 {
		t.Errorf("only %d routes were found: %v", len(registered), slices.Sorted(maps.Keys(registered)))
	}
}

// undescribed are pages and files, what belongs to Go or to other programs, and what
// of Prometheus' API is described in its own document.
func undescribed(pattern string) bool {
	method, path, _ := strings.Cut(pattern, " ")
	isAPI := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	if !slices.ContainsFunc([]string{"/api/", "/-/", "/metrics", "/probe"}, isAPI) || path == "/probes" || isAPI("/probes/") || isAPI("/api/v1/admin/") {
		return true
	}
	if !strings.HasPrefix(path, "/api/v1/") || strings.HasPrefix(path, "/api/v1/probes/") {
		return false
	}
	return method != http.MethodGet || slices.Contains([]string{
		"/api/v1/query_cost", "/api/v1/query_range_cost", "/api/v1/targets/relabel_steps", "/api/v1/scrape_pools/config", "/api/v1/status/self_metrics",
		"/api/v1/openapi.yaml", "/api/v1/read",
	}, path)
}
