package demo

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/portal/dashboard"
)

// TestConfigurationIsFlawless holds the demo to what it shows newcomers.
func TestConfigurationIsFlawless(t *testing.T) {
	for _, near := range []bool{false, true} {
		isles, _ := furnished(t, near)
		jobs := map[string][]string{}
		for n, i := range isles {
			c := load(t, i.config)
			for _, sc := range c.Prometheus.ScrapeConfigs {
				jobs[c.Island.Name] = append(jobs[c.Island.Name], sc.JobName)
			}
			if c.HTTP.Listen[0] != i.Addr || c.Mesh.Port != i.MeshPort || c.Mesh.Discovery.MDNS || c.Mesh.Addresses[0] != loopback {
				t.Errorf("%s: http %+v, mesh %+v", i.Name, c.HTTP, c.Mesh)
			}
			// An island that announced a loopback address would announce its own as well, past
			// the distance.
			if far := len(c.Mesh.Announce) == 1 && strings.HasPrefix(c.Mesh.Announce[0], "localhost:"); far == near {
				t.Errorf("%s: near %v: announces %v", i.Name, near, c.Mesh.Announce)
			}
			if place := c.Probe.Place; place.City != places()[n].City || place.Geohash() == "" || place.ASN == 0 {
				t.Errorf("%s: place %+v", i.Name, place)
			}
			if !c.Collect.Host.Enabled {
				t.Errorf("%s does not measure its host", i.Name)
			}
		}
		want := map[string][]string{"beijing": {"frontend"}, "singapore": {"cart"}, "frankfurt": {"payment"}}
		if diff := cmp.Diff(want, jobs); diff != "" {
			t.Errorf("jobs (-want +got):\n%s", diff)
		}
	}
}

// TestDocumentsAreFlawless reads what islands obey as they read it.
func TestDocumentsAreFlawless(t *testing.T) {
	isles, s := furnished(t, false)
	values := s.scene(isles, defaultPace())
	values.Ping = true
	papers, err := documents(values)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, d := range papers {
		seen[d.key] = d.text
		kind, _, _ := strings.Cut(d.key, "/")
		switch kind {
		case config.SharedRules, config.SharedAggregate, config.SharedProbe:
			if _, err := config.ReadShared(kind, d.key, []byte(d.text)); err != nil {
				t.Errorf("%s: %v in:\n%s", d.key, err, d.text)
			}
		case dashboard.Kind:
			if err := dashboard.Check([]byte(d.text)); err != nil {
				t.Errorf("%s: %v in:\n%s", d.key, err, d.text)
			}
		}
	}
	for key, want := range map[string]string{
		"probe/shop":       "Once in a while Frankfurt am Main does not get there",
		"probe/ping":       "127.0.0.1",
		"probe/islands":    "http://" + isles[2].Addr + "/-/healthy",
		"globalrules/shop": "{{ $value | humanizePercentage }}",
		"rules/host":       "{{ $labels.instance }}",
		"dashboard/shop":   `"legend": "{{service}}"`,
	} {
		if !strings.Contains(seen[key], want) {
			t.Errorf("%s has no %q:\n%s", key, want, seen[key])
		}
	}
}

func furnished(t *testing.T, near bool) ([]isle, *scenery) {
	t.Helper()
	d, err := New(Options{Listen: anyPort, NoDistance: near, Out: &terminal{}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := d.openScenery(dir, newScreen(&terminal{}), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	isles, err := d.cast(dir, s.shop)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.furnish(isles, d.opts.pace); err != nil {
		t.Fatal(err)
	}
	return isles, s
}

func load(t *testing.T, path string) *config.Config {
	t.Helper()
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
