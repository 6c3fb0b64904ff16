package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/probe"
)

// notified are the alerts that a receiver was told of.
type notified struct {
	Status              string
	Labels, Annotations map[string]string
}

// TestVerdict has three islands probe one target, which breaks for one of them, then
// for two: the words, the series and the page follow, from whichever island is asked.
func TestVerdict(t *testing.T) {
	var mu sync.Mutex
	broken, told := map[string]bool{}, []notified{}
	breaks := func(vantage string, is bool) {
		mu.Lock()
		defer mu.Unlock()
		broken[vantage] = is
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if broken[r.Header.Get("X-Vantage")] {
			http.Error(w, "not for you", http.StatusServiceUnavailable)
		}
	}))
	defer target.Close()
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer origin.Close()
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var got struct{ Alerts []notified }
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Errorf("a notification: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, got.Alerts...)
	}))
	defer hook.Close()

	var all []*island
	for _, v := range []struct{ name, region, isp string }{{"alpha", "eu", "telecom"}, {"beta", "eu", "unicom"}, {"gamma", "cn", "mobile"}} {
		i := newIsland(t, fmt.Sprintf(`
island: {name: %s, labels: {region: %s}}
mesh: {port: 0, addresses: [127.0.0.1], mdns: false}
probe: {allow: [127.0.0.1], modules: modules.yml, place: {isp: %s}}
collect: {host: {enabled: false}, cgroup: {enabled: false}}
alert:
  alertmanager:
    route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}
    receivers: [{name: hook, webhook_configs: [{url: '%s/', send_resolved: true}]}]
`, v.name, v.region, v.isp, hook.URL))
		i.write("modules.yml", fmt.Sprintf("modules: {ours: {prober: http, http: {headers: {X-Vantage: %s}}}}\n", v.name))
		i.up()
		if len(all) == 0 {
			output(t, i.dir, binary, "init", "acme")
		} else {
			token, _, _ := strings.Cut(strings.TrimSpace(output(t, all[0].dir, binary, "invite", "--label", "region="+v.region)), "\n")
			output(t, i.dir, binary, "join", token)
		}
		all = append(all, i)
	}
	all[0].write("web.yml", fmt.Sprintf("targets: ['%s/']\nmodule: ours\ninterval: 1s\nowner: shop\nseverity: critical\nevidence: {off: true}\ncompare: {origin: '%s'}\n", target.URL, origin.URL))
	output(t, all[0].dir, binary, "set", "probe/web", "-f", "web.yml")

	// await asks every island until they all say it.
	await := func(what string, good func(probe.VerdictStatus) bool) (v probe.VerdictStatus) {
		t.Helper()
		for _, i := range all {
			eventually(t, 90*time.Second, what, func() (err error) {
				if v, err = verdictFrom(i, target.URL); err == nil && !good(v) {
					err = fmt.Errorf("%s: %s", v.State, v.Words)
				}
				return err
			})
		}
		return v
	}
	v := await("up from three", func(v probe.VerdictStatus) bool {
		return v.State == "up" && len(v.Fine) == 3 && len(v.Differences) == 0
	})
	contains(t, v.Words, "fine from all 3 vantages since ")

	breaks("gamma", true)
	v = await("down from one", func(v probe.VerdictStatus) bool { return len(v.Failing) == 1 && len(v.Differences) == 2 })
	contains(t, v.Differences[0].Words, "status: gamma gets 503 from 127.0.0.1, want 200")
	contains(t, v.Differences[1].Words, "body: gamma gets 12 bytes ", " want 0 bytes ")
	contains(t, v.State+": "+v.Words, "up: down from gamma in cn (ISP mobile) since ", " UTC (status), fine from 2 other vantages; below the quorum of 2")
	contains(t, v.Failing[0].Words, "503")

	breaks("beta", true)
	v = await("down", func(v probe.VerdictStatus) bool { return v.State == "down" && v.Page })
	contains(t, v.Words, "down from gamma in cn (ISP mobile) and beta in eu (ISP unicom) since ", "fine from 1 other vantage")
	exprs := []string{`probe_state{job="web"} == 3`, `probe_page{job="web"} == 1`, `probe_vantages{job="web",state="down"} == 2`, `probe_compare_mismatch{job="web",what="body"} == 1`}
	eventually(t, time.Minute, "the series of the verdict, on one island each", func() error {
		for _, expr := range exprs {
			n := 0
			for _, i := range all {
				if _, err := i.value(expr); err == nil {
					n++
				}
			}
			if n != 1 {
				return fmt.Errorf("%s is on %d islands", expr, n)
			}
		}
		return nil
	})
	page := func(status string) (n notified, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range told {
			if n.Status == status && n.Labels["alertname"] == "ProbeDown" {
				return n, nil
			}
		}
		return n, fmt.Errorf("told: %+v", told)
	}
	var n notified
	eventually(t, time.Minute, "the page", func() (err error) { n, err = page("firing"); return err })
	for label, want := range map[string]string{"job": "web", "instance": target.URL + "/", "owner": "shop", "severity": "critical"} {
		if got := n.Labels[label]; got != want {
			t.Errorf("label %s of the alert: %q, want %q", label, got, want)
		}
	}
	contains(t, n.Annotations["summary"], "Down · vantages beta, gamma · "+target.URL+"/ · total ", "connect ")
	contains(t, n.Annotations["verdict"], "down from gamma in cn (ISP mobile) and beta in eu (ISP unicom) since ")
	contains(t, n.Annotations["evidence"], probe.EvidencePath)

	breaks("beta", false)
	breaks("gamma", false)
	await("mended", func(v probe.VerdictStatus) bool {
		return v.State == "up" && len(v.Fine) == 3 && len(v.Differences) == 0
	})
	eventually(t, time.Minute, "the end of the page", func() error { _, err := page("resolved"); return err })
}

// verdictFrom asks an island for the verdict on one target.
func verdictFrom(i *island, target string) (v probe.VerdictStatus, err error) {
	text, err := i.get(probe.VerdictsPath + "?instance=" + url.QueryEscape(target+"/"))
	if err != nil {
		return v, err
	}
	var answer struct{ Data probe.VerdictList }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return v, err
	}
	if n := len(answer.Data.Verdicts); n != 1 {
		return v, fmt.Errorf("%d verdicts: %s", n, text)
	}
	return answer.Data.Verdicts[0], nil
}
