package mesh

import "testing"

// TestDoubleConnection has both islands make one connection more: one of all stays,
// and they stay in reach.
func TestDoubleConnection(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	a, b := w.island("anegada"), w.island("bonaire")
	w.connect(b, a)
	for _, way := range [][2]*island{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		if err := from.transports.Inject(t.Context(), to.addrsOver("tcp")[0], to.host.ID()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "there are several connections", func() bool {
		return len(a.swarm.ConnsToPeer(b.host.ID())) > 1 && len(b.swarm.ConnsToPeer(a.host.ID())) > 1
	})
	eventually(t, "one is left", func() bool {
		return len(a.swarm.ConnsToPeer(b.host.ID())) == 1 && len(b.swarm.ConnsToPeer(a.host.ID())) == 1
	})
	if !a.inReach(b) || !b.inReach(a) {
		t.Error("they are not in each other's reach any more")
	}
}
