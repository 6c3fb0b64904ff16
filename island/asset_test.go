package island

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/asset"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// search asks over HTTP.
func (s *specimen) search(text string, more ...string) (a asset.Answer) {
	s.t.Helper()
	body := s.ask(asset.SearchPath + "?" + strings.Join(append(more, "q="+url.QueryEscape(text)), "&"))
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		s.t.Fatalf("search %q: %v: %s", text, err, body)
	}
	return a
}

// refused asks for what is not answered.
func (s *specimen) refused(path string) string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.Addr() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode < 400 {
		s.t.Errorf("%s: %s %s, %v", path, resp.Status, body, err)
	}
	return string(body)
}

// finds reports whether the first thing that a search finds is of a kind and name.
func (s *specimen) finds(text, kind, name string) bool {
	a := s.search(text)
	return len(a.Items) > 0 && a.Items[0].Kind == kind && a.Items[0].Name == name
}

// TestSearch finds what each room knows, of one island.
func TestSearch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	s := newSpecimen(t, lone("a", near)).run()
	if _, err := s.initNetwork(t.Context(), control.InitRequest{Network: "acme"}); err != nil {
		t.Fatal(err)
	}
	alert := `[{"labels":{"alertname":"DiskFull","team":"storage"},"annotations":{"summary":"no room on /var"}}]`
	resp, err := http.Post("http://"+s.Addr()+"/api/v2/alerts", "application/json", strings.NewReader(alert))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("post an alert: %v, %v", resp, err)
	}
	resp.Body.Close()
	documents := s.membership.Load().documents
	rules := "groups: [{name: shared, rules: [{record: 'checkout:one', expr: vector(1), labels: {team: shop}}]}]\n"
	probe := "targets: ['http://127.0.0.1:9/']\nmodule: http_2xx\nowner: web-team\nfrom: this\n"
	for key, value := range map[string]string{
		"rules/checkout": rules, "dashboard/cart": `{"title":"Shopping cart"}`, "probe/frontpage": probe,
	} {
		if _, err := documents.Set(t.Context(), key, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []struct{ text, kind, name string }{
		{"kind:target job:atoll", "target", "a"},
		{"kind:metric atoll_http_requests_in_flight", "metric", "atoll_http_requests_in_flight"},
		{"being answered now", "metric", "atoll_http_requests_in_flight"},
		{"team:storage firing", "alert", "DiskFull"},
		{"rules/checkout", "document", "rules/checkout"},
		{"checkout:one team:shop", "rule", "checkout:one"},
		{"shopping", "dashboard", "Shopping cart"},
		{"owner:web-team kind:probe", "probe", "frontpage"},
		{"frontpage kind:probe_target", "probe_target", "http://127.0.0.1:9/"},
		{"kind:island", "island", "a"},
	} {
		s.eventually("a search for "+want.text, func() bool { return s.finds(want.text, want.kind, want.name) })
	}
	if a := s.search("", "limit=1"); a.Counts["metric"] < 50 || len(a.Items) != 1 || len(a.Islands) != 1 || !a.Islands[0].Answered {
		t.Errorf("everything: %+v", a)
	}
	for query, field := range map[string]string{"limit=x": "limit", "kind=nothing": "kind", "scope=world": "scope", "q=" + strings.Repeat("x", 600): "q"} {
		if body := s.refused(asset.SearchPath + "?" + query); !strings.Contains(body, `"field":"`+field+`"`) || !strings.Contains(body, `"remedy":"`) {
			t.Errorf("%.20s: %s", query, body)
		}
	}
	found := s.search("DiskFull").Items[0]
	if body := s.ask(asset.ResourcesPath + "/" + found.ID); !strings.Contains(body, `"no room on /var"`) {
		t.Errorf("one resource: %s", body)
	}
	if body := s.ask(asset.ResourcesPath + "?kind=alert&q=team:storage"); !strings.Contains(body, `"total":1`) {
		t.Errorf("list of alerts: %s", body)
	}
	if body := s.refused(asset.ResourcesPath + "/ffffffffffffffff"); !strings.Contains(body, `"not_found"`) {
		t.Errorf("an id that there is not: %s", body)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
