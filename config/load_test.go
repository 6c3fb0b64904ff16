package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow"
)

// write puts a file into a fresh directory, with its neighbours if any.
func write(t *testing.T, content string, others ...string) (file string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "atoll.yaml")
	for i := 0; i+1 < len(others); i += 2 {
		path := filepath.Join(dir, others[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(others[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func mustLoad(t *testing.T, file string) *Config {
	t.Helper()
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefault(t *testing.T) {
	c := Default()
	if got := c.HTTP.Listen; !slices.Equal(got, []string{"127.0.0.1:59080"}) {
		t.Errorf("listens on %v", got)
	}
	if got := c.Prometheus.GlobalConfig.ExternalLabels.Get(IslandLabel); got != c.Island.Name || got == "" {
		t.Errorf("external label island=%q, island is called %q", got, c.Island.Name)
	}
	if jobs, err := c.Prometheus.GetScrapeConfigs(); err != nil || len(jobs) != 0 {
		t.Errorf("scrape configs: %v, %v", jobs, err)
	}
	if !c.Collect.Host.Enabled || !c.Collect.Self.Enabled {
		t.Error("measures neither its host nor itself")
	}
	for _, s := range c.sections() {
		if err := s.validate(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	if len(c.Files()) != 0 || c.Path != "" {
		t.Errorf("read %v, path %q", c.Files(), c.Path)
	}
}

func TestEffectiveDocument(t *testing.T) {
	t.Setenv("ATOLL_TEST_REGION", "eu")
	file := write(t, `
island:
  name: berlin
  labels: {vendor: "a$b${HOME}"}
prometheus: prom/prometheus.yml
`, "prom/prometheus.yml", `
global:
  scrape_interval: 7s
  external_labels: {region: "${ATOLL_TEST_REGION}", price: "5$$"}
scrape_configs:
  - job_name: api
    file_sd_configs: [{files: [api.json]}]
scrape_config_files: [more.yml]
rule_files: [rules/*.yml]
`, "prom/more.yml", `scrape_configs: [{job_name: more}]`)
	c := mustLoad(t, file)
	want := labels.FromStrings("island", "berlin", "price", "5$", "region", "eu", "vendor", "a$b${HOME}")
	if got := c.Prometheus.GlobalConfig.ExternalLabels; !labels.Equal(got, want) {
		t.Errorf("external labels %v, want %v", got, want)
	}
	jobs, err := c.Prometheus.GetScrapeConfigs()
	if err != nil || len(jobs) != 2 || jobs[0].JobName != "api" || jobs[1].JobName != "more" {
		t.Fatalf("scrape configs: %v, %v", jobs, err)
	}
	if got := time.Duration(jobs[1].ScrapeInterval); got != 7*time.Second {
		t.Errorf("the job of another file has interval %v, not the global one", got)
	}
	if got, want := c.Prometheus.RuleFiles[0], filepath.Join(filepath.Dir(file), "prom", "rules", "*.yml"); got != want {
		t.Errorf("rule file %q, want %q", got, want)
	}
	if !strings.Contains(c.Warnings.Error(), "matches no file") {
		t.Errorf("warnings %v do not tell that no rule file matches", c.Warnings)
	}
}

func TestLoadPrometheus(t *testing.T) {
	c, err := LoadPrometheus(filepath.Join("testdata", "prometheus.good.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Prometheus.GlobalConfig.ExternalLabels, labels.FromStrings("price", "5$", "region", "eu"); !labels.Equal(got, want) {
		t.Errorf("external labels %v, want %v: series sent elsewhere would change", got, want)
	}
	want := Default().Store
	want.OutOfOrderWindow = model.Duration(30 * time.Minute)
	want.Retention.Time = model.Duration(90 * 24 * time.Hour)
	want.Retention.Size = 20 << 30
	want.MaxExemplars = 500
	if diff := cmp.Diff(want, c.Store); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
	if len(c.Warnings) == 0 {
		t.Error("nothing is said about settings without effect")
	}

	file := write(t, `global: {external_labels: {island: hamburg}, query_max_series: 7}`)
	c, err = LoadPrometheus(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Island.Name != "hamburg" || c.Query.MaxSeries != 7 || c.Path != file {
		t.Errorf("island %q, max_series %d, path %q", c.Island.Name, c.Query.MaxSeries, c.Path)
	}
}

func TestStoragePrecedence(t *testing.T) {
	c := mustLoad(t, filepath.Join("testdata", "storage_both.good.yml"))
	if got := time.Duration(c.Store.Retention.Time); got != 30*24*time.Hour {
		t.Errorf("retention time %v: atoll.yaml must win", got)
	}
	if got := c.Store.Retention.Size; got != 20<<30 {
		t.Errorf("retention size %v: what atoll.yaml leaves open comes from the document", got)
	}
	c = mustLoad(t, write(t, "store: {retention: {size: 5GB}}\nbudget: {disk: {max: 2GB}}"))
	if got := c.Store.Retention.Size; got != flow.Bytes(2<<30) {
		t.Errorf("retention size %v: the smaller bound must win", got)
	}
}

func TestPathsAndFiles(t *testing.T) {
	c := mustLoad(t, filepath.Join("testdata", "files.good.yml"))
	abs, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct{ name, got, want string }{
		{"island.data_dir", c.Island.DataDir, "testdata/state"},
		{"store.path", c.Store.Path, "testdata/state/tsdb"},
		{"query.log_file", c.Query.LogFile, "testdata/query.log"},
		{"templates", c.Alertmanager.Templates[0], abs + "/parts/good-*.tmpl"},
		{"url_file", c.Alertmanager.Receivers[0].WebhookConfigs[0].URLFile, abs + "/parts/webhook.url"},
	} {
		if p.got != filepath.FromSlash(p.want) {
			t.Errorf("%s is %q, want %q", p.name, p.got, p.want)
		}
	}
	want := []string{
		"testdata/files.good.yml",
		"testdata/parts",
		"testdata/parts/good-jobs-shop.yml",
		"testdata/parts/good-shop.tmpl",
		"testdata/parts/good.alertmanager.yml",
		"testdata/parts/good.rules.yml",
		"testdata/prometheus.good.yml",
	}
	got := c.Files()
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLoadMissing(t *testing.T) {
	for name, load := range map[string]func(string) (*Config, error){"Load": Load, "LoadPrometheus": LoadPrometheus} {
		c, err := load("no-such-file.yml")
		if c != nil || err == nil || err.Error() != "no-such-file.yml: read: no such file or directory" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if _, ok := errors.AsType[Errors](err); !ok {
			t.Errorf("%s: error is a %T", name, err)
		}
	}
}

func TestOverride(t *testing.T) {
	c := mustLoad(t, write(t, "log: {level: warn}"))
	err := c.Override(Overrides{DataDir: "elsewhere", Listen: []string{"127.0.0.1:0"}, LogFormat: "json", Pprof: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.Island.DataDir != "elsewhere" || c.Store.Path != filepath.Join("elsewhere", "tsdb") || !c.HTTP.Pprof ||
		c.HTTP.Listen[0] != "127.0.0.1:0" || c.Log != (Log{Level: "warn", Format: "json"}) {
		t.Errorf("got %+v, store in %q, http %+v, log %+v", c.Island, c.Store.Path, c.HTTP, c.Log)
	}
	if err := c.Override(Overrides{Listen: []string{"nowhere"}}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a useless address gives %v", err)
	}
	file := write(t, "store: {path: there}")
	c = mustLoad(t, file)
	if err := c.Override(Overrides{DataDir: "elsewhere"}); err != nil || c.Store.Path != filepath.Join(filepath.Dir(file), "there") {
		t.Errorf("store.path was written, and is %q now (%v)", c.Store.Path, err)
	}
}

func TestDetect(t *testing.T) {
	for content, want := range map[string]Kind{
		"":                                       KindAtoll,
		"[":                                      KindAtoll,
		"island: {}\nprometheus: {}":             KindAtoll,
		"global: {}\nscrape_configs: []":         KindPrometheus,
		"global: {}\nroute: {}\nreceivers: []":   KindAlertmanager,
		"groups: []":                             KindRules,
		"basic_auth_users: {}":                   KindWeb,
		"rule_files: []":                         KindPrometheus,
		"route: {receiver: x}\ninhibit_rule: []": KindAlertmanager,
	} {
		if got := Detect([]byte(content)); got != want {
			t.Errorf("%q is taken for %s, want %s", content, got, want)
		}
	}
	if errs := Check("no-such-file.yml", KindAuto); len(errs.Fatal()) != 1 {
		t.Errorf("a missing file gives %v", errs)
	}
	if errs := Check(write(t, ""), "novel"); !strings.Contains(errs.Error(), "prometheus, rules, alertmanager, web") {
		t.Errorf("an unknown kind gives %v", errs)
	}
}

// TestManyErrors has a mistake in every job: none may hide another, and the work
// must not grow with their square.
func TestManyErrors(t *testing.T) {
	const jobs = 1500
	var b strings.Builder
	b.WriteString("scrape_configs:\n")
	for i := range jobs {
		fmt.Fprintf(&b, "  - job_name: job%d\n    scrape_timeout: %dh\n    scrape_interval: 30s\n", i, i+1)
	}
	errs := Check(write(t, b.String()), KindPrometheus)
	if len(errs) != jobs {
		t.Fatalf("%d errors, want %d; the first: %v", len(errs), jobs, errs[0])
	}
	for i, e := range errs {
		if want := 3 + 3*i; e.Line != want || e.Column != 21 {
			t.Fatalf("error %d is at %d:%d, want %d:21: %v", i, e.Line, e.Column, want, e)
		}
	}
}

// TestSecretsStaySecret looks through every expected text for the passwords that
// the files hold.
func TestSecretsStaySecret(t *testing.T) {
	for _, file := range testdata(t, "*.txt", 60) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("%s shows a password:\n%s", file, text)
		}
	}
}

func TestReferredFilesAreRegular(t *testing.T) {
	errs := Check(write(t, "prometheus: /dev/zero\nalert: {alertmanager: ../}"), KindAtoll)
	for _, want := range []string{`"/dev/zero": is not a regular file`, "is a directory"} {
		if !strings.Contains(errs.Error(), want) {
			t.Errorf("%v\nlacks %s", errs, want)
		}
	}
}
