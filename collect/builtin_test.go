package collect

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/collect/cgroup"
)

func allBuiltins(o *Options) {
	o.Config.Self.Enabled, o.Config.Host.Enabled, o.Config.Cgroup.Enabled = true, true, true
	// Measuring a busy machine takes longer than the other tests' timeouts.
	o.Prometheus.GlobalConfig.ScrapeInterval = model.Duration(2 * time.Second)
	o.Prometheus.GlobalConfig.ScrapeTimeout = model.Duration(2 * time.Second)
}

func TestBuiltinJobs(t *testing.T) {
	o, rec, reg := options(t, doc(""))
	allBuiltins(&o)
	jobs := map[string]string{jobSelf: "go_goroutines", jobHost: "node_cpu_seconds_total"}
	if cgroup.Readable(o.Config.Cgroup.Root) {
		jobs[jobCgroup] = "container_start_time_seconds"
	} else {
		t.Logf("no control groups at %s: that job is not looked at", o.Config.Cgroup.Root)
	}
	f := start(t, o, rec, reg)
	for job, metric := range jobs {
		eventually(t, job+" is up", func() bool { return f.rec.up(job) })
		found := f.rec.find(metric+`"`, `instance="reef-1"`, `job="`+job+`"`)
		if len(found) == 0 {
			t.Errorf("job %q gave no %s with the island's instance label", job, metric)
		}
	}
	for series := range f.rec.find("__unix_socket__") {
		t.Errorf("the socket's name leaked into %s", series)
	}
	pools := f.ScrapeManager().ScrapePools()
	slices.Sort(pools)
	if want := slices.Sorted(maps.Keys(jobs)); !slices.Equal(pools, want) {
		t.Errorf("scrape pools are %v, want %v", pools, want)
	}
}

func TestUsersJobReplacesTheBuiltinOne(t *testing.T) {
	o, rec, reg := options(t, doc(staticJob("node", target(t, "my_own_exporter 1\n"))))
	allBuiltins(&o)
	f := start(t, o, rec, reg)
	eventually(t, "the user's job is up", func() bool { return len(f.rec.find("my_own_exporter")) == 1 })
	eventually(t, "the other built-in jobs are up", func() bool { return f.rec.up(jobSelf) })
	if got := f.rec.find("node_cpu_seconds_total"); len(got) != 0 {
		t.Errorf("the built-in job was scraped too: %d series", len(got))
	}
	if got := f.warning("collect-builtin-replaced"); got != "node" {
		t.Errorf("the warning says %q, want node", got)
	}
}

func TestGlobalLimitsDoNotApplyToBuiltinJobs(t *testing.T) {
	o, rec, reg := options(t, strings.Replace(doc(staticJob("user", target(t, "a 1\nb 1\n"))), "global:\n", "global:\n  sample_limit: 1\n", 1))
	o.Config.Self.Enabled = true
	f := start(t, o, rec, reg)
	eventually(t, "the island scrapes itself", func() bool { return f.rec.up(jobSelf) })
	eventually(t, "the user's target is over the user's limit", func() bool { return f.warning("collect-sample-limit") != "" })
}

func TestTwoIslandsInOneProcess(t *testing.T) {
	var both []*fixture
	for range 2 {
		o, rec, reg := options(t, doc(""))
		allBuiltins(&o)
		both = append(both, start(t, o, rec, reg))
	}
	for _, f := range both {
		eventually(t, "each island measures the host", func() bool { return f.rec.up(jobHost) && len(f.rec.find(`"node_load1"`)) == 1 })
		eventually(t, "each island measures itself", func() bool { return f.rec.up(jobSelf) })
	}
}

func TestWithoutASocketTheOtherJobsGoOn(t *testing.T) {
	o, rec, reg := options(t, doc(staticJob("user", target(t, "m 1\n"))))
	o.Config.Self.Enabled = true
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.builtins.socket = filepath.Join(t.TempDir(), "missing", "s")
	f := run(t, c, o, rec, reg)
	eventually(t, "the user's job is up", func() bool { return f.rec.up("user") })
	if got := f.warning("collect-builtin-unreachable"); !strings.Contains(got, "missing") {
		t.Errorf("the warning says %q, want the socket", got)
	}
}

// A stop must not be recorded as an outage.
func TestStoppingDoesNotMarkBuiltinJobsDown(t *testing.T) {
	o, rec, reg := options(t, doc(""))
	allBuiltins(&o)
	o.Config.Host.Enabled, o.Config.Cgroup.Enabled = false, false
	f := start(t, o, rec, reg)
	eventually(t, "the island scrapes itself", func() bool { return f.rec.up(jobSelf) })
	f.stop()
	for series, v := range f.rec.find(`"up"`) {
		if v != 1 {
			t.Errorf("%s is %v after the stop", series, v)
		}
	}
}
