package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestProbe sets documents on a running island: what they say is probed within
// seconds, a change is live within seconds, and what must not be probed is not.
func TestProbe(t *testing.T) {
	var asked atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/moved": // a target's way to what its prober may not see
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "http://127.0.0.2:1/", http.StatusFound)
		case "/broken":
			http.Error(w, "broken", http.StatusInternalServerError)
		default:
			fmt.Fprint(w, `{"status": "ok"}`)
		}
	}))
	defer target.Close()
	i := newIsland(t, `
island: {name: berlin, labels: {region: eu}}
mesh: {port: 0, addresses: [127.0.0.1], mdns: false}
probe: {allow: [127.0.0.1], place: {latitude: 52.52, longitude: 13.405, isp: telecom}}
`).up()
	output(t, i.dir, binary, "init", "acme")
	set := func(name, text string) (string, error) {
		i.write(name+".yml", text)
		return run(i.dir, binary, "set", "probe/"+name, "-f", name+".yml")
	}
	mustSet := func(name, text string) {
		t.Helper()
		if out, err := set(name, text); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}

	out, err := set("wrong", "targets: [x]\nmodul: http_2xx\ninterval: 10ms\n")
	if err == nil {
		t.Error("a document with mistakes was taken")
	}
	contains(t, out, `did you mean "module"`, "must be between 1s and 24h")

	mustSet("web", fmt.Sprintf("targets: [%[1]s/good, %[1]s/broken, %[1]s/moved, %[1]s/loop, 'http://169.254.169.254/']\ninterval: 1s\nexpect: {json: [{path: $.status, equals: ok}]}\n", target.URL))
	const own = `{job="web",vantage="berlin",region="eu",geohash="u33dc",isp="telecom"}`
	i.waitValue(20*time.Second, `count(probe_success`+own+`)`, exactly(5))
	i.waitValue(20*time.Second, `sum(probe_success`+own+`)`, exactly(1))
	i.waitValue(20*time.Second, `count(probe_failure_info{reason="denied"})`, exactly(3))
	i.waitValue(20*time.Second, `count(probe_failure_info{reason="status",instance=~".*/broken"})`, exactly(1))
	i.waitValue(20*time.Second, `probe_phase_seconds{phase="connect",instance=~".*/good"} > 0`, func(v float64) bool { return v > 0 })

	mustSet("web", fmt.Sprintf("targets: ['%s/new']\ninterval: 1s\n", target.URL))
	i.waitValue(20*time.Second, `sum(probe_success{instance=~".*/new"})`, exactly(1))
	i.waitValue(20*time.Second, `count(probe_success)`, exactly(1)) // the others have ended

	got, err := i.get("/api/v1/probes/targets?state=up")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, got, `"state":"up"`, `/new"`, `"connect":`)
	if got, err = i.get("/api/v1/probes/definitions"); err != nil {
		t.Fatal(err)
	}
	contains(t, got, `"name":"web"`, `"shared":true`, `"up":1`)

	// Who asks at this moment may less than a definition.
	output(t, i.dir, binary, "set", "probe/web", "--delete")
	i.waitValue(20*time.Second, `absent(probe_success)`, exactly(1))
	before := asked.Load()
	if got, err = i.get("/probe?target=" + url.QueryEscape(target.URL)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "probe_success 0") || !strings.Contains(got, `reason="denied"`) {
		t.Errorf("GET /probe of a private target:\n%s", got)
	}
	if n := asked.Load() - before; n > 0 {
		t.Errorf("%d requests of probes that were ended or refused", n)
	}
}
