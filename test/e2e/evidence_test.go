package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/probe"
)

// TestEvidence breaks a target for one of two islands: both gather evidence, and each
// has the other's fetched through the mesh.
func TestEvidence(t *testing.T) {
	var broken atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vantage") == "beta" && broken.Load() {
			http.Error(w, "not for you", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "welcome")
	}))
	defer target.Close()
	var all []*island
	for _, name := range []string{"alpha", "beta"} {
		i := newIsland(t, fmt.Sprintf(`
island: {name: %s}
mesh: {port: 0, addresses: [127.0.0.1], mdns: false}
probe: {allow: [127.0.0.1], modules: modules.yml}
collect: {host: {enabled: false}, cgroup: {enabled: false}}
`, name))
		i.write("modules.yml", fmt.Sprintf("modules: {ours: {prober: http, http: {headers: {X-Vantage: %s}}}}\n", name))
		i.up()
		if len(all) == 0 {
			output(t, i.dir, binary, "init", "acme")
		} else {
			token, _, _ := strings.Cut(strings.TrimSpace(output(t, all[0].dir, binary, "invite")), "\n")
			output(t, i.dir, binary, "join", token)
		}
		all = append(all, i)
	}
	all[0].write("web.yml", fmt.Sprintf("targets: ['%s/']\nmodule: ours\ninterval: 1s\n", target.URL))
	output(t, all[0].dir, binary, "set", "probe/web", "-f", "web.yml")
	for _, i := range all {
		i.waitValue(30*time.Second, `sum(probe_success)`, exactly(1))
	}
	broken.Store(true)
	for _, i := range all {
		var list struct{ Data probe.Bundles }
		eventually(t, time.Minute, "both bundles", func() error {
			text, err := i.get(probe.EvidencePath + "?definition=web")
			if err == nil {
				err = json.Unmarshal([]byte(text), &list)
			}
			if err == nil && (len(list.Data.Bundles) != 2 || len(list.Data.Unanswered) > 0) {
				err = fmt.Errorf("%s", text)
			}
			return err
		})
		failing, healthy := list.Data.Bundles[0], list.Data.Bundles[1]
		if failing.Island != "beta" || failing.Role != "failing" || failing.Code != "status" || healthy.Island != "alpha" || healthy.Role != "healthy" || failing.Failure != healthy.Failure {
			t.Fatalf("failing %+v, healthy %+v", failing, healthy)
		}
		for island, want := range map[string]string{"alpha": "welcome\n", "beta": "503 Service Unavailable\n"} {
			text, err := i.get(probe.EvidencePath + "/" + failing.Failure + "/" + island + "/response.txt")
			if err != nil {
				t.Fatal(err)
			}
			contains(t, text, want)
		}
		if text, err := i.get(probe.EvidencePath + "/" + failing.Failure + "/beta"); err != nil || text[:2] != "PK" {
			t.Errorf("the archive: %v", err)
		}
	}
}
