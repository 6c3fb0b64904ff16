package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/lab"
)

// networkRules are about the samples of one island, and one about none.
const networkRules = `groups:
  - {name: kept, interval: 5s, rules: [{alert: Kept, expr: 'last_over_time(state{island="sg-1"}[1h]) > 0'}]}
  - {name: ignored, interval: 5s, on_missing: ignore, rules: [{alert: Ignored, expr: 'last_over_time(state{island="sg-1"}[1h]) > 0'}]}
  - {name: fired, interval: 5s, rules: [{alert: Fired, expr: 'last_over_time(state{island="sg-1"}[1h]) > 0', on_missing: fire}]}
  - name: slow
    interval: 5s
    rules:
      - {alert: Slow, expr: vector(1), for: 75s}
      - {record: network:one, expr: vector(1), labels: {of: network}}
`

// takeOverWithin is what the loss of an owner may cost.
const takeOverWithin = 30 * time.Second

// pager is where all islands send their notifications to.
type pager struct {
	mu  sync.Mutex
	got map[string]int // by status and alert
}

// newPager serves on a machine of the lab.
func newPager(t *testing.T, on *lab.Node) (*pager, string) {
	t.Helper()
	p := &pager{got: map[string]int{}}
	listener, err := on.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var told struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
			t.Errorf("a notification: %v", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, a := range told.Alerts {
			p.got[strings.TrimSpace(a.Status+" "+a.Labels["alertname"]+" "+a.Labels["missing_island"])]++
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return p, fmt.Sprintf("http://%s:8080/", on.Addr())
}

// exactly reports what is not told as often as wanted.
func (p *pager) exactly(want map[string]int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for what, n := range want {
		if p.got[what] != n {
			return fmt.Errorf("%q was told %d times, want %d; in all %v", what, p.got[what], n, p.got)
		}
	}
	return nil
}

// networkGroup is a group as the rules API of an island shows it.
type networkGroup struct {
	Group, Owner string
	Here         bool
	Rules        []struct {
		Kept    bool
		Missing string
		Receipt map[string]any
	}
}

func (s *site) networkGroup(name string) (g networkGroup, err error) {
	body, err := s.port("/api/v1/rules")
	if err != nil {
		return g, err
	}
	var answer struct{ Global []networkGroup }
	if err := json.Unmarshal(body, &answer); err != nil {
		return g, err
	}
	i := slices.IndexFunc(answer.Global, func(g networkGroup) bool { return g.Group == name })
	if i < 0 {
		return g, fmt.Errorf("no group %s: %s", name, body)
	}
	return answer.Global[i], nil
}

// pendingSince is when an alert began, as an island shows it.
func (s *site) pendingSince(name string) (string, error) {
	body, err := s.port("/api/v1/alerts")
	if err != nil {
		return "", err
	}
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels   map[string]string
				State    string
				ActiveAt string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	for _, a := range answer.Data.Alerts {
		if a.Labels["alertname"] == name && a.State == "pending" {
			return a.ActiveAt, nil
		}
	}
	return "", fmt.Errorf("no pending alert %s: %s", name, body)
}

// TestPrimaries has three islands share the rules of the network: the owner of a
// group is killed while an alert is pending, an island whose samples rules are about
// is killed, and each alert is told once.
func TestPrimaries(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	pages, url := newPager(t, l.Public("pager", link))
	routes := fmt.Sprintf(`alert:
  resend_delay: 5s
  alertmanager:
    route: {receiver: pager, group_by: ['...'], group_wait: 1s, group_interval: 2s, repeat_interval: 4h}
    receivers: [{name: pager, webhook_configs: [{url: %q}]}]`, url)
	var sites []*site
	for _, name := range []string{"de-1", "fr-1", "us-1", "sg-1"} {
		sites = append(sites, newSite(t, l.Public(name, link), name[:2]).with(routes))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	primaries, data := sites[:3], sites[3]
	sample := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: "state"}}, Samples: []prompb.Sample{{Timestamp: time.Now().UnixMilli(), Value: 1}},
	}}}
	raw, err := sample.Marshal()
	if err = errors.Join(err, (&feed{to: data}).send(data.node.HTTPClient(), snappy.Encode(nil, raw))); err != nil {
		t.Fatal(err)
	}

	if _, err := sites[1].atoll("promote", "fr-1"); err == nil {
		t.Error("an island without the right to administer promoted itself")
	}
	sites[0].must("promote", "de-1", "fr-1", "us-1")
	if out := data.must("peers"); strings.Count(out, ", primary") != 3 {
		eventually(t, obeyWithin, "all know the primaries", func() error {
			if out := data.must("peers"); strings.Count(out, ", primary") != 3 {
				return errors.New(out)
			}
			return nil
		})
	}
	if out := sites[0].must("audit"); strings.Count(out, "promote") < 3 {
		t.Errorf("the audit log says no three promotions: %s", out)
	}
	bad := strings.Replace(networkRules, "vector(1), for", "vector(1, for", 1)
	if err := refusedWithLine(data.atollWith(bad, "set", "globalrules/live", "-f", "-")); err != nil {
		t.Error(err)
	}
	data.set("globalrules/live", networkRules)
	begin := time.Now()
	told := map[string]int{"firing Kept": 1, "firing Ignored": 1, "firing Fired": 1, "firing Slow": 0}
	eventually(t, time.Minute, "each alert is told", func() error { return pages.exactly(told) })

	owner := ""
	eventually(t, obeyWithin, "all agree whose the group is", func() error {
		owners := map[string]bool{}
		for _, s := range sites {
			g, err := s.networkGroup("slow")
			if err != nil {
				return err
			}
			owner = g.Owner
			owners[owner] = true
		}
		if len(owners) != 1 || owner == "" {
			return fmt.Errorf("they say %v", owners)
		}
		return nil
	})
	lost := primaries[slices.IndexFunc(primaries, func(s *site) bool { return s.name == owner })]
	left := slices.DeleteFunc(slices.Clone(primaries), func(s *site) bool { return s == lost })
	since, err := data.pendingSince("Slow")
	if err != nil {
		t.Fatal(err)
	}
	// What is told in the last moment before a death is told once more.
	eventually(t, obeyWithin, "the others know what was told", func() error {
		for _, s := range left {
			docs, err := s.documents("alertstate/")
			if err != nil {
				return err
			}
			noted := 0
			for key := range docs {
				text, err := s.value(key)
				if err != nil {
					return err
				}
				noted += strings.Count(text, `"receiver"`)
			}
			if noted < 3 {
				return fmt.Errorf("%s knows of %d notifications", s.name, noted)
			}
		}
		return nil
	})
	lost.kill()
	took := eventually(t, 2*takeOverWithin, "another primary goes on with the group", func() error {
		for _, s := range left {
			if g, err := s.networkGroup("slow"); err == nil && g.Here && g.Rules[0].Receipt != nil {
				return nil
			}
		}
		return fmt.Errorf("none of %s and %s", left[0].name, left[1].name)
	})
	t.Logf("%s was killed %s after the rules were set; taken over after %s", owner, time.Since(begin).Round(time.Second), took.Round(time.Millisecond))
	if long() && took > takeOverWithin {
		t.Errorf("that is more than %s", takeOverWithin)
	}
	if now, err := left[0].pendingSince("Slow"); err != nil || now != since {
		t.Errorf("pending since %s, was %s before the owner was killed: %v", now, since, err)
	}
	told["firing Slow"] = 1
	eventually(t, 2*time.Minute, "the alert that was pending is told", func() error { return pages.exactly(told) })

	data.kill()
	told["resolved Ignored"], told["firing Fired sg-1"], told["resolved Kept"], told["resolved Fired"] = 1, 1, 0, 0
	eventually(t, time.Minute, "each rule does as it says without an island", func() error { return pages.exactly(told) })
	eventually(t, time.Minute, "the rule that keeps says so", func() error {
		for _, s := range left {
			if g, err := s.networkGroup("kept"); err == nil && g.Here && g.Rules[0].Kept && strings.Contains(g.Rules[0].Missing, "sg-1") {
				return nil
			}
		}
		return errors.New("nobody does")
	})
	lost.up()
	data.up()
	told["resolved Fired sg-1"], told["firing Ignored"] = 1, 2
	eventually(t, time.Minute, "all is as it was when they are back", func() error { return pages.exactly(told) })

	for _, word := range []string{"demote", "promote"} {
		before, err := data.networkGroup("slow")
		if err != nil {
			t.Fatal(err)
		}
		sites[0].must(word, lost.name)
		eventually(t, time.Minute, word+" moves what it has to", func() error {
			for _, s := range sites {
				switch g, err := s.networkGroup("slow"); {
				case err != nil:
					return err
				case word == "demote" && g.Owner == lost.name:
					return fmt.Errorf("%s says that it is still %s's", s.name, g.Owner)
				case word == "promote" && g.Owner != lost.name:
					return fmt.Errorf("%s says that it is %s's, which was %s's before", s.name, g.Owner, before.Owner)
				}
			}
			return nil
		})
	}
	steadily(t, 20*time.Second, "nothing is told twice", func() error { return pages.exactly(told) })
}
