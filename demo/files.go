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

// writeFiles writes an island's atoll.yaml, and the first one's rule file, to its
// directory and returns the path of the former.
func writeFiles(i isle, inbox string, p pace) (string, error) {
	values := struct {
		isle
		Inbox          string
		Pace           map[string]string
		DataDir, Rules string
	}{i, inbox, p.texts(), i.data(), filepath.Join(i.dir, "rules.yaml")}
	templates := map[string]string{"rules.yaml": "rules.yaml.tmpl", "atoll.yaml": "atoll.yaml.tmpl"}
	if i.First != "" {
		templates = map[string]string{"atoll.yaml": "neighbour.yaml.tmpl"}
	}
	if err := os.MkdirAll(i.dir, 0o750); err != nil {
		return "", fmt.Errorf("make the directory of %s: %w", i.Name, err)
	}
	for name, from := range templates {
		text, err := render(from, values)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(i.dir, name), text, 0o600); err != nil {
			return "", fmt.Errorf("write the demo's configuration: %w", err)
		}
	}
	return filepath.Join(i.dir, "atoll.yaml"), nil
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
	first, others := st.isles[0], st.isles[1:]
	url := "http://" + first.Addr
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
	if len(others) > 0 {
		line("")
		line("  The islands     %s/?view=islands", url)
		line("                  atoll peers --data-dir %s", first.data())
		for _, i := range others {
			line("  %-15s http://%s/", i.Name, i.Addr)
		}
	}
	line("")
	for _, svc := range shop.services {
		line("  %-15s %s/metrics", svc.Name, svc.url())
	}
	line("  configuration   %s", first.config)
	if d.opts.Logger == nil {
		line("  log             %s", filepath.Join(first.dir, logFile))
	}
	line("")
	line("Every %s payment breaks for %s: an alert fires, is notified here, and resolves.", brief(d.opts.BurstEvery), brief(d.opts.BurstFor))
	b.WriteString("Ctrl-C stops everything.\n")
	return b.String()
}

func brief(d time.Duration) string { return model.Duration(d).String() }
