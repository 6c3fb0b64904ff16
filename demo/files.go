package demo

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/prometheus/common/model"
)

//go:embed files
var files embed.FS

// writeFiles writes an island's atoll.yaml and the modules of its probes to its directory
// and returns the path of the former.
func writeFiles(i isle, inbox, authority string, p pace) (string, error) {
	values := struct {
		isle
		Inbox, Authority, ShopName string
		Pace                       map[string]string
		DataDir, Modules           string
	}{i, inbox, authority, shopName, p.texts(), i.data(), filepath.Join(i.dir, "modules.yaml")}
	if err := os.MkdirAll(i.dir, 0o750); err != nil {
		return "", fmt.Errorf("make the directory of %s: %w", i.Name, err)
	}
	for _, name := range []string{"modules.yaml", "atoll.yaml"} {
		text, err := render(name+".tmpl", values)
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
	t, err := template.New(path.Base(name)).Option("missingkey=error").
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
		"Host": text(p.Host), "Probe": text(p.Probe), "Aggregate": text(p.Aggregate),
		"GroupWait": text(p.GroupWait), "GroupInterval": text(p.GroupInterval),
	}
}

// welcome says where to look.
func (d *Demo) welcome(st stage) string {
	first, others := st.isles[0], st.isles[1:]
	url := "http://" + first.Addr
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("")
	line("  Look at it      %s/", url)
	for _, i := range others {
		line("  %-15s http://%s/", i.Name, i.Addr)
	}
	if code, err := os.ReadFile(filepath.Join(first.data(), "run", "setup-code")); err == nil {
		line("  The first user  is made with the code %s", printable(strings.TrimSpace(string(code))))
	}
	line("")
	line("  The alert       %s/alerts", url)
	line("  The errors      %s/explore?expr=service:shop_errors:ratio&range=15m", url)
	if len(others) > 0 {
		line("  The islands     %s/islands", url)
	}
	line("")
	line("  Ask all         atoll query --url %s --scope all --receipt 'sum by (service) (rate(shop_http_requests_total[1m]))'", url)
	line("  Ask one         curl '%s/api/v1/query?query=service:shop_requests:rate'", url)
	line("                  promtool query instant %s 'topk(5, rate(shop_http_requests_total[1m]))'", url)
	if len(others) > 0 {
		line("  The distances   atoll peers --data-dir %s", first.data())
		line("  From all cities atoll probe --url %s --type site %s/", url, st.scenery.shop.entrance().url())
	}
	line("")
	for _, svc := range st.scenery.shop.services {
		line("  %-15s %s/metrics", svc.Name, svc.url())
	}
	line("  configuration   %s", first.config)
	if d.opts.Logger == nil {
		line("  logs            %s, %s", filepath.Join(filepath.Dir(first.dir), logFile), filepath.Join(first.dir, islandLog))
	}
	line("")
	line("Every %s payment breaks for %s: an alert fires, is notified here, and resolves.", brief(d.opts.BurstEvery), brief(d.opts.BurstFor))
	if len(others) > 0 {
		line("Every %s %s does not reach the shop for %s, and the others do.", brief(d.opts.BurstEvery*3/2), others[len(others)-1].Name, brief(d.opts.BurstFor))
	}
	line("Here since %.1f s. Ctrl-C stops everything.", time.Since(st.began).Seconds())
	return b.String()
}

func brief(d time.Duration) string { return model.Duration(d).String() }
