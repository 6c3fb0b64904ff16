package demo

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/config"
)

// TestConfigurationIsFlawless holds the demo to what it shows newcomers.
func TestConfigurationIsFlawless(t *testing.T) {
	s, err := openShop(quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	d, err := New(Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	isles, err := d.cast(t.TempDir(), s)
	if err != nil {
		t.Fatal(err)
	}
	jobs := map[string][]string{}
	for _, i := range isles {
		c := load(t, i)
		for _, sc := range c.Prometheus.ScrapeConfigs {
			jobs[c.Island.Name] = append(jobs[c.Island.Name], sc.JobName)
		}
		if c.HTTP.Listen[0] != i.Addr || c.Mesh.Port != i.MeshPort || c.Mesh.Discovery.MDNS || c.Mesh.Addresses[0] != "127.0.0.1" {
			t.Errorf("%s: http %+v, mesh %+v", i.Name, c.HTTP, c.Mesh)
		}
		// The host's collectors are global: two islands in one process cannot have them.
		if first := c.Island.Name == "demo"; c.Collect.Host.Enabled != first || c.Collect.Cgroup.Enabled != first {
			t.Errorf("%s: host %v, cgroup %v", i.Name, c.Collect.Host.Enabled, c.Collect.Cgroup.Enabled)
		}
	}
	want := map[string][]string{"demo": {"payment", "cart", "frontend"}, "reef": {"frontend"}, "lagoon": {"cart"}}
	if diff := cmp.Diff(want, jobs); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
}

func load(t *testing.T, i isle) *config.Config {
	t.Helper()
	path, err := writeFiles(i, "http://127.0.0.1:1", defaultPace())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if errs := config.Check(path, config.KindAtoll); len(errs) > 0 {
		t.Fatalf("%v in:\n%s", errs, text)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
