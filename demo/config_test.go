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
	path, err := writeFiles(t.TempDir(), site{Addr: "127.0.0.1:59080", Services: s.services, Inbox: "http://127.0.0.1:1", Pace: defaultPace()})
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
	var jobs []string
	for _, sc := range c.Prometheus.ScrapeConfigs {
		jobs = append(jobs, sc.JobName)
	}
	if diff := cmp.Diff([]string{"payment", "cart", "frontend"}, jobs); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	if c.Island.Name != "demo" || c.HTTP.Listen[0] != "127.0.0.1:59080" {
		t.Errorf("island %+v, http %+v", c.Island, c.HTTP)
	}
}
