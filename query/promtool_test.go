package query

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// promtool takes the island for a Prometheus. Its path is taken from PROMTOOL
// or PATH.
func TestPromtool(t *testing.T) {
	tool := os.Getenv("PROMTOOL")
	if tool == "" {
		var err error
		if tool, err = exec.LookPath("promtool"); err != nil {
			t.Skip("promtool is not installed and PROMTOOL does not name it")
		}
	}
	r, _ := full(t)
	_, url := client(t, r)
	for _, c := range []struct{ args, want string }{
		{"query instant URL shop_up", `shop_up{instance="127.0.0.1:`},
		{"query range URL vector(7) --start=0 --end=60 --step=30s", "7 @[60]"},
		{"query series URL --match=shop_orders_total", `instance="b"`},
		{"query labels URL instance", "127.0.0.1:"},
	} {
		var args []string
		for _, a := range strings.Fields(c.args) {
			args = append(args, strings.Replace(a, "URL", url, 1))
		}
		out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("promtool %s: %v\n%s", c.args, err, out)
		}
	}
}
