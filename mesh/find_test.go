package mesh

import "testing"

// TestFoundThroughAMember: in a network where nobody is public there is no DHT;
// who is connected says where the others are.
func TestFoundThroughAMember(t *testing.T) {
	w := newWorld(t)
	w.admit("a", "b", "c")
	a := w.island("a")
	w.all = nil // b and c are introduced to a alone
	b, c := w.run(w.prepare("b", nil)), w.prepare("c", nil)
	w.all = nil
	w.run(c)
	introduce(b, a)
	introduce(c, a)
	w.connect(b, a)
	w.connect(c, a)
	eventually(t, "b and c find each other", func() bool { return b.Connect(t.Context(), c.key()) == nil && b.inReach(c) })
	if n := b.metric(t, "atoll_mesh_found_total", "source", "member"); n == 0 {
		if n = c.metric(t, "atoll_mesh_found_total", "source", "member"); n == 0 {
			t.Error("neither was told by a member where the other one is")
		}
	}
}
