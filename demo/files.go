package demo

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/prometheus/common/model"
)

//go:embed files
var files embed.FS

// site is what the configuration is made of.
type site struct {
	Addr     string
	Services []*service
	Inbox    string
	Pace     pace
}

// writeFiles writes atoll.yaml and its rule file to dir and returns the path of
// the former.
func writeFiles(dir string, s site) (string, error) {
	values := struct {
		site
		Pace           map[string]string
		DataDir, Rules string
	}{s, s.Pace.texts(), filepath.Join(dir, "data"), filepath.Join(dir, "rules.yaml")}
	for _, name := range []string{"rules.yaml", "atoll.yaml"} {
		text, err := render(name+".tmpl", values)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", fmt.Errorf("write the demo's configuration: %w", err)
		}
	}
	return filepath.Join(dir, "atoll.yaml"), nil
}

func render(name string, values any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").
		Funcs(template.FuncMap{"quote": strconv.Quote}).ParseFS(files, "files/"+name)
	if err != nil {
		return nil, fmt.Errorf("BUG: parse %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("BUG: fill in %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// texts are the durations as the configuration writes them.
func (p pace) texts() map[string]string {
	text := func(d time.Duration) string { return model.Duration(d).String() }
	return map[string]string{
		"Scrape": text(p.Scrape), "Evaluate": text(p.Evaluate), "Window": text(p.Window), "For": text(p.For),
		"GroupWait": text(p.GroupWait), "GroupInterval": text(p.GroupInterval),
	}
}

// welcome says where to look.
func (d *Demo) welcome(st stage, shop *shop) string {
	url := "http://" + st.addr
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("")
	line("  Look at it      %s/", url)
	line("  The alert       %s/?view=alerts", url)
	line("  The errors      %s/?q=service:shop_errors:ratio&range=15m", url)
	line("")
	line("  Ask it          curl '%s/api/v1/query?query=service:shop_requests:rate'", url)
	line("                  atoll query --url %s 'service:shop_latency_seconds:p95'", url)
	line("                  promtool query instant %s 'topk(5, rate(shop_http_requests_total[1m]))'", url)
	line("")
	for _, svc := range shop.services {
		line("  %-15s %s/metrics", svc.Name, svc.url())
	}
	line("  configuration   %s", st.config)
	if d.opts.Logger == nil {
		line("  log             %s", filepath.Join(st.dir, logFile))
	}
	line("")
	line("Every %s payment breaks for %s: an alert fires, is notified here, and resolves.", brief(d.opts.BurstEvery), brief(d.opts.BurstFor))
	b.WriteString("Ctrl-C stops everything.\n")
	return b.String()
}

func brief(d time.Duration) string { return model.Duration(d).String() }
