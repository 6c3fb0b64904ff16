package e2e

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"
)

const withRule = quiet + `
prometheus:
  global: {evaluation_interval: 1s}
  rule_files: [rules.yml]
`

func ruleFile(value string) string {
	return "groups:\n  - name: a\n    rules:\n      - record: marker\n        expr: vector(" + value + ")\n"
}

// TestReload changes rules in the three ways a user can.
func TestReload(t *testing.T) {
	i := newIsland(t, withRule)
	i.write("rules.yml", ruleFile("1"))
	i.up()
	i.waitValue(30*time.Second, "marker", exactly(1))

	t.Run("file watched", func(t *testing.T) {
		i.write("rules.yml", ruleFile("2"))
		i.waitValue(30*time.Second, "marker", exactly(2))
	})
	t.Run("POST", func(t *testing.T) {
		i.write("rules.yml", ruleFile("3"))
		if _, err := i.post("/-/reload"); err != nil {
			t.Fatal(err)
		}
		i.waitValue(30*time.Second, "marker", exactly(3))
	})
	t.Run("SIGHUP", func(t *testing.T) {
		i.write("rules.yml", ruleFile("4"))
		if err := i.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		i.waitValue(30*time.Second, "marker", exactly(4))
	})
	i.stop()
}

// TestBadReload refuses a broken configuration whole: the old one runs on and
// the log, the API and the status say why.
func TestBadReload(t *testing.T) {
	i := newIsland(t, withRule)
	i.write("rules.yml", ruleFile("1"))
	i.up()
	i.waitValue(30*time.Second, "marker", exactly(1))
	for name, broken := range map[string]struct{ config, want string }{
		"unknown key":       {withRule + "stor: {}\n", "stor"},
		"bad duration":      {withRule + "query: {timeout: soon}\n", "soon"},
		"missing CA file":   {withRule + "  scrape_configs: [{job_name: x, scheme: https, tls_config: {ca_file: nowhere.pem}}]\n", "nowhere.pem"},
		"fixed field":       {withRule + "island: {name: other}\n", "island.name"},
		"broken alert YAML": {withRule + "alert: {alertmanager: {route: {receiver: nobody}}}\n", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			i.write("atoll.yaml", broken.config)
			i.write("rules.yml", ruleFile("9"))
			body, err := i.post("/-/reload")
			if err == nil || !strings.Contains(body, broken.want) {
				t.Errorf("reload answered %v, want a refusal that names %q", err, broken.want)
			}
			if text := i.warnings()["config-reload-refused"]; !strings.Contains(text, broken.want) {
				t.Errorf("health says %q, want %q in it", text, broken.want)
			}
			out, err := run(i.dir, binary, "status", "-u", i.url(""))
			if err == nil || !strings.Contains(out, broken.want) {
				t.Errorf("status (%v) does not say %q:\n%s", err, broken.want, out)
			}
			contains(t, i.log.String(), "configuration refused")
			i.waitValue(10*time.Second, "marker", exactly(1))
		})
	}
	i.write("atoll.yaml", withRule)
	i.waitValue(30*time.Second, "marker", exactly(9))
	if w, bad := i.warnings()["config-reload-refused"]; bad {
		t.Errorf("still warned after a good reload: %s", w)
	}
	var status struct {
		Config struct {
			LastReload struct{ OK bool } `json:"last_reload"`
		}
	}
	body, err := i.get("/api/atoll/v1/status")
	if err != nil || json.Unmarshal([]byte(body), &status) != nil || !status.Config.LastReload.OK {
		t.Errorf("status after a good reload: %v %s", err, body)
	}
}
