package scale

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"time"
)

func (r *run) debug(stop chan struct{}) {
	begun := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-time.After(3 * time.Second):
		}
		sum := map[string]float64{}
		low := 0
		for _, i := range r.isles {
			if i.mesh.Load() == nil || i.reg == nil {
				continue
			}
			if len(i.Connected()) < 4 {
				low++
			}
			fs, _ := i.reg.Gather()
			for _, f := range fs {
				n := f.GetName()
				if !strings.Contains(n, "dht") && !strings.Contains(n, "dials") && !strings.Contains(n, "neigh") && !strings.Contains(n, "surplus") && !strings.Contains(n, "hellos") && !strings.Contains(n, "refused") && !strings.Contains(n, "dead") && !strings.Contains(n, "probes") {
					continue
				}
				for _, m := range f.GetMetric() {
					k := strings.TrimPrefix(n, "atoll_mesh_")
					for _, l := range m.GetLabel() {
						k += "," + l.GetValue()
					}
					sum[k] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		var out []string
		for k, v := range sum {
			if v != 0 {
				out = append(out, fmt.Sprintf("%s=%.0f", k, v))
			}
		}
		sort.Strings(out)
		fmt.Fprintf(os.Stderr, "%.0fs low=%d est=%d %s\n", time.Since(begun).Seconds(), low, established(r.t), strings.Join(out, " "))
		if low > 0 && low < 8 {
			for _, i := range r.isles {
				if i.mesh.Load() != nil && len(i.Connected()) < 4 {
					for _, p := range i.mesh.Load().Peers() {
						if p.State != "idle" {
							fmt.Fprintf(os.Stderr, "   %s: %s %s %s\n", name(i.number), p.Name, p.State, p.LastError)
						}
					}
				}
			}
		}
	}
}
