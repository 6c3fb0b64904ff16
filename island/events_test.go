package island

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/portal/events"
	"github.com/atoll-mesh/atoll/portal/overview"
)

// TestEvents listens to an island on which something happens, and looks at its
// overview.
func TestEvents(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	s := newSpecimen(t, lone("a", near)).run()
	if _, err := s.initNetwork(t.Context(), control.InitRequest{Network: "acme"}); err != nil {
		t.Fatal(err)
	}
	stream, err := http.Get("http://" + s.Addr() + events.Path + "?topics=alerts,documents")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	heard := make(chan events.Event)
	go func() {
		defer close(heard)
		for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e events.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Errorf("%q: %v", data, err)
				}
				heard <- e
			}
		}
	}()
	wait := func(kind, summary string) {
		t.Helper()
		for {
			select {
			case e, ok := <-heard:
				if !ok {
					t.Fatalf("the stream ended before %s %q", kind, summary)
				}
				if e.Kind == kind && strings.Contains(e.Summary, summary) {
					return
				}
			case <-time.After(time.Minute):
				t.Fatalf("nobody told of %s %q", kind, summary)
			}
		}
	}
	post := func(path, body string) string {
		t.Helper()
		resp, err := http.Post("http://"+s.Addr()+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			SilenceID string `json:"silenceID"`
		}
		_ = json.NewDecoder(resp.Body).Decode(&answer) // most answers are empty
		return answer.SilenceID
	}
	look := func() (o overview.Overview) {
		t.Helper()
		body := s.ask(overview.Path)
		if err := json.Unmarshal([]byte(body), &o); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return o
	}
	post("/api/v2/alerts", `[{"labels":{"alertname":"DiskFull","severity":"critical"},"annotations":{"summary":"no room on /var"}}]`)
	wait("firing", "DiskFull: no room on /var")
	s.eventually("the overview has the alert and the target", func() bool {
		o := look()
		return o.Alerts.Firing == 1 && o.Alerts.BySeverity["critical"] == 1 && o.Targets.Up == 1 && o.Changes.Counts["alerts.firing"] == 1
	})
	o := look()
	if len(o.Needs) == 0 || o.Needs[0].Title != "DiskFull" || o.Needs[0].Detail != "no room on /var" || !strings.HasPrefix(o.Needs[0].Href, "/alerts/") {
		t.Errorf("needs %+v", o.Needs)
	}
	if o.Island != "a" || o.Islands.Count != 1 || o.Islands.Connected != 1 || o.Islands.Network != "acme" || len(o.Budgets) < 3 || o.Targets.Jobs[0].Job != "atoll" {
		t.Errorf("overview %+v", o)
	}
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	if id := post("/api/v2/silences", `{"matchers":[{"name":"alertname","value":"DiskFull","isRegex":false}],"startsAt":"2020-01-01T00:00:00Z","endsAt":"`+until+`","createdBy":"me","comment":"known"}`); id == "" {
		t.Fatal("no silence")
	}
	wait("silenced", "DiskFull")
	documents := s.membership.Load().documents
	if _, err := documents.Set(t.Context(), "dashboard/cart", []byte(`{"title":"Cart"}`), 0); err != nil {
		t.Fatal(err)
	}
	wait("changed", "dashboard/cart was changed by a")
	if _, err := documents.Delete(t.Context(), "dashboard/cart", 0); err != nil {
		t.Fatal(err)
	}
	wait("deleted", "dashboard/cart")
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for range heard { // it ends
	}
}
