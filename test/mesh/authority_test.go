package mesh

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
)

// halves is a network with a signer on each side of where it will part.
type halves struct {
	lab          *lab.Lab
	first, b     *site // first holds the root key too
	second, c, x *site
	left, right  []*site
	outsider     *lab.Node
}

func newHalves(t *testing.T, outsider string) *halves {
	t.Helper()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	island := func(name string) *site { return newSite(t, l.Public(name, link), "eu") }
	h := &halves{
		lab: l, first: island("first"), b: island("b"), second: island("second"), c: island("c"), x: island("x"),
		outsider: l.Public(outsider, link),
	}
	h.left, h.right = []*site{h.first, h.b}, []*site{h.second, h.c, h.x}
	all := slices.Concat(h.left, h.right)
	allUp(all...)
	h.first.init()
	h.second.join(h.first.invite("eu", "--role", "admin"))
	for _, s := range []*site{h.b, h.c, h.x} {
		s.join(h.first.invite("eu"))
	}
	meshed(t, all...)
	alike(t, time.Minute, all...)
	return h
}

// part lets neither signer hear of what the other one does.
func (h *halves) part() {
	h.lab.Partition(nodes(h.left), append(nodes(h.right), h.outsider))
}

// TestRevokedHereRotatedThere has one signer revoke an island while the other,
// which does not hear of it, gives the same island new keys: none of them is good
// when the network is one again.
func TestRevokedHereRotatedThere(t *testing.T) {
	t.Parallel()
	h := newHalves(t, "thief")
	first, x := h.first, h.x
	staying := []*site{h.first, h.b, h.second, h.c}
	x.set("owner/before", "of: x\n")
	alike(t, time.Minute, append(staying, x)...)

	h.part()
	first.must("revoke", "x", "--reason", "disk stolen")
	revoked := x.identity().Key
	disks, keys := []string{stealDisk(t, x)}, []string{revoked}
	for range 2 {
		rotate(t, x)
		meshed(t, h.right...)
		disks, keys = append(disks, stealDisk(t, x)), append(keys, x.identity().Key)
	}
	x.set("owner/after", "of: x\n")
	alike(t, time.Minute, h.right...)
	if slices.Sort(keys); len(slices.Compact(keys)) != 3 {
		t.Fatalf("after two rotations the keys were %q", keys)
	}

	h.lab.HealAll()
	inParallel(t, staying, func(s *site) error { return s.knowsNot("x") })
	eventually(t, time.Minute, "x has no connection and says why", func() error { return saysRevoked(x, staying) })
	eventually(t, time.Minute, "x says what others told it", func() error { return x.warns("mesh-turned-away", "revoked: disk stolen") })
	meshed(t, staying...)
	alike(t, time.Minute, staying...)
	for _, s := range staying {
		if err := hold("owner/before", "of: x\n", s); err != nil {
			t.Errorf("what the signer that revoked signed anew: %v", err)
		}
		if err := hold("owner/after", "", s); err != nil {
			t.Errorf("what a key wrote that came after the revoked one: %v", err)
		}
		if text, err := s.value("revoked/" + revoked); err != nil || !strings.Contains(text, "disk stolen") {
			t.Errorf("%s does not say that x was revoked, and why: %q, %v", s.name, text, err)
		}
	}
	verifyAudit(t, first, "revoke")
	verifyAudit(t, h.second, "rekey")
	verifyAudit(t, x, "rotate")

	x.stop()
	for n, disk := range disks {
		t.Run(fmt.Sprintf("stolen key %d", n+1), func(t *testing.T) { staysOut(t, disk, h.outsider, staying) })
	}
}

// rotate gives an island a new node key. A call that breaks is made again, as people
// would: the key that was begun with is gone on with.
func rotate(t *testing.T, s *site) {
	t.Helper()
	before := s.identity().Key
	eventually(t, time.Minute, s.name+" has a new key", func() error {
		_, err := s.atoll("rotate", "node")
		if err != nil {
			t.Logf("again: %v", err)
		}
		return err
	})
	if s.identity().Key == before {
		t.Errorf("%s rotated its key and has the same", s.name)
	}
}

// stealDisk copies what a running island has on disk.
func stealDisk(t *testing.T, s *site) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command("cp", "-a", s.data(), to).CombinedOutput(); err != nil {
		t.Fatalf("copy the data of %s: %v: %s", s.name, err, out)
	}
	return to
}

// staysOut runs an island from a stolen disk on another host.
func staysOut(t *testing.T, disk string, host *lab.Node, others []*site) {
	thief := newSite(t, host, "us")
	if out, err := exec.Command("cp", "-a", disk, thief.data()).CombinedOutput(); err != nil {
		t.Fatalf("copy the stolen data: %v: %s", err, out)
	}
	thief.up()
	var pings sync.WaitGroup
	for _, s := range others {
		pings.Go(func() {
			if got, err := thief.ping(s.name, 3*time.Second); err == nil {
				t.Errorf("the thief's ping to %s was answered: %+v", s.name, got)
			}
		})
	}
	pings.Wait()
	steadily(t, 3*time.Second, "the thief stays out", func() error {
		if err := noneConnected(thief); err != nil {
			return err
		}
		for _, s := range others {
			if err := s.knowsNot("x"); err != nil {
				return err
			}
		}
		return nil
	})
	thief.kill() // the next one needs the host's ports
}

// TestSignerRevokedWhileItAdmits revokes a signer that does not hear of it, admits
// one island and gives another one a new key. What it signed is void when the
// network is one again; who hangs on that is told, and comes back by a new token.
func TestSignerRevokedWhileItAdmits(t *testing.T) {
	t.Parallel()
	h := newHalves(t, "y")
	first, second, x, y := h.first, h.second, h.x, newSite(t, h.outsider, "eu")
	staying := []*site{h.first, h.b, h.c}
	y.up()

	h.part()
	first.must("revoke", "second", "--reason", "signer stolen")
	y.join(second.invite("eu"))
	rotate(t, x)
	meshed(t, second, h.c, x, y)
	y.set("owner/of-y", "of: y\n")
	alike(t, time.Minute, second, h.c, x, y)

	h.lab.HealAll()
	inParallel(t, staying, func(s *site) error {
		for _, name := range []string{"second", "y"} {
			if err := s.knowsNot(name); err != nil {
				return err
			}
		}
		return nil
	})
	eventually(t, time.Minute, "the signer is told why", func() error {
		return second.warns("mesh-turned-away", "revoked: signer stolen")
	})
	meshed(t, staying...)
	alike(t, time.Minute, staying...)
	if err := hold("owner/of-y", "", staying...); err != nil {
		t.Errorf("what an island wrote that nobody with the right admitted: %v", err)
	}
	// Whether they hear what voids their membership, or are turned away before, is a
	// matter of which comes first.
	for _, s := range []*site{x, y} {
		eventually(t, time.Minute, s.name+" says that it is out", func() error {
			if s.warns("not-a-member", "trusted no more") == nil {
				return nil
			}
			return s.warns("mesh-turned-away", "no member of the network any more")
		})
	}
	for _, s := range staying { // a connection may outlive the news by a moment
		eventually(t, time.Minute, s.name+" is connected to none of them", func() error { return noneOf(s, second, x, y) })
	}
	t.Run("return", func(t *testing.T) {
		first.must("revoke", "x", "--reason", "joins again")
		for _, s := range []*site{x, y} {
			s.must("leave", "--force")
			s.join(first.invite("eu"))
		}
		everybody := append(slices.Clone(staying), x, y)
		meshed(t, everybody...)
		alike(t, time.Minute, everybody...)
		for _, s := range []*site{x, y} {
			for _, code := range []string{"not-a-member", "mesh-turned-away"} {
				eventually(t, time.Minute, s.name+" says no more that it is out", func() error {
					if err := s.warns(code, ""); err == nil {
						return fmt.Errorf("%s is still there", code)
					}
					return nil
				})
			}
		}
	})
	verifyAudit(t, first, "revoke")
	verifyAudit(t, second, "rekey", "join")
}

// noneOf is nil if an island is connected to none of those.
func noneOf(s *site, others ...*site) error {
	peers, err := s.peers()
	for _, o := range others {
		if p := peers[o.name]; p.State == mesh.StateConnected {
			return fmt.Errorf("%s is connected to %s", s.name, show(p))
		}
	}
	return err
}

// warns is nil while an island raises a warning whose text has some words.
func (s *site) warns(code, words string) error {
	h, err := s.health()
	if err != nil {
		return err
	}
	for _, w := range h.Active {
		if w.Code == code && strings.Contains(w.Text, words) {
			return nil
		}
	}
	return fmt.Errorf("%s warns of %s", s.name, show(h.Active))
}
