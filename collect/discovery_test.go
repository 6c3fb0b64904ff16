package collect

import (
	"slices"
	"strings"
	"testing"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
)

// An existing prometheus.yml works if its discoveries are linked.
func TestLinkedDiscoveries(t *testing.T) {
	want := []string{
		"aws", "azure", "consul", "dns", "docker", "dockerswarm", "ec2", "ecs", "elasticache", "eureka", "file", "gce",
		"hetzner", "http", "ionos", "kubernetes", "lightsail", "marathon", "msk", "nerve", "nomad", "openstack", "ovhcloud",
		"puppetdb", "rds", "scaleway", "serverset", "stackit", "static", "triton", "uyuni", "vultr",
	}
	if got := discovery.RegisteredConfigNames(); !slices.Equal(got, want) {
		t.Errorf("linked are %v\nwant %v", got, want)
	}
}

func TestUnlinkedDiscoveriesAreUnknownUpstream(t *testing.T) {
	for _, key := range UnlinkedDiscoveries() {
		_, err := promconfig.Load("scrape_configs:\n- job_name: x\n  "+key+": [{}]\n", nil)
		if err == nil || !strings.Contains(err.Error(), "field "+key+" not found") {
			t.Errorf("%s: got %v, want the parser's error about an unknown field", key, err)
		}
	}
	if !slices.IsSorted(UnlinkedDiscoveries()) {
		t.Error("the list is not sorted")
	}
}
