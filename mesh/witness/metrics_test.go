package witness

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

// TestSeenFromOutside: two islands of one process each have their metrics and
// warnings, and a cut shows in both.
func TestSeenFromOutside(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		regs, lists := map[int]*prometheus.Registry{}, map[int]*health.List{}
		s.start(func(o *Options) {
			n := s.byKey[o.Self].n
			regs[n], lists[n] = prometheus.NewRegistry(), health.New(nil)
			o.Registerer, o.Health = regs[n], lists[n]
		})
		defer s.stopAll()
		s.set(func() { s.cut = func(a, b int) bool { return (a == 4) != (b == 4) } })
		time.Sleep(3 * time.Minute)
		if a := lists[4].Active(); len(a) != 1 || a[0].Code != "mesh-cut-off" {
			t.Errorf("warnings of the cut island: %+v", a)
		}
		if a := lists[0].Active(); len(a) > 0 {
			t.Errorf("warnings of another: %+v", a)
		}
		for n, want := range map[int]float64{0: 0, 4: 1} {
			if got := gauge(t, regs[n], "atoll_mesh_witness_cut_off"); got != want {
				t.Errorf("island %d: cut_off %v, want %v", n, got, want)
			}
		}
		s.set(func() { s.cut = func(int, int) bool { return false } })
		time.Sleep(time.Minute)
		if a := lists[4].Active(); len(a) > 0 {
			t.Errorf("warnings when it is back: %+v", a)
		}
	})
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "atoll_mesh_witness_") {
			t.Errorf("metric %s", f.GetName())
		}
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
