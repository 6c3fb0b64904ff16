package mesh

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
)

// TestChanges goes through what may happen to a network in its life: keys change,
// the root key is lost and replaced, islands leave and return, and the audit log
// has all of it.
func TestChanges(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	var sites []*site
	for _, name := range []string{"first", "second", "b", "c"} {
		sites = append(sites, newSite(t, l.Public(name, link), "eu"))
	}
	first, second, b, c := sites[0], sites[1], sites[2], sites[3]
	allUp(sites...)
	recovery := recoveryIn(t, first.init())
	second.join(first.invite("eu", "--role", "admin"))
	b.join(first.invite("eu"))
	meshed(t, first, second, b)

	t.Run("rotate node", func(t *testing.T) {
		for range 2 {
			before := b.identity().Key
			b.must("rotate", "node")
			if after := b.identity().Key; after == before {
				t.Errorf("the key is still %s", before)
			}
			meshed(t, first, second, b)
		}
	})
	t.Run("rotate signer", func(t *testing.T) {
		first.must("rotate", "signer")
		admits(t, first, c, sites)
	})
	t.Run("rotate root", func(t *testing.T) {
		first.must("rotate", "root")
		alike(t, time.Minute, sites...)
		first.must("rotate", "retire")
		alike(t, time.Minute, sites...)
		meshed(t, sites...)
	})
	t.Run("lost root", func(t *testing.T) {
		if out, err := second.atoll("rotate", "root"); err == nil {
			t.Errorf("an island without the root key replaced it: %s", out)
		}
		file := filepath.Join(second.dir, "recovery.txt")
		if err := os.WriteFile(file, []byte(recovery+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		second.must("rotate", "root", "--recovery", "recovery.txt")
		second.must("rotate", "retire")
		alike(t, time.Minute, sites...)
		meshed(t, sites...)
		if out, err := first.atoll("rotate", "root"); err == nil {
			t.Errorf("the root key that was replaced still makes roots: %s", out)
		}
		if !second.identity().Root {
			t.Error("the island that recovered does not hold the root key")
		}
	})
	t.Run("leave and return", func(t *testing.T) { leaveAndReturn(t, second, c, first, b) })
	t.Run("audit", func(t *testing.T) {
		verifyAudit(t, first, "rotate", "invite", "admit|join")
		verifyAudit(t, second, "recover|rotate")
		verifyAudit(t, b, "rotate")
	})
}

var recoveryLine = regexp.MustCompile(`(?m)^    (\S.*)$`)

func recoveryIn(t *testing.T, out string) string {
	t.Helper()
	m := recoveryLine.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no recovery key in:\n%s", out)
	}
	return m[1]
}

// admits has an island invite another, which all others must then know.
func admits(t *testing.T, by, s *site, all []*site) {
	t.Helper()
	s.join(by.invite(s.region))
	meshed(t, all...)
}

func leaveAndReturn(t *testing.T, admin, s *site, others ...*site) {
	s.set("owner/of-leaver", "team: x\n")
	everybody := append([]*site{admin, s}, others...)
	alike(t, time.Minute, everybody...)
	key := s.identity().Key
	s.must("leave")
	for _, o := range append(others, admin) {
		eventually(t, 10*time.Second, o.name+" hears that "+s.name+" left", func() error { return o.knowsNot(s.name) })
		if err := holds(o, "owner/of-leaver", "team: x\n"); err != nil {
			t.Errorf("what the leaver wrote is gone: %v", err)
		}
	}
	if out, err := s.atoll("peers"); err == nil {
		t.Errorf("after leaving `atoll peers` says: %s", out)
	}
	if n, err := s.network(); err != nil || n.Joined {
		t.Errorf("after leaving it belongs to %s: %v", show(n), err)
	}
	s.join(admin.invite(s.region))
	meshed(t, everybody...)
	if s.identity().Key == key {
		t.Errorf("it came back under key %s, which had left", key)
	}
}

// verifyAudit exports an island's log, verifies it offline on another host, and
// has a changed copy refused. Each of did must match some entry.
func verifyAudit(t *testing.T, s *site, did ...string) {
	t.Helper()
	log := s.must("audit", "--json")
	file := filepath.Join(s.dir, "audit.jsonl")
	if err := os.WriteFile(file, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	out := s.must("audit", "--verify", file)
	if !strings.Contains(out, "whole and unchanged") || !strings.Contains(out, "missing at its end") {
		t.Errorf("audit --verify says: %s", out)
	}
	for _, pattern := range did {
		if !regexp.MustCompile(`"action":"[^"]*(?:` + pattern + `)`).MatchString(log) {
			t.Errorf("the log of %s does not have %s:\n%s", s.name, pattern, log)
		}
	}
	lines := strings.SplitAfter(strings.TrimSpace(log), "\n")
	if len(lines) < 2 {
		t.Fatalf("the log of %s has %d lines only:\n%s", s.name, len(lines), log)
	}
	tampered := map[string]string{
		"a changed word":       strings.Replace(log, `"actor":"`, `"actor":"not `, 1),
		"a line taken out":     strings.Join(lines[1:], ""),
		"two lines exchanged":  strings.Join(append([]string{lines[1], lines[0]}, lines[2:]...), ""),
		"a line that is twice": lines[0] + log,
	}
	for what, text := range tampered {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := refusedWithLine(s.atoll("audit", "--verify", file)); err != nil {
			t.Errorf("%s in the log of %s: %v", what, s.name, err)
		}
	}
}

var lineNumber = regexp.MustCompile(`line \d+|:\d+:`)

// refusedWithLine is nil where a command failed and said in which line why.
func refusedWithLine(out string, err error) error {
	switch {
	case err == nil:
		return errors.New("was taken: " + out)
	case !lineNumber.MatchString(err.Error()):
		return fmt.Errorf("was refused without the line: %w", err)
	}
	return nil
}

// TestMembersOfOneLAN has islands that remember nobody's address find each other
// by mDNS.
func TestMembersOfOneLAN(t *testing.T) {
	t.Parallel()
	lan := lab.New(t).LAN("lan")
	var sites []*site
	for _, name := range []string{"a", "b", "c"} {
		sites = append(sites, newSite(t, lan.Node(name), "eu", "mdns: true"))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	for _, s := range sites {
		s.stop()
		if err := os.Remove(filepath.Join(s.data(), "mesh", "peers.json")); err != nil {
			t.Fatal(err)
		}
	}
	allUp(sites...)
	began := time.Now()
	meshed(t, sites...)
	t.Logf("found each other after %s", time.Since(began).Round(time.Millisecond))

	t.Run("not without mDNS", func(t *testing.T) {
		// Else the test above would hold by other means.
		lonely := sites[2]
		lonely.stop()
		sites[0].stop()
		sites[1].stop()
		for _, s := range sites {
			if err := os.Remove(filepath.Join(s.data(), "mesh", "peers.json")); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(filepath.Join(lonely.dir, "atoll.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		quiet := strings.Replace(string(text), "mdns: true", "mdns: false", 1)
		if err := os.WriteFile(filepath.Join(lonely.dir, "atoll.yaml"), []byte(quiet), 0o600); err != nil {
			t.Fatal(err)
		}
		allUp(sites...)
		meshed(t, sites[:2]...)
		steadily(t, 5*time.Second, "an island without mDNS finds nobody", func() error {
			peers, err := lonely.peers()
			for _, p := range peers {
				if p.State == mesh.StateConnected {
					return fmt.Errorf("connected to %s", show(p))
				}
			}
			return err
		})
	})
}
