package island

import (
	"encoding/json"
	"strings"
)

// ends asks by other methods than GET what changes nothing, or what is to be undone.
func (s *visitor) ends(c *contract) {
	s.t.Helper()
	at := func(key string) string { return "/api/atoll/v1/documents/" + key }
	for _, q := range []struct {
		method, url, body, has string
		status                 int
	}{
		{"POST", "/api/atoll/v1/users", `{"name":"bob","password":"another long phrase","roles":["viewer"]}`, `"bob"`, 201},
		{"PUT", "/api/atoll/v1/users/bob", `{"disabled":true}`, `"disabled":true`, 200},
		{"DELETE", "/api/atoll/v1/users/bob", "", "", 204},
		{"POST", "/api/atoll/v1/tokens", `{"name":"t","scopes":["read"],"roles":["viewer"],"expires_seconds":60}`, `"token":"`, 201},
		{"POST", "/api/atoll/v1/mesh/invite", `{"role":"island","uses":1,"expires_seconds":60,"name":"d"}`, `"token":"`, 200},
		{"POST", "/api/atoll/v1/mesh/withdraw", `{"which":"d"}`, `"uses":1`, 200},
		{"POST", "/api/atoll/v1/mesh/promote", `{"names":["b"]}`, `"primaries":[`, 200},
		{"POST", "/api/atoll/v1/mesh/rotate", `{"what":"node"}`, `"new":"`, 200},
		{"POST", "/api/atoll/v1/mesh/trust", "", "", 422},
		{"PUT", at("rules/made"), "groups: []\n", `"time"`, 200},
		{"DELETE", at("rules/made"), "", `"deleted":true`, 200},
		{"POST", "/api/atoll/v1/rules/check", `{"yaml":"groups: []\n"}`, `"ok"`, 200},
		{"POST", "/api/atoll/v1/mesh/ping", `{"name":"b"}`, `"rtt_ms"`, 200},
		{"POST", "/api/v1/query", "query=up&scope=all", `"receipt"`, 200},
		{"POST", "/api/v1/query_range", "query=up&start=1&end=2&step=1", `"matrix"`, 200},
		{"POST", "/api/v1/series", "query=&match[]=up", `"up"`, 200},
		{"POST", "/api/v2/alerts", `[{"labels":{"alertname":"Foreign"}}]`, "", 200},
		{"DELETE", "/api/v2/silence/" + s.silence(), "", "", 200},
		{"POST", "/-/reload", "", "reloaded", 200},
	} {
		r, resp, body := s.try(q.method, q.url, q.body)
		if resp.StatusCode != q.status || !strings.Contains(string(body), q.has) {
			s.t.Errorf("%s %s: %s, want %d with %q: %s", q.method, q.url, resp.Status, q.status, q.has, body)
		}
		c.judge(r, resp, body)
	}
}

// refusals are of bad input: each in the form that is described for its route, which
// below /api/atoll/v1 is always the same.
func (s *visitor) refusals(c *contract) {
	s.t.Helper()
	for _, q := range []struct {
		method, url, body string
		status            int
	}{
		{"POST", "/api/atoll/v1/mesh/ping", `{"name":`, 400},
		{"POST", "/api/atoll/v1/mesh/ping", `{"who":"b"}`, 400},
		{"POST", "/api/atoll/v1/mesh/ping", `{"name":"nobody"}`, 422},
		{"POST", "/api/atoll/v1/session", `{"user":"ann","password":"wrong"}`, 401},
		{"POST", "/api/atoll/v1/setup", `{"code":"x","user":"eve","password":"correct horse battery"}`, 409},
		{"POST", "/api/atoll/v1/users", `{"name":"eve","password":"short","roles":["viewer"]}`, 422},
		{"PUT", "/api/atoll/v1/users/nobody", `{}`, 404},
		{"DELETE", "/api/atoll/v1/users/ann", "", 409},
		{"POST", "/api/atoll/v1/tokens", `{"name":"t","scopes":["everything"]}`, 422},
		{"DELETE", "/api/atoll/v1/tokens/none", "", 404},
		{"GET", "/api/atoll/v1/audit?limit=0", "", 422},
		{"POST", "/api/atoll/v1/mesh/invite", `{"role":"emperor","uses":1,"expires_seconds":60}`, 422},
		{"PUT", "/api/atoll/v1/documents/rules/bad", "groups: 1", 400},
		{"GET", "/api/atoll/v1/documents/rules/nothing", "", 404},
		{"GET", "/api/atoll/v1/documents/rules/nothing/history", "", 404},
		{"GET", "/api/atoll/v1/documents/r%00les/a%20b", "", 404},
		{"GET", "/api/atoll/v1/top/series?limit=many", "", 400},
		{"GET", "/api/atoll/v1/search?kind=other", "", 400},
		{"GET", "/api/atoll/v1/resources?offset=-1", "", 400},
		{"GET", "/api/atoll/v1/resources/0", "", 400},
		{"GET", "/api/atoll/v1/resources/0123456789abcdef", "", 404},
		{"GET", "/api/atoll/v1/hosts?limit=0", "", 400},
		{"GET", "/api/atoll/v1/events?topics=other", "", 400},
		{"GET", "/api/atoll/v1/alerts/history?limit=0", "", 400},
		{"POST", "/api/atoll/v1/rules/check", `{`, 400},
		{"POST", "/api/atoll/v1/rules/preview", `{}`, 400},
		{"GET", "/api/v1/query?query=sum(", "", 400},
		{"GET", "/api/v1/query?query=up&scope=some", "", 400},
		{"GET", "/api/v1/query_range?query=up", "", 400},
		{"GET", "/api/v1/series", "", 400},
		{"GET", "/api/v1/rules?type=other", "", 400},
		{"GET", "/api/v1/probes/targets?limit=0", "", 400},
		{"GET", "/api/v1/probes/verdicts?state=fine", "", 400},
		{"GET", "/api/v1/probes/evidence?limit=0", "", 400},
		{"GET", "/api/v1/probes/evidence/none", "", 400},
		{"GET", "/api/v1/probes/evidence/01KAR3ZZZZZZZZZZZZZZZZZZZZ", "", 404},
		{"GET", "/api/v1/probes/evidence/none/a", "", 404},
		{"GET", "/api/v1/probes/run", "", 400},
		{"GET", "/probe", "", 400},
		{"GET", "/api/v2/alerts?filter=%7B", "", 400},
		{"GET", "/api/v2/silence/none", "", 422},
		{"POST", "/api/v2/silences", `{}`, 422},
	} {
		r, resp, body := s.try(q.method, q.url, q.body)
		if resp.StatusCode != q.status {
			s.t.Errorf("%s %s: %s, want %d: %s", q.method, q.url, resp.Status, q.status, body)
		}
		c.judge(r, resp, body)
		if !strings.HasPrefix(q.url, "/api/atoll/v1/") {
			continue
		}
		var p problem
		if err := json.Unmarshal(body, &p); err != nil || p.Code == "" || p.Message == "" {
			s.t.Errorf("%s %s: %s is no problem with code and message (%v)", q.method, q.url, body, err)
		}
	}
}
