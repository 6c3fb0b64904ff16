package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/query/global"
)

// neighbour is another Query without a network between.
type neighbour struct {
	global.Catalog
	name string
	ask  func(context.Context, *global.Request) (*global.Answer, error)
}

func (n neighbour) Facts() global.Facts { return global.Facts{Name: n.name} }
func (n neighbour) Answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	return n.ask(ctx, r)
}

// twoIslands have a series up each; the first one asks.
func twoIslands(t *testing.T, change func(ask *func(context.Context, *global.Request) (*global.Answer, error))) *rig {
	t.Helper()
	far := newRig(t, func(o *Options) {
		o.Neighbours = func() (string, []global.Island) { return "far", nil }
	})
	ask := far.Itself().Answer
	if change != nil {
		change(&ask)
	}
	near := newRig(t, func(o *Options) {
		o.Neighbours = func() (string, []global.Island) { return "near", []global.Island{neighbour{far.Itself(), "far", ask}} }
	})
	now := time.Now().UnixMilli()
	near.db.put(t, labels.FromStrings("__name__", "up", "job", "a"), promql.FPoint{T: now - 1000, F: 1})
	far.db.put(t, labels.FromStrings("__name__", "up", "job", "a"), promql.FPoint{T: now - 1000, F: 2})
	near.db.putExemplar(t, labels.FromStrings("__name__", "up", "job", "a"), now-500, 1, exemplar.Exemplar{Ts: now - 500, Value: 1, Labels: labels.FromStrings("traceID", "near")})
	far.db.putExemplar(t, labels.FromStrings("__name__", "up", "job", "a"), now-500, 2, exemplar.Exemplar{Ts: now - 500, Value: 1, Labels: labels.FromStrings("traceID", "far")})
	return near
}

type answered struct {
	Status string
	Error  string
	Data   struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	Warnings []string
	Receipt  *global.Receipt
}

func (r *rig) about(t *testing.T, target string, header ...string) (answered, *httptest.ResponseRecorder) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	var a answered
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%s: %v: %s", target, err, w.Body)
	}
	return a, w
}

func TestScopeAll(t *testing.T) {
	near := twoIslands(t, nil)
	a, _ := near.about(t, "/api/v1/query?query=sum(up)&scope=all")
	if len(a.Data.Result) != 1 || a.Data.Result[0].Value[1] != "3" {
		t.Errorf("sum of both islands: %+v", a)
	}
	if a.Receipt == nil || a.Receipt.Partial || len(a.Receipt.Islands) != 2 || len(a.Receipt.Pushed) != 1 {
		t.Errorf("receipt %+v", a.Receipt)
	}
	a, _ = near.about(t, "/api/v1/query?query=up", "X-Atoll-Scope", "all")
	islands := map[string]bool{}
	for _, r := range a.Data.Result {
		islands[r.Metric["island"]] = true
	}
	if len(a.Data.Result) != 2 || !islands["near"] || !islands["far"] {
		t.Errorf("series of both islands: %+v", a)
	}
	a, w := near.about(t, "/api/v1/query?query=up")
	if len(a.Data.Result) != 1 || a.Data.Result[0].Metric["island"] != "" || strings.Contains(w.Body.String(), "receipt") {
		t.Errorf("what does not ask for all is about this island: %s", w.Body)
	}
}

func TestScopeByConfiguration(t *testing.T) {
	near := twoIslands(t, nil)
	next := near.Config()
	next.Scope = "all"
	commit, _, err := near.Prepare(next, &near.prom)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if a, _ := near.about(t, "/api/v1/query?query=sum(up)"); a.Receipt == nil || a.Data.Result[0].Value[1] != "3" {
		t.Errorf("the default is not all: %+v", a)
	}
	if a, _ := near.about(t, "/api/v1/query?query=sum(up)&scope=local"); a.Receipt != nil || a.Data.Result[0].Value[1] != "1" {
		t.Errorf("local is not local: %+v", a)
	}
}

func TestMissingIsland(t *testing.T) {
	near := twoIslands(t, func(ask *func(context.Context, *global.Request) (*global.Answer, error)) {
		*ask = func(context.Context, *global.Request) (*global.Answer, error) {
			return nil, errors.New("the uplink is cut")
		}
	})
	a, _ := near.about(t, "/api/v1/query?query=sum(up)&scope=all")
	if a.Status != "success" || a.Data.Result[0].Value[1] != "1" || a.Receipt == nil || !a.Receipt.Partial ||
		len(a.Warnings) == 0 || !strings.Contains(a.Warnings[0], "the uplink is cut") {
		t.Errorf("a missing island must be named: %+v", a)
	}
	a, w := near.about(t, "/api/v1/query?query=sum(up)&scope=all&partial=deny")
	if a.Status != "error" || !strings.Contains(a.Error, "the uplink is cut") || a.Receipt == nil {
		t.Errorf("a missing island must be an error: %s", w.Body)
	}
}

func TestScopeIsRefused(t *testing.T) {
	near := twoIslands(t, nil)
	for _, query := range []string{"scope=world", "partial=perhaps", "deadline=soon", "deadline=0s"} {
		a, w := near.about(t, "/api/v1/query?query=up&"+query)
		_, value, _ := strings.Cut(query, "=")
		if w.Code != http.StatusBadRequest || a.Status != "error" || !strings.Contains(a.Error, value) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestReceiptIsCompressed(t *testing.T) {
	near := twoIslands(t, nil)
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/query?query=up&scope=all", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	near.Handler().ServeHTTP(w, req)
	if got := w.Header().Get("Content-Encoding"); got != "gzip" {
		t.Errorf("encoding %q", got)
	}
	if strings.Contains(w.Body.String(), "receipt") {
		t.Error("the receipt is not compressed")
	}
}

// TestCatalogOfAll lists labels, series and exemplars of both islands.
func TestCatalogOfAll(t *testing.T) {
	near := twoIslands(t, nil)
	list := func(target string) string {
		t.Helper()
		code, _, body := near.get(t, target)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %s", target, code, body)
		}
		return body
	}
	for target, want := range map[string][]string{
		"/api/v1/label/island/values?scope=all":                 {`["far","near"]`, `"receipt"`},
		"/api/v1/labels?scope=all":                              {`["__name__","island","job"]`},
		"/api/v1/series?scope=all&match[]=up":                   {`"island":"far"`, `"island":"near"`},
		`/api/v1/series?scope=all&match[]=up{island="far"}`:     {`"island":"far"`, `"state":"skipped"`},
		"/api/v1/label/job/values?scope=all&match[]=up&limit=1": {`["a"]`},
		"/api/v1/query_exemplars?scope=all&query=up":            {`"status":"success"`},
	} {
		for _, part := range want {
			if body := list(target); !strings.Contains(body, part) {
				t.Errorf("%s: %s is not in %s", target, part, body)
			}
		}
	}
	if body := list("/api/v1/labels"); strings.Contains(body, "island") {
		t.Errorf("labels of this island alone: %s", body)
	}
}

// TestGrafanaForms asks as Grafana's data source does: by POST, with a form.
func TestGrafanaForms(t *testing.T) {
	near := twoIslands(t, nil)
	now := time.Now()
	times := fmt.Sprintf("&start=%d&end=%d", now.Add(-time.Minute).Unix(), now.Unix()+1)
	for _, c := range []struct{ path, form, want string }{
		{"query", "query=sum(up)&scope=all", `"3"]`},
		{"query_range", "query=sum(up)&step=61&scope=all" + fmt.Sprintf("&start=%d&end=%d", now.Unix(), now.Unix()+1), `"3"]`},
		{"labels", "scope=all" + times, `["__name__","island","job"]`},
		{"labels", "match[]=up&scope=all" + times, `["__name__","island","job"]`},
		{"series", "match[]=up&scope=all" + times, `"island":"far"`},
		{"query_exemplars", "query=up&scope=all" + times, `"traceID":"far"`},
		{"query_exemplars", "query=up&scope=all" + times, `"traceID":"near"`},
		{"query_exemplars", `query=up{island="far"}&scope=all` + times, `"island":"far"`},
		{"format_query", "query=sum(up)&scope=all", `"data":"sum(up)"`},
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/"+c.path, strings.NewReader(c.form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		near.Handler().ServeHTTP(w, req)
		receipt := strings.Contains(w.Body.String(), `"receipt"`)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), c.want) || receipt != (c.path != "format_query") {
			t.Errorf("%s of %s: %d %s", c.path, c.form, w.Code, w.Body)
		}
	}
}
