package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/trust"
)

// setClock has the island's clock be off by so much from now on; before start it
// gives it a clock of its own.
func (s *site) setClock(off time.Duration) {
	s.t.Helper()
	s.off = &off
	if s.clock == nil {
		return
	}
	if err := s.clock.Set(off); err != nil {
		s.t.Fatal(err)
	}
}

// pass has time go by for all.
func pass(d time.Duration, sites ...*site) {
	for _, s := range sites {
		s.setClock(*s.off + d)
	}
}

// halfLife is more than half of the certificates' life of an hour, the spread
// after it and a clock that is ten minutes behind; and less than all of it, for a
// clock that is ten minutes ahead.
const (
	certificateLife = "1h"
	halfLife        = 45 * time.Minute
	skew            = 10 * time.Minute
)

// TestClocks has the clocks of two islands differ from the others' by ten minutes
// each way, and then that of the island that signs jump back ten minutes. They are
// processes of the released program.
func TestClocks(t *testing.T) {
	t.Parallel()
	if why := lab.ClockUnsupported(); why != "" {
		t.Skip("skipped: " + why)
	}
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	at := func(name, region string, off time.Duration) *site {
		s := newSite(t, l.Public(name, link), region)
		s.setClock(off)
		return s
	}
	signs, ahead, behind, victim := at("signs", "eu", 0), at("ahead", "us", skew), at("behind", "ap", -skew), at("victim", "eu", 0)
	signs.with("membership: {certificate_lifetime: " + certificateLife + "}")
	all := []*site{signs, ahead, behind, victim}
	allUp(all...)
	found(t, signs, ahead, behind, victim)
	meshed(t, all...)
	seesSkew(t, ahead, behind, -2*skew)
	seesSkew(t, behind, ahead, 2*skew)

	lastWriterWins(t, "owner/turns", ahead, behind, signs, behind, ahead)
	together(t, "owner/together", all...)
	renewed(t, all...)

	set := func(s *site, key, value string) {
		t.Helper()
		s.set(key, value)
		eventually(t, time.Minute, key+" of "+s.name+" is everywhere", func() error { return hold(key, value, all...) })
	}
	set(signs, "owner/jump", "before: the jump\n")
	set(ahead, "owner/ahead", "by: ahead\n")
	signs.setClock(*signs.off - skew)
	set(signs, "owner/jump", "after: the jump\n")
	set(signs, "owner/new", "after: the jump\n")
	lastWriterWins(t, "owner/turns", signs, ahead, signs, behind, signs)

	late := at("late", "us", halfLife)
	late.up()
	late.join(signs.invite("us"))
	all = append(all, late)
	signs.kill()
	signs.up() // with its clock still behind what it has signed
	meshed(t, all...)
	set(signs, "owner/jump", "after: the restart\n")

	signs.must("revoke", "victim", "--reason", "stolen")
	all = []*site{signs, ahead, behind, late}
	eventually(t, time.Minute, "the revoked island is out everywhere", func() error { return gone(victim, all...) })
	renewed(t, all...)
	if err := hold("owner/ahead", "by: ahead\n", all...); err != nil {
		t.Errorf("lost after the jump: %v", err)
	}
	alike(t, time.Minute, all...)
	auditHolds(t, signs)
}

func seesSkew(t *testing.T, from, to *site, want time.Duration) {
	t.Helper()
	peers, err := from.peers()
	if err != nil {
		t.Fatal(err)
	}
	got := time.Duration(peers[to.name].ClockSkew * float64(time.Second))
	if (got - want).Abs() > 30*time.Second {
		t.Errorf("%s says that the clock of %s is off by %s, want about %s", from.name, to.name, got, want)
	}
}

// lastWriterWins has one write after the other, each when it has seen what the one
// before wrote: whatever their clocks say, the last one must be what all hold.
func lastWriterWins(t *testing.T, key string, writers ...*site) {
	t.Helper()
	for n, s := range writers {
		value := fmt.Sprintf("turn: %d\nby: %s\n", n, s.name)
		s.set(key, value)
		eventually(t, time.Minute, fmt.Sprintf("write %d to %s, by %s, is everywhere", n, key, s.name), func() error { return hold(key, value, writers...) })
	}
}

// hold is nil if all sites have a document with that text.
func hold(key, value string, sites ...*site) error {
	for _, s := range sites {
		if err := holds(s, key, value); err != nil {
			return err
		}
	}
	return nil
}

// together has all write at the same moment: they must agree on one version, and
// none of a greater time may have been given up for it.
func together(t *testing.T, key string, sites ...*site) {
	t.Helper()
	var writing sync.WaitGroup
	errs := make([]error, len(sites))
	for n, s := range sites {
		writing.Go(func() { _, errs[n] = s.atollWith("by: "+s.name+"\n", "set", key, "-f", "-") })
	}
	writing.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	alike(t, time.Minute, sites...)
	var won document
	if err := sites[0].api("/api/atoll/v1/documents/"+key, &won); err != nil {
		t.Fatal(err)
	}
	if err := hold(key, won.Value, sites...); err != nil {
		t.Error(err)
	}
	beaten := 0
	for _, s := range sites {
		versions, err := s.history(key)
		if err != nil {
			t.Fatal(err)
		}
		beaten += len(versions)
		for _, v := range versions {
			if v.Time > won.Time {
				t.Errorf("%q of time %d won over %q of time %d", won.Value, won.Time, v.Value, v.Time)
			}
		}
	}
	if beaten == 0 {
		t.Error("no version was beaten: they were not written together")
	}
}

// renewed lets time go by until certificates are past half of their life: all get
// new ones, and nobody is put out meanwhile.
func renewed(t *testing.T, sites ...*site) {
	t.Helper()
	before := make([]time.Time, len(sites))
	for n, s := range sites {
		before[n] = *s.identity().CertificateExpires
	}
	pass(halfLife, sites...)
	for n, s := range sites {
		took := eventually(t, 2*time.Minute, s.name+" has a new certificate", func() error {
			id, err := s.network()
			if err == nil && !id.CertificateExpires.After(before[n]) {
				err = fmt.Errorf("it ends at %s", id.CertificateExpires)
			}
			return err
		})
		t.Logf("%s has a certificate until %s, before until %s; it took %s", s.name, s.identity().CertificateExpires.Format(time.TimeOnly), before[n].Format(time.TimeOnly), took.Round(time.Millisecond))
	}
	meshed(t, sites...)
	for _, s := range sites {
		codes, err := s.warnings()
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range codes {
			if strings.HasPrefix(code, "certificate-") || code == "mesh-alone" {
				t.Errorf("%s warns of %s", s.name, code)
			}
		}
	}
}

// gone is nil if nobody lists an island any more.
func gone(s *site, from ...*site) error {
	for _, f := range from {
		peers, err := f.peers()
		if err != nil {
			return err
		}
		if p, ok := peers[s.name]; ok {
			return fmt.Errorf("%s lists %s", f.name, show(p))
		}
	}
	return nil
}

// auditHolds verifies the log of what a site changed.
func auditHolds(t *testing.T, s *site) {
	t.Helper()
	f, err := os.Open(filepath.Join(s.data(), "mesh", "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := trust.ParseNetwork(s.identity().NetworkID)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := trust.VerifyAudit(f, &id); err != nil {
		t.Errorf("the audit log does not hold: %v; %+v", err, sum)
	}
}
