package collect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

func TestReloadAddsAndRemovesJobs(t *testing.T) {
	one, two := target(t, "m 1\n"), target(t, "m 2\n")
	o, rec, reg := options(t, doc(staticJob("one", one)))
	f := start(t, o, rec, reg)
	eventually(t, "the first job is up", func() bool { return f.rec.up("one") })

	cfg := o.Config
	cfg.Self.Enabled = true
	commit, _, err := f.Prepare(cfg, load(t, doc(staticJob("two", two))))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.ScrapeManager().ScrapePools(); len(got) != 1 || got[0] != "one" {
		t.Errorf("Prepare alone changed the pools to %v", got)
	}
	commit()
	eventually(t, "the second job and the built-in one are up", func() bool { return f.rec.up("two") && f.rec.up(jobSelf) })
	// Upstream writes no staleness markers when a whole job goes.
	if got := f.ScrapeManager().TargetsActive()["one"]; len(got) != 0 {
		t.Errorf("the first job still has targets %v", got)
	}
}

func TestDiscardChangesNothing(t *testing.T) {
	o, rec, reg := options(t, doc(staticJob("one", target(t, "m 1\n"))))
	f := start(t, o, rec, reg)
	eventually(t, "the job is up", func() bool { return f.rec.up("one") })
	_, discard, err := f.Prepare(o.Config, load(t, doc(staticJob("two", "127.0.0.1:1")+"  http_sd_configs: [{url: 'http://127.0.0.1:1/'}]\n")))
	if err != nil {
		t.Fatal(err)
	}
	if !mentions(t, f, "two") {
		t.Error("the discovery was not tried")
	}
	discard()
	if mentions(t, f, "two") {
		t.Error("metrics of the discarded job are left")
	}
	if got := f.ScrapeManager().ScrapePools(); len(got) != 1 || got[0] != "one" {
		t.Errorf("pools are %v after discard, want one", got)
	}
}

// mentions tells whether any metric has the value in a label.
func mentions(t *testing.T, f *fixture, value string) bool {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range families {
		for _, m := range mf.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == value {
					return true
				}
			}
		}
	}
	return false
}

func TestReloadIsRefusedAndTheOldKeepsRunning(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	brokenMore := write(t, filepath.Join(dir, "broken.yml"), "scrape_configs: [{job_name: x, no_such_field: 1}]")
	job := staticJob("next", "127.0.0.1:1")
	good := doc(staticJob("one", target(t, "m 1\n")))
	o, rec, reg := options(t, good)
	f := start(t, o, rec, reg)
	eventually(t, "the job is up", func() bool { return f.rec.up("one") })

	for name, c := range map[string]struct{ doc, want string }{
		"ca file":          {doc(job + fmt.Sprintf("  scheme: https\n  tls_config: {ca_file: %q}\n", missing)), missing},
		"password file":    {doc(job + fmt.Sprintf("  basic_auth: {username: u, password_file: %q}\n", missing)), "basic_auth.password_file"},
		"failure log":      {doc(job + fmt.Sprintf("  scrape_failure_log_file: %q\n", filepath.Join(missing, "log"))), "scrape_failure_log_file"},
		"config file":      {fmt.Sprintf("scrape_config_files: [%q]\n", brokenMore), "no_such_field"},
		"discovery's file": {doc(fmt.Sprintf("- job_name: next\n  consul_sd_configs: [{server: 'x:1', tls_config: {ca_file: %q}}]\n", missing)), "consul discovery"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := f.Prepare(o.Config, load(t, c.doc))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Prepare returned %v, want an error with %q", err, c.want)
			}
			if got := f.ScrapeManager().ScrapePools(); len(got) != 1 || got[0] != "one" {
				t.Errorf("pools are %v, want the old one", got)
			}
			eventually(t, "the old job is still up", func() bool { return f.rec.up("one") })
		})
	}
	t.Run("host paths", func(t *testing.T) {
		// The first configuration fixes the paths of the process.
		cfg := o.Config
		cfg.Host.Enabled = true
		commit, _, err := f.Prepare(cfg, load(t, good))
		if err != nil {
			t.Fatal(err)
		}
		commit()
		cfg.Host.Paths.Procfs = "/other/proc"
		_, _, err = f.Prepare(cfg, load(t, good))
		if err == nil || !strings.Contains(err.Error(), "/other/proc") || !strings.Contains(err.Error(), "--path.procfs=/proc") {
			t.Errorf("Prepare returned %v, want an error with the old path and the new", err)
		}
	})
}

func TestFaultyJobDoesNotStopTheOthers(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "ca.pem")
	faulty := fmt.Sprintf("- job_name: faulty\n  scheme: https\n  tls_config: {ca_file: %q}\n  static_configs: [{targets: ['127.0.0.1:1']}]\n", missing)
	good := staticJob("good", target(t, "m 1\n"))
	o, rec, reg := options(t, doc(faulty+good))
	f := start(t, o, rec, reg)
	eventually(t, "the good job is up", func() bool { return f.rec.up("good") })
	if text := f.warning("collect-job-faulty"); !strings.Contains(text, missing) || !strings.Contains(text, `"faulty"`) {
		t.Errorf("the warning says %q, want the job and the file", text)
	}

	// What was wrong before is no reason to refuse something else.
	commit, _, err := f.Prepare(o.Config, load(t, doc(faulty+good+staticJob("third", target(t, "m 1\n")))))
	if err != nil {
		t.Fatalf("the reload was refused for a known fault: %v", err)
	}
	commit()
	eventually(t, "the third job is up", func() bool { return f.rec.up("third") })

	commit, _, err = f.Prepare(o.Config, load(t, doc(good)))
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if text := f.warning("collect-job-faulty"); text != "" {
		t.Errorf("the warning is still %q", text)
	}
}

func TestKubernetesDiscoveryOutsideACluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	own := doc("- job_name: pods\n  kubernetes_sd_configs: [{role: pod}]\n" + staticJob("good", target(t, "m 1\n")))
	o, rec, reg := options(t, own)
	f := start(t, o, rec, reg)
	eventually(t, "the other job is up", func() bool { return f.rec.up("good") })
	if text := f.warning("collect-job-faulty"); !strings.Contains(text, "kubernetes discovery") {
		t.Errorf("the warning says %q, want the discovery that cannot be made", text)
	}
	if _, _, err := f.Prepare(o.Config, load(t, own)); err != nil {
		t.Errorf("a reload of the same document is refused: %v", err)
	}
}

func TestHostTimeoutLeavesTimeForTheScrape(t *testing.T) {
	c := Default().Host
	for _, want := range []struct{ interval, scrapeTimeout, timeout string }{
		{"0s", "10s", "5s"}, {"0s", "5s", "4s"}, {"1s", "10s", "800ms"},
	} {
		cfg := load(t, "global: {scrape_interval: 15s, scrape_timeout: "+want.scrapeTimeout+"}")
		c.Interval, _ = model.ParseDuration(want.interval)
		if got := hostConfig(c, cfg.GlobalConfig).Timeout.String(); got != want.timeout {
			t.Errorf("%+v: timeout is %s", want, got)
		}
	}
}

func TestCommitReportsWhatFailsAfterAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o, rec, reg := options(t, doc(staticJob("one", target(t, "m 1\n"))))
	f := start(t, o, rec, reg)
	eventually(t, "the job is up", func() bool { return f.rec.up("one") })
	next := doc(staticJob("one", target(t, "m 1\n")) + fmt.Sprintf("  scrape_failure_log_file: %q\n", filepath.Join(dir, "failures")))
	commit, _, err := f.Prepare(o.Config, load(t, next))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	commit()
	if got := f.warning("collect-reload-incomplete"); !strings.Contains(got, "failures") {
		t.Errorf("the warning says %q, want the file that vanished", got)
	}
}

func TestValidateNamesEveryMistake(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	c.Host.Interval = model.Duration(5e6)
	c.Host.Collectors = []string{"cpu", "nonsense"}
	c.Host.Paths.Sysfs = "sys"
	c.Host.Flags = []string{"--collector.textfile.directory=/x", "--path.procfs=/y", "--collector.cpu"}
	c.Host.Timeout = 0
	c.Cgroup.Root = ""
	c.Cgroup.MaxGroups = 0
	c.Cgroup.MaxDepth = 99
	c.Cgroup.Exclude = "("
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"host.interval: got 5ms", `host.collectors: got "nonsense"`, `host.paths.sysfs: got "sys"`, "host.timeout: got 0s",
		`host.flags: got "--path.procfs=/y"`, `host.flags: got "--collector.cpu"`,
		`cgroup.root: got ""`, "cgroup.max_groups: got 0", "cgroup.max_depth: got 99", `cgroup.exclude: got "("`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "textfile") {
		t.Errorf("a good flag is refused: %v", err)
	}
}
