package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// TestHostileSignerRevokesFirst has a signer revoke the island with the root, and
// every other one on its side of a partition, before the root revokes the signer.
// Whoever heard the signer first refuses all by whom the root's word could come; when
// the ways are open again they hear it all the same, and all but the signer are one
// network, without anybody's help.
func TestHostileSignerRevokesFirst(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	first, b := newSite(t, l.Public("first", link), "eu"), newSite(t, l.Public("b", link), "eu")
	hostile, c := newSite(t, l.Public("hostile", link), "us"), newSite(t, l.Public("c", link), "us")
	// Nobody can call x; it hears by way of c.
	x := newSite(t, l.NAT("box", lab.PortRestricted, link).Node("x"), "us")
	left, right := []*site{first, b}, []*site{hostile, c, x}
	all := slices.Concat(left, right)
	allUp(all...)
	first.init()
	hostile.join(first.invite("us", "--role", "admin"))
	for _, s := range []*site{b, c, x} {
		s.join(first.invite(s.region))
	}
	meshed(t, all...)
	b.set("owner/of-b", "of: b\n")
	alike(t, time.Minute, all...)

	l.Partition(nodes(left), nodes(right))
	for _, victim := range left {
		hostile.must("revoke", victim.name, "--reason", "a coup")
	}
	first.must("revoke", "hostile", "--reason", "signer stolen")
	for s, gone := range map[*site]string{c: "first", x: "b", b: "hostile"} {
		eventually(t, time.Minute, s.name+" hears its own side", func() error { return s.knowsNot(gone) })
	}
	c.set("owner/of-c", "of: c\n")
	b.set("owner/of-b", "of: b, later\n")

	l.HealAll()
	began := time.Now()
	staying := []*site{first, b, c, x}
	meshed(t, staying...)
	took := alike(t, time.Minute, staying...)
	t.Logf("one network %s after healing, its documents alike %s later", time.Since(began).Round(time.Millisecond), took.Round(time.Millisecond))
	inParallel(t, staying, func(s *site) error { return s.knowsNot("hostile") })
	for key, value := range map[string]string{"owner/of-b": "of: b, later\n", "owner/of-c": "of: c\n"} {
		if err := hold(key, value, staying...); err != nil {
			t.Error(err)
		}
	}
	eventually(t, time.Minute, "the signer is out and told why", func() error {
		if err := noneConnected(hostile); err != nil {
			return err
		}
		return hostile.warns("mesh-turned-away", "signer stolen")
	})
	heard := 0.0
	for _, s := range []*site{c, x} {
		n, err := s.metric("atoll_mesh_words_total", `direction="in",outcome="taken"`)
		if err != nil {
			t.Fatal(err)
		}
		if heard += n; n > 0 {
			verifyAudit(t, s, "hear-roots")
		}
	}
	if heard == 0 {
		t.Error("nobody counted a word of the roots: was this won by other means?")
	}
	for _, s := range staying {
		if n := s.identity().Members; n != len(staying) {
			t.Error(fmt.Errorf("%s counts %d members, want %d", s.name, n, len(staying)))
		}
	}
}

// TestTrustByHand carries the root's word to an island that no way leads to, running
// and stopped.
func TestTrustByHand(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	first, hostile, c := newSite(t, l.Public("first", link), "eu"), newSite(t, l.Public("hostile", link), "us"), newSite(t, l.Public("c", link), "us")
	other := newSite(t, l.Public("other", link), "us")
	allUp(first, hostile, c, other)
	first.init()
	other.must("init", "other")
	hostile.join(first.invite("us", "--role", "admin"))
	c.join(first.invite("us"))
	meshed(t, first, hostile, c)
	alike(t, time.Minute, first, hostile, c)

	l.Partition(nodes([]*site{first}), nodes([]*site{hostile, c}))
	hostile.must("revoke", "first", "--reason", "a coup")
	first.must("revoke", "hostile", "--reason", "signer stolen")
	eventually(t, time.Minute, "c hears the signer", func() error { return c.knowsNot("first") })
	file := filepath.Join(first.dir, "acme.trust")
	if out := first.must("trust", "export", file); !strings.Contains(out, "documents of network") {
		t.Errorf("export says %q", out)
	}
	if out, err := other.atoll("trust", "import", file); err == nil || !strings.Contains(err.Error(), "of network") {
		t.Errorf("another network's documents: %q, %v", out, err)
	}
	out := c.must("trust", "import", file)
	if !strings.Contains(out, "taken    revoked/") || !strings.Contains(out, ", 0 refused") {
		t.Errorf("import says:\n%s", out)
	}
	knows := func() error {
		if err := c.knowsNot("hostile"); err != nil {
			return err
		}
		peers, err := c.peers()
		if _, ok := peers["first"]; !ok && err == nil {
			err = fmt.Errorf("first is not in the roster: %s", show(peers))
		}
		return err
	}
	eventually(t, time.Minute, "c knows better", knows)
	if log := c.must("audit", "--json"); !strings.Contains(log, `"action":"import-trust"`) {
		t.Errorf("the log of c does not have the import:\n%s", log)
	}
	verifyAudit(t, first, "revoke")

	c.stop()
	if out := c.must("trust", "import", file); !strings.Contains(out, "0 taken") {
		t.Errorf("a second time, stopped: %s", out)
	}
	again := filepath.Join(c.dir, "again.trust")
	c.must("trust", "export", again)
	text, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(again, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := c.atoll("trust", "import", again); err == nil {
		t.Errorf("a file that is cut short was taken: %s", out)
	}
	c.up()
	eventually(t, time.Minute, "c knows better after a start, too", knows)
	l.HealAll()
	meshed(t, first, c)
	alike(t, time.Minute, first, c)
}
