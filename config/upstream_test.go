package config

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	amconfig "github.com/prometheus/alertmanager/config"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/atoll-mesh/atoll/alert"
)

// moduleDir is where the go command keeps a dependency. Its test files are read
// in place: nothing of them is copied here.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

func corpus(t *testing.T, module string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(moduleDir(t, module), "config", "testdata", "*.yml"))
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d files of %s (%v): the test would show nothing", len(files), module, err)
	}
	return files
}

// TestPrometheusCorpus holds us to upstream's judgement on each of its own test
// files, and to saying where the trouble is.
func TestPrometheusCorpus(t *testing.T) {
	accepted, refused := 0, 0
	for _, file := range corpus(t, "github.com/prometheus/prometheus") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cfg, upstream := promconfig.LoadFile(file, false, quiet())
			if upstream == nil {
				_, upstream = cfg.GetScrapeConfigs()
			}
			ours, err := LoadPrometheus(file)
			if strings.HasSuffix(file, ".good.yml") && err != nil && !notBuiltIn(upstream) {
				t.Errorf("a good file is refused:\n%v", err)
			}
			if upstream == nil && err != nil {
				t.Errorf("upstream accepts it, we say:\n%v", err)
			}
			if upstream != nil && err == nil {
				t.Errorf("upstream says %v, we accept it", upstream)
			}
			if err == nil {
				accepted++
				if diff := cmp.Diff(cfg.String(), ours.Prometheus.String()); diff != "" {
					t.Errorf("it means something else here (-upstream +ours):\n%s", diff)
				}
				return
			}
			refused++
			errs, _ := errors.AsType[Errors](err)
			for _, e := range errs {
				if e.Line < 1 || e.Column < 1 {
					t.Errorf("no position: %v", e)
				}
			}
			if lines := strings.Split(err.Error(), "\n"); len(slices.Compact(lines)) != len(errs) {
				t.Errorf("something is said twice:\n%v", err)
			}
		})
	}
	if accepted < 50 || refused < 100 {
		t.Errorf("accepted %d, refused %d: is this the corpus?", accepted, refused)
	}
}

// notBuiltIn tells the one reason to refuse a good file: it uses a service
// discovery that package collect does not link, for the binary's size.
func notBuiltIn(upstream error) bool {
	return upstream != nil && strings.Contains(upstream.Error(), "_sd_configs not found in type")
}

func TestAlertmanagerCorpus(t *testing.T) {
	alert.DefaultAlertmanager()
	for _, file := range corpus(t, "github.com/prometheus/alertmanager") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			theirs, upstream := amconfig.Load(string(content))
			l := &loader{}
			src, root := l.open(file)
			cfg := l.alertmanager(src, root)
			if (upstream == nil) != (cfg != nil) {
				t.Errorf("upstream says %v, we say %v", upstream, l.errs)
			}
			if cfg != nil && theirs != nil {
				if diff := cmp.Diff(theirs.String(), cfg.String()); diff != "" {
					t.Errorf("it means something else here (-upstream +ours):\n%s", diff)
				}
			}
			if cfg == nil && len(l.errs.Fatal()) == 0 {
				t.Error("refused without a word")
			}
			for _, e := range l.errs {
				if e.Line < 1 || e.Column < 1 {
					t.Errorf("no position: %v", e)
				}
			}
		})
	}
}
