package rpc

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience asks at intervals: an urgent connection that is always closed too soon
// is kept, any other is not, and one that nobody needs any more is closed.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		idle := time.Duration(Default().Idle)
		dials := func(name string, n int, every time.Duration) float64 {
			t.Helper()
			before := metric(t, i.reg, "atoll_mesh_rpc_dials_total")
			for range n {
				if _, err := i.call(t.Context(), name, ""); err != nil {
					t.Fatal(err)
				}
				time.Sleep(every)
			}
			return metric(t, i.reg, "atoll_mesh_rpc_dials_total") - before
		}
		if n := dials("Urgent", 20, 2*idle); n != 2 {
			t.Errorf("urgent calls every %s make %v connections, want a second one that is kept", 2*idle, n)
		}
		if n := dials("Urgent", 20, 6*idle); n != 1 {
			t.Errorf("urgent calls every %s then make %v connections, want one that is kept for longer", 6*idle, n)
		}
		if n := dials("Normal", 5, 2*idle); n != 5 {
			t.Errorf("normal calls every %s make %v connections, want 5", 2*idle, n)
		}
		time.Sleep((keptLonger + 1) * idle)
		synctest.Wait()
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 0 {
			t.Errorf("%v connections after all calls have ended", n)
		}
		if n := dials("Urgent", 3, (keptLonger+2)*idle); n != 3 {
			t.Errorf("urgent calls every %s make %v connections, want 3", (keptLonger+2)*idle, n)
		}
		if n := dials("Urgent", 1, 2*idle); n != 1 {
			t.Errorf("a call after that made %v connections, want 1", n)
		}
		synctest.Wait()
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 0 {
			t.Errorf("one that was not missed is kept: %v connections", n)
		}
	})
}
