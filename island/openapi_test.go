package island

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/api/v2/restapi"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/asset"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/portal/events"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/replica"
)

// registered are all routes: those of the portal, and below its prefixes those of
// the rooms that answer there.
func (s *specimen) registered() map[string]bool {
	s.t.Helper()
	out := map[string]bool{}
	inner := map[string]func() []string{
		control.Prefix:                     func() []string { return slices.Concat(pair(control.Patterns())...) },
		"/api/atoll/v1/documents":          func() []string { return nil },
		"/api/atoll/v1/documents/":         func() []string { return slices.Concat(pair(replica.Patterns())...) },
		"GET " + probe.EvidencePath + "/":  probe.Patterns,
		"GET " + asset.ResourcesPath + "/": func() []string { return []string{"GET " + asset.ResourcesPath + "/{id}"} },
		"/api/v1/":                         s.prometheusRoutes,
		"/api/v2/":                         s.alertmanagerRoutes,
	}
	for _, pattern := range s.getRooms().portal.Patterns() {
		list, ok := inner[pattern]
		switch {
		case ok:
			for _, p := range list() {
				out[p] = true
			}
			delete(inner, pattern)
		case strings.HasSuffix(pattern, "/") && !undescribed(pattern):
			s.t.Errorf("%s answers for all below it: say in this test which routes those are", pattern)
		default:
			out[pattern] = true
		}
	}
	for pattern := range inner {
		s.t.Errorf("the portal has no route %s any more", pattern)
	}
	return out
}

func pair(a, b []string) [][]string { return [][]string{a, b} }

// prometheusRoutes are in the API's own document.
func (s *specimen) prometheusRoutes() (out []string) {
	var doc struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal([]byte(s.ask("/api/v1/openapi.yaml?openapi_version=3.2")), &doc); err != nil || len(doc.Paths) == 0 {
		s.t.Fatalf("Prometheus' document has %d paths (%v)", len(doc.Paths), err)
	}
	for path, item := range doc.Paths {
		out = append(out, patterns("/api/v1"+path, item)...)
	}
	return out
}

func (s *specimen) alertmanagerRoutes() (out []string) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(restapi.SwaggerJSON, &doc); err != nil || len(doc.Paths) == 0 {
		s.t.Fatalf("Alertmanager's document has %d paths (%v)", len(doc.Paths), err)
	}
	for path, item := range doc.Paths {
		out = append(out, patterns("/api/v2"+path, item)...)
	}
	return out
}

func patterns[T any](path string, methods map[string]T) (out []string) {
	for _, method := range []string{"get", "put", "post", "delete"} {
		if _, ok := methods[method]; ok {
			out = append(out, strings.ToUpper(method)+" "+path)
		}
	}
	return out
}

// question is a way to ask a route, and what its answer must hold for the test to
// have seen more than empty lists.
type question struct {
	url    string
	has    []string
	status int    // 0 is 200
	lines  string // the schema of each line of a stream, which differs by line for ""
}

// visitor asks an island over HTTP, as who signed in.
type visitor struct {
	*specimen
	client *http.Client
	csrf   string
}

// signIn makes the island's first admin of whoever asks.
func (s *specimen) signIn() *visitor {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	v := &visitor{specimen: s, client: &http.Client{Jar: jar}}
	code, err := os.ReadFile(filepath.Join(s.Config().Island.DataDir, "run", "setup-code"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, resp, body := v.try(http.MethodPost, "/api/atoll/v1/setup", fmt.Sprintf(`{"code":%q,"user":"ann","password":"correct horse battery"}`, strings.TrimSpace(string(code))))
	var session struct{ CSRF string }
	if err := json.Unmarshal(body, &session); err != nil || session.CSRF == "" {
		s.t.Fatalf("sign in: %s %s", resp.Status, body)
	}
	v.csrf = session.CSRF
	return v
}

// answered asks until the answer holds what it must.
func (s *visitor) answered(q question) (*http.Request, *http.Response, []byte) {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		r, resp, body := s.try(http.MethodGet, q.url, "")
		missing := ""
		for _, part := range q.has {
			if !bytes.Contains(body, []byte(part)) {
				missing = part
			}
		}
		if resp.StatusCode == cmp.Or(q.status, http.StatusOK) && missing == "" {
			return r, resp, body
		}
		if time.Now().After(deadline) {
			s.t.Errorf("GET %s: %s, without %q: %.3000s", q.url, resp.Status, missing, body)
			return r, resp, body
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (s *visitor) try(method, url, body string) (*http.Request, *http.Response, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.Addr()+url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Header.Set("Content-Type", "application/json"); strings.Contains(body, "query=") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("X-Atoll-CSRF", s.csrf)
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r, resp, text
}

// busy is an island with something of everything, in a network with another one.
func busy(t *testing.T) (*specimen, map[string]string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "fine") }))
	gone := httptest.NewServer(nil)
	gone.Close()
	t.Cleanup(web.Close)
	alone := strings.Replace(lone("a"), "host: {enabled: false}", "host: {interval: 1s}", 1)
	a := newSpecimen(t, strings.Join([]string{alone, near, fmt.Sprintf(`
prometheus:
  global: {evaluation_interval: 1s}
  rule_files: [rules.yml]
aggregate:
  rules:
    rules: [{name: up, match: up, interval: 1s, by: [job], outputs: [last], keep_input: true}]
probe:
  allow: [127.0.0.0/8]
  allow_ad_hoc: [127.0.0.0/8]
  definitions:
    - {name: web, targets: [%q], module: http_2xx, interval: 1s, timeout: 1s}
    - {name: gone, targets: [%q], module: http_2xx, interval: 1s, timeout: 1s}
replicate: {streams: [{name: backup, to: [b]}]}
`, web.URL, gone.URL)}, "\n"))
	rules := `groups: [{name: g, interval: 1s, rules: [{record: 'one:one', expr: vector(1), labels: {x: y}}, {alert: Always, expr: vector(1), labels: {severity: page}, annotations: {summary: s}}]}]`
	if err := os.WriteFile(filepath.Join(filepath.Dir(a.file), "rules.yml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := a.load()
	if err != nil {
		t.Fatal(err)
	}
	a.adopt(cfg)
	a.run()
	b := newSpecimen(t, lone("b", near)).run()
	if _, err := a.initNetwork(t.Context(), control.InitRequest{Network: "acme"}); err != nil {
		t.Fatal(err)
	}
	invited, err := a.invite(t.Context(), control.InviteRequest{Role: "island", Labels: map[string]string{"region": "eu"}, Uses: 1, ExpiresSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.joinNetwork(t.Context(), control.JoinRequest{Token: invited.Token}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.invite(t.Context(), control.InviteRequest{Role: "island", Name: "c", Uses: 1, ExpiresSeconds: 3600}); err != nil {
		t.Fatal(err)
	}
	a.eventually("both are connected", func() bool { return a.sees("b") && b.sees("a") })
	if _, err := a.promote(t.Context(), control.PromoteRequest{Names: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct{ key, value string }{
		{"rules/shared", "groups: [{name: shared, rules: [{record: one, expr: vector(1)}]}]\n"},
		{"rules/shared", "groups: [{name: shared, rules: [{record: one, expr: vector(2)}]}]\n"},
		{"globalrules/up", "groups: [{name: g, interval: 1s, rules: [{record: 'all:up', expr: count(up)}]}]\n"},
	} {
		if _, err := a.membership.Load().documents.Set(t.Context(), one.key, []byte(one.value), 0); err != nil {
			t.Fatal(err)
		}
	}
	return a, map[string]string{"web": web.URL, "gone": gone.URL}
}

// questions are the ways to ask every documented route that answers GET.
func (s *visitor) questions(urls map[string]string) map[string][]question {
	now := time.Now().Unix()
	span := fmt.Sprintf("&start=%d&end=%d&step=15", now-60, now)
	return map[string][]question{
		"/api/atoll/v1/status":                          {{has: []string{`"network":`, `"running"`, `"limit":`}}},
		"/api/atoll/v1/mesh/peers":                      {{has: []string{`"name":"b"`, `"connected"`, `"rtt_seconds"`}}},
		"/api/atoll/v1/mesh/network":                    {{has: []string{`"joined":true`, `"signers":[`}}},
		"/api/atoll/v1/mesh/audit":                      {{has: []string{`"init"`}, lines: "AuditEntry"}},
		"/api/atoll/v1/mesh/copies":                     {{has: []string{`"backup"`}}},
		"/api/atoll/v1/session":                         {{has: []string{`"user":"ann"`, `"csrf"`, `"administer"`, `"read"`}}},
		"/api/atoll/v1/oidc/start":                      {{status: 404}}, // the island has no provider
		"/api/atoll/v1/oidc/callback":                   {{status: 404}},
		"/api/atoll/v1/users":                           {{has: []string{`"ann"`}}},
		"/api/atoll/v1/users/{name}":                    {{url: "/api/atoll/v1/users/ann"}},
		"/api/atoll/v1/tokens":                          {{has: []string{s.token()}}},
		"/api/atoll/v1/audit":                           {{has: []string{`"user-add"`}}, {url: "?limit=1", has: []string{`"next"`}}},
		"/api/atoll/v1/mesh/invitations":                {{has: []string{`"left":1`}}},
		"/api/atoll/v1/documents":                       {{has: []string{`"rules/shared"`}}, {url: "?values=true&prefix=rules/", has: []string{`"value"`}}},
		"/api/atoll/v1/documents/{kind}/{name}":         {{url: "/api/atoll/v1/documents/rules/shared", has: []string{"vector(2)"}}},
		"/api/atoll/v1/documents/{kind}/{name}/history": {{url: "/api/atoll/v1/documents/rules/shared/history", has: []string{"vector(1)", `"current"`}}},
		"/api/atoll/v1/replica":                         {{has: []string{`"connected":true`, `"agreed"`}}},
		"/api/atoll/v1/top/series":                      {{url: "?limit=3", has: []string{`"rule":"up"`, `"group":{`, `"label":"job"`}}},

		"/api/atoll/v1/alerts":         {{has: []string{`"Always"`}}},
		"/api/atoll/v1/alerts/history": {{has: []string{`"firing"`}}},
		"/api/atoll/v1/search":         {{url: "?q=web", has: []string{`"match":[`, `"probe"`}}, {url: "?q=b&scope=all", has: []string{`"answered":true`}}},
		"/api/atoll/v1/resources":      {{url: "?limit=1", has: []string{`"next_offset"`}}},
		"/api/atoll/v1/resources/{id}": {{url: "/api/atoll/v1/resources/" + s.resource()}},
		"/api/atoll/v1/hosts":          {{has: []string{`"memory_bytes"`, `"cpu_used_ratio"`}}},
		"/api/atoll/v1/overview":       {{has: []string{`"by_severity":{"page"`, `"newest":[{`, `"jobs":[{`}}},

		"/api/v1/query": {
			{url: "?query=up", has: []string{`"vector"`, `"value":[`}}, {url: "?query=up[1m]", has: []string{`"matrix"`, `"values":[`}},
			{url: "?query=1", has: []string{`"scalar"`}}, {url: "?query=%22a%22", has: []string{`"string"`}},
			{url: "?query=up&stats=all&cost=true", has: []string{`"samplesReadPerStep":[[`, `"actual"`}},
			{url: "?query=up&scope=all", has: []string{`"receipt"`, `"island":"b"`, `"answered"`}},
			{url: "?query=sum(up%7Bisland=%22b%22%7D)&scope=all", has: []string{`"skipped"`, `"pushed"`}},
		},
		"/api/v1/query_range":     {{url: "?query=up" + span, has: []string{`"matrix"`, `"values":[`}}, {url: "?scope=all&query=sum(up)" + span, has: []string{`"receipt"`}}},
		"/api/v1/query_exemplars": {{url: "?query=up" + span}},
		"/api/v1/series":          {{url: "?match[]=up", has: []string{`"__name__":"up"`}}, {url: "?match[]=up&limit=1&scope=all", has: []string{"warnings", "receipt"}}},
		"/api/v1/labels":          {{has: []string{`"__name__"`}}},
		"/api/v1/label/{name}/values": {{url: "/api/v1/label/__name__/values", has: []string{`"up"`}},
			{url: "/api/v1/label/nothing/values", has: []string{`"data":[]`}}},
		"/api/v1/metadata":            {{url: "?limit=5", has: []string{`"gauge"`}}},
		"/api/v1/search/metric_names": {{url: "?search[]=up&include_score=true&include_metadata=true", has: []string{`"score"`}}},
		"/api/v1/search/label_names":  {{url: "?search[]=inst", has: []string{`"instance"`}}},
		"/api/v1/search/label_values": {{url: "?label=__name__&search[]=probe_success&limit=5", has: []string{`"probe_success"`}}},
		"/api/v1/format_query":        {{url: "?query=up", has: []string{`"up"`}}},
		"/api/v1/parse_query":         {{url: "?query=sum(up)", has: []string{`"aggregation"`}}},
		"/api/v1/targets":             {{has: []string{`"health":"up"`}}, {url: "?state=active"}, {url: "?state=dropped"}},
		"/api/v1/targets/metadata":    {{url: "?limit=3", has: []string{`"metric"`}}},
		"/api/v1/scrape_pools":        {{has: []string{`"atoll"`}}},
		"/api/v1/rules": {{has: []string{`"alerting"`, `"recording"`, `"firing"`, `"activeAt"`, `"global":[`, `"receipt"`}},
			{url: "?type=alert&exclude_alerts=true", has: []string{`"alerting"`}}, {url: "?group_limit=1", has: []string{"groupNextToken"}}},
		"/api/v1/alerts":        {{has: []string{`"firing"`}}},
		"/api/v1/alertmanagers": {{has: []string{`"url"`}}},
		"/api/v1/status/tsdb":   {{has: []string{`"numSeries"`}}},
		"/api/v1/features":      {{has: []string{`"promql"`}}},

		"/api/v2/alerts":              {{has: []string{`"Always"`, `"suppressed"`}}},
		"/api/v2/alerts/groups":       {{has: []string{`"Always"`}}},
		"/api/v2/silences":            {{has: []string{`"active"`}}},
		"/api/v2/silence/{silenceID}": {{url: "/api/v2/silence/" + s.silence()}},
		"/api/v2/receivers":           {{has: []string{`"name"`}}},

		"/probe":                     {{url: "?target=" + urls["web"], has: []string{"probe_success 1"}}},
		"/api/v1/probes/definitions": {{has: []string{`"web"`, `"gone"`}}},
		"/api/v1/probes/targets":     {{has: []string{`"state":"up"`, `"state":"down"`, `"words"`}}},
		"/api/v1/probes/verdicts":    {{has: []string{`"state":"up"`, `"state":"down"`, `"failing":[`, `"fine":[`}}},
		"/api/v1/probes/matrix":      {{url: "?limit=5", has: []string{`"counted":"failing"`, `"here":true`}}, {url: "?limit=1", has: []string{`"next"`}}},
		"/api/v1/probes/vantages":    {{has: []string{`"name":"b"`, `"told"`}}},
		"/api/v1/probes/evidence":    {{has: []string{`"gone"`, `"files":[{`}}},
		"/api/v1/probes/run":         {{url: "?target=" + urls["web"] + "&from=this", has: []string{`"end"`, `"state":"up"`}, lines: "ProbeRunEvent"}},
	}
}

// resource is the ID of one that the island knows.
func (s *visitor) resource() string {
	s.t.Helper()
	_, _, body := s.answered(question{url: asset.SearchPath + "?q=web", has: []string{`"id"`}})
	var found asset.Answer
	if err := json.Unmarshal(body, &found); err != nil {
		s.t.Fatal(err)
	}
	return found.Items[0].ID
}

// token is the name of one that was made.
func (s *visitor) token() string {
	s.t.Helper()
	const name = "grafana"
	if _, resp, body := s.try(http.MethodPost, "/api/atoll/v1/tokens", `{"name":"`+name+`","scopes":["read"]}`); resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("make a token: %s %s", resp.Status, body)
	}
	return name
}

// silence is the ID of one that holds.
func (s *visitor) silence() string {
	s.t.Helper()
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	body := fmt.Sprintf(`{"matchers":[{"name":"alertname","value":"Always","isRegex":false,"isEqual":true}],"startsAt":%q,"endsAt":%q,"createdBy":"me","comment":"c"}`, at(0), at(time.Hour))
	_, resp, text := s.try(http.MethodPost, "/api/v2/silences", body)
	var made struct{ SilenceID string }
	if err := json.Unmarshal(text, &made); err != nil || made.SilenceID == "" {
		s.t.Fatalf("make a silence: %s %s", resp.Status, text)
	}
	return made.SilenceID
}

// TestAnswersAsDescribed asks every documented route that answers GET.
func TestAnswersAsDescribed(t *testing.T) {
	island, urls := busy(t)
	a := island.signIn()
	defer a.client.CloseIdleConnections()
	c := newContract(t)
	questions := a.questions(urls)
	maps.Copy(questions, a.evidence())
	for _, o := range c.operations {
		if o.method != http.MethodGet {
			continue
		}
		asked := questions[o.path]
		delete(questions, o.path)
		if len(asked) == 0 && (o.params || o.streams) {
			asked = a.live(c, o)
		} else if len(asked) == 0 {
			asked = []question{{}}
		}
		for _, q := range asked {
			if strings.HasPrefix(q.url, "?") || q.url == "" {
				q.url = o.path + q.url
			}
			r, resp, body := a.answered(q)
			if !o.streams {
				c.judge(r, resp, body)
				continue
			}
			lines(t, body, func(line []byte) {
				schema := q.lines
				if schema == "" { // of the search
					schema = "SearchBatch"
					if bytes.Contains(line, []byte(`"status"`)) {
						schema = "SearchEnd"
					}
				}
				c.one(schema, line)
			})
		}
	}
	for path := range questions {
		t.Errorf("there is a question for %s, which is not described", path)
	}
	a.ends(c)
	a.refusals(c)
}

func lines(t *testing.T, body []byte, each func([]byte)) {
	t.Helper()
	n := 0
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			each(line)
			n++
		}
	}
	if n == 0 {
		t.Error("the stream has no lines")
	}
}

// evidence is of the target that never answers.
func (s *visitor) evidence() map[string][]question {
	s.t.Helper()
	_, _, body := s.answered(question{url: "/api/v1/probes/evidence", has: []string{`"files":[{`}})
	var list struct {
		Data struct {
			Bundles []struct {
				Failure, Island string
				Files           []struct{ Name string }
			}
		}
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list.Data.Bundles) == 0 {
		s.t.Fatalf("evidence: %v: %s", err, body)
	}
	b := list.Data.Bundles[0]
	failure := probe.EvidencePath + "/" + b.Failure
	return map[string][]question{
		probe.EvidencePath + "/{failure}":                  {{url: failure}},
		probe.EvidencePath + "/{failure}/{vantage}":        {{url: failure + "/" + b.Island}},
		probe.EvidencePath + "/{failure}/{vantage}/{file}": {{url: failure + "/" + b.Island + "/" + b.Files[0].Name}},
	}
}

// live opens a stream that does not end; nothing is left to ask of it.
func (s *visitor) live(c *contract, o operation) []question {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr()+o.path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Errorf("%s: %v: is there no question for it?", o, err)
		return nil
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		s.t.Errorf("%s: %s %s: is there no question for it?", o, resp.Status, got)
		return nil
	}
	schema := map[string]string{"/api/atoll/v1/documents/watch": "Document", events.Path: "Event"}[o.path]
	if schema == "" {
		return nil
	}
	if _, err := s.membership.Load().documents.Set(ctx, "rules/watched", []byte("groups: []\n"), 0); err != nil {
		s.t.Fatal(err)
	}
	for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
		if data, ok := strings.CutPrefix(scan.Text(), "data: "); ok {
			c.one(schema, []byte(data))
			return nil
		}
	}
	s.t.Errorf("%s: no event", o)
	return nil
}
