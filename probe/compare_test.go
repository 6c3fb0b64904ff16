package probe

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// edges answer with a body each, and note what they were asked for and to keep.
type edges struct {
	mu     sync.Mutex
	bodies map[string]string
	hosts  map[string]string
	kept   map[string]protocol.Keep
}

func (e *edges) probe(_ context.Context, r *protocol.Request) *protocol.Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hosts[r.Target], e.kept[r.Target] = r.Host, r.Keep
	out := &protocol.Result{Up: true, Start: time.Now(), Took: time.Millisecond, Address: netip.MustParseAddrPort("203.0.113.7:443")}
	body, ok := e.bodies[r.Target]
	if !ok {
		return out.Fail(protocol.ConnectTimeout, protocol.Connect, "no answer from %s", r.Target)
	}
	if r.Keep.Hash {
		out.Response = &protocol.Response{Status: "HTTP/1.1 200 OK", Whole: true, Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body)), Header: [][2]string{{"age", "100"}}}
	}
	return out
}

func (e *edges) serve(target, body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bodies[target] = body
}

func TestCompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const target, origin = "https://cdn.example.com/a", "https://192.0.2.9/a"
		e := &edges{bodies: map[string]string{target: "old!"}, hosts: map[string]string{}, kept: map[string]protocol.Keep{}}
		set := Set{Local: []*definition.Definition{
			define(t, "cdn", "targets: [https://cdn.example.com/a]\ninterval: 10s\ncompare: {origin: 'https://192.0.2.9', max_age: 1m}\n"),
			define(t, "plain", "targets: [https://plain.example.com/]\ninterval: 10s\n"),
			define(t, "port", "targets: [a:1]\nmodule: tcp_connect\ncompare: {}\n"),
		}}
		r := begin(t, "berlin", set, func(o *Options) { o.table["http"] = e.probe })
		defer r.end()
		time.Sleep(30 * time.Second)
		for _, d := range r.Definitions() {
			if told := strings.Contains(d.Problem, `compare: module "tcp_connect" has prober tcp`); told != (d.Name == "port") {
				t.Errorf("definition %s: %q", d.Name, d.Problem)
			}
		}
		ask := func() (words []string) {
			w := httptest.NewRecorder()
			r.serveVerdicts(w, httptest.NewRequest(http.MethodGet, VerdictsPath+"?definition=cdn", nil))
			var got struct{ Data VerdictList }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Data.Verdicts) != 1 {
				t.Fatalf("%v: %s", err, w.Body)
			}
			for _, d := range got.Data.Verdicts[0].Differences {
				if d.What == "" || len(d.Vantages) == 0 || len(d.Edges) == 0 || d.Want == "" || d.Got == "" {
					t.Errorf("a difference: %+v", d)
				}
				words = append(words, d.Words)
			}
			return words
		}
		const old = "age: berlin gets a copy of more than 1m0s from 203.0.113.7, want at most 1m0s"
		if diff := cmp.Diff([]string{
			"origin: berlin gets no answer (no answer from https://192.0.2.9/a) from https://192.0.2.9/a, want one to compare with", old,
		}, ask()); diff != "" {
			t.Error(diff)
		}
		e.serve(origin, "new")
		time.Sleep(15 * time.Second)
		const body = "body: berlin gets 4 bytes (sha256 f28d6cfd0ebc…) from 203.0.113.7, want 3 bytes (sha256 11507a0e2f5e…)"
		if diff := cmp.Diff([]string{body, old}, ask()); diff != "" {
			t.Error(diff)
		}
		summary := func(what string) string {
			return r.Annotations(labels.FromStrings("alertname", "ProbeContentMismatch", "job", "cdn", "instance", target, "what", what), "")["summary"]
		}
		if got, want := summary("body"), "Content differs · vantage berlin · "+target+" · "+body; got != want {
			t.Errorf("summary %q, want %q", got, want)
		}
		e.serve(target, "new")
		time.Sleep(15 * time.Second)
		if diff := cmp.Diff([]string{old}, ask()); diff != "" {
			t.Error(diff)
		}
		if got, want := summary("body"), "Content as it should be again · "+target+" · body"; got != want {
			t.Errorf("summary %q, want %q", got, want)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.hosts[origin] != "cdn.example.com" || e.hosts[target] != "" {
			t.Errorf("asked for hosts %q", e.hosts)
		}
		if want := (protocol.Keep{Header: true, Hash: true}); e.kept[target] != want || e.kept[origin] != want || e.kept["https://plain.example.com/"] != (protocol.Keep{}) {
			t.Errorf("asked to keep %v", e.kept)
		}
	})
}

// TestFlowsCompared: what a flow that failed was answered is not what is compared.
func TestFlowsCompared(t *testing.T) {
	d := define(t, "login", "targets: [https://a/]\nmodule: {prober: http, flow: [{name: in, url: /login}, {name: home, url: /home}]}\ncompare: {ignore_body: true}\n")
	u := &use{Definition: d, module: d.Module.Inline}
	r := &protocol.Result{Up: true, Response: &protocol.Response{Status: "HTTP/1.1 200 OK"}}
	if u.answer(r) == nil {
		t.Error("a flow that came to its end is not compared")
	}
	if u.answer(r.Fail(protocol.Status, protocol.FirstByte, "status 500")) != nil {
		t.Error("a flow that failed is compared")
	}
}
