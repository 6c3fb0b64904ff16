package alert

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestAmtool drives the API with Alertmanager's own command, if there is one.
// Distributions pack it with prometheus-alertmanager; its newest version is
// built by go install github.com/prometheus/alertmanager/cmd/amtool@latest.
func TestAmtool(t *testing.T) {
	tool := os.Getenv("ATOLL_AMTOOL")
	if tool == "" {
		var err error
		if tool, err = exec.LookPath("amtool"); err != nil {
			t.Skip("skipped: no amtool on the PATH, and ATOLL_AMTOOL names none")
		}
	}
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	amtool := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(tool, append(args, "--alertmanager.url="+r.server.URL)...)
		var complaints strings.Builder // of versions that differ, among others
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("amtool %s: %v: %s", strings.Join(args, " "), err, complaints.String())
		}
		return string(out)
	}
	id := strings.TrimSpace(amtool("silence", "add", "host=db1", "--comment=maintenance", "--author=tester", "--duration=1h"))
	if out := amtool("silence", "query"); !strings.Contains(out, id) || !strings.Contains(out, "maintenance") {
		t.Errorf("silence query: %s", out)
	}
	r.set(9, "__name__", "load", "host", "db1")
	r.set(9, "__name__", "load", "host", "db2")
	eventually(t, "the alert that is not silenced", func() bool { return h.count("firing", "HighLoad") == 1 })
	eventually(t, "both alerts in amtool", func() bool {
		active, silenced := amtool("alert", "query"), amtool("alert", "query", "--silenced")
		return strings.Contains(active, "db2") && !strings.Contains(active, "db1") && strings.Contains(silenced, "db1")
	})
	amtool("silence", "expire", id)
	eventually(t, "the other alert after the silence", func() bool { return h.count("firing", "HighLoad") == 2 })
	amtool("alert", "add", "alertname=ByHand", "severity=info", "--annotation=summary=hello")
	eventually(t, "the alert added by hand", func() bool { return h.count("firing", "ByHand") == 1 })
	if out := amtool("config", "show"); !strings.Contains(out, "webhook_configs") {
		t.Errorf("config show: %s", out)
	}
	if out := amtool("cluster", "show"); !strings.Contains(out, "disabled") {
		t.Errorf("cluster show: %s", out)
	}
}
