package mesh

import (
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/query/global"
)

// TestRevocation has six islands in three regions end the membership of one,
// while another is cut off.
func TestRevocation(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	hosts := lab.ThreeRegions(l)
	thiefs := l.Public("thief", lab.LinkOptions{Region: "us", Delay: time.Millisecond})
	byName := map[string]*site{}
	var sites []*site
	for _, node := range hosts.All {
		s := newSite(t, node, strings.Split(node.Name(), "-")[0])
		byName[s.name], sites = s, append(sites, s)
	}
	allUp(sites...)
	admin, victim, away := byName["eu-1"], byName["ap-1"], byName["us-2"]
	found(t, admin, sites[1:]...)
	for _, s := range sites {
		connected(t, s, slices.DeleteFunc(slices.Clone(sites), func(o *site) bool { return o == s })...)
	}

	away.node.Link().Cut()
	reachable := []*site{admin, byName["eu-2"], byName["us-1"], byName["ap-2"]}
	began := time.Now()
	admin.must("revoke", "ap-1", "--reason", "disk stolen")
	told := inParallel(t, reachable, func(s *site) error { return s.knowsNot(victim.name) })
	t.Logf("revocation was heard by %d islands after %s", len(reachable), told.Sub(began).Round(time.Millisecond))
	if took := told.Sub(began); took > 5*time.Second {
		t.Errorf("revocation took %s to reach every reachable island, want at most 5 s", took)
	}

	eventually(t, 10*time.Second, "the victim has no connection and says why", func() error { return saysRevoked(victim, reachable) })
	for _, to := range []string{"eu-1", "eu-2", "ap-2"} {
		if got, err := victim.ping(to, 8*time.Second); err == nil {
			t.Errorf("the revoked island's ping to %s was answered: %+v", to, got)
		}
	}
	steadily(t, 3*time.Second, "the victim stays out", func() error { return saysRevoked(victim, reachable) })
	noQuestions(t, victim, reachable, away)

	away.node.Link().Heal()
	healed := eventually(t, time.Minute, "the island that was cut off hears of it", func() error { return away.knowsNot(victim.name) })
	t.Logf("the island that was cut off heard %s after healing", healed.Round(time.Millisecond))

	t.Run("stolen key", func(t *testing.T) { stolenKey(t, admin, victim, thiefs) })
}

// noQuestions: nobody answers a revoked island, and nobody asks it: the others answer
// each other as if it had never been, and miss who is cut off alone.
func noQuestions(t *testing.T, victim *site, others []*site, away *site) {
	t.Helper()
	ask := func(s *site) (answered, failed []string, err error) {
		a, err := s.everywhere("query", url.Values{"query": {"count by (island) (up)"}})
		if err != nil {
			return nil, nil, err
		}
		for _, i := range a.Receipt.Islands {
			if i.State == global.StateAnswered {
				answered = append(answered, i.Name)
			} else {
				failed = append(failed, i.Name)
			}
		}
		return answered, failed, nil
	}
	if answered, _, err := ask(victim); err != nil || !slices.Equal(answered, []string{victim.name}) {
		t.Errorf("the revoked island's question was answered by %q: %v", answered, err)
	}
	for _, s := range others {
		eventually(t, time.Minute, s.name+" is answered by all but the revoked", func() error {
			answered, failed, err := ask(s)
			if err != nil || len(answered) != len(others) || !slices.Equal(failed, []string{away.name}) {
				return fmt.Errorf("answered by %q, not by %q: %w", answered, failed, err)
			}
			return nil
		})
	}
}

// stolenKey copies a revoked island's data to another host.
func stolenKey(t *testing.T, admin, victim *site, host *lab.Node) {
	victim.stop()
	thief := newSite(t, host, "us")
	if out, err := exec.Command("cp", "-a", victim.data(), thief.data()).CombinedOutput(); err != nil {
		t.Fatalf("copy the victim's data: %v: %s", err, out)
	}
	refused := func() float64 {
		n, err := admin.metric("atoll_mesh_connections_refused_total", `reason="revoked"`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := refused()
	thief.up()
	if got, err := thief.ping(admin.name, 8*time.Second); err == nil {
		t.Errorf("the thief's ping was answered: %+v", got)
	}
	eventually(t, 20*time.Second, "the thief is turned away as revoked", func() error {
		if n := refused(); n <= before {
			return fmt.Errorf("%v refused, %v before", n, before)
		}
		return nil
	})
	steadily(t, 3*time.Second, "the thief stays out", func() error {
		if err := noneConnected(thief); err != nil {
			return err
		}
		return admin.knowsNot(victim.name)
	})
	if out, err := thief.atoll("join", admin.invite("us")); err == nil {
		t.Errorf("a revoked key joined by a new token: %s", out)
	} else {
		t.Logf("refused: %v", err)
	}
}

// knowsNot is nil once a member is in the roster no more.
func (s *site) knowsNot(name string) error {
	peers, err := s.peers()
	if err != nil {
		return err
	}
	if p, ok := peers[name]; ok {
		return fmt.Errorf("%s still lists %s", s.name, show(p))
	}
	return nil
}

func noneConnected(s *site) error {
	peers, err := s.peers()
	if err != nil {
		return err
	}
	for _, p := range peers {
		if p.State == mesh.StateConnected {
			return fmt.Errorf("%s is connected to %s", s.name, show(p))
		}
	}
	return nil
}

// saysRevoked is nil once the island is connected to nobody and names the reason
// that those gave who could tell it.
func saysRevoked(victim *site, others []*site) error {
	peers, err := victim.peers()
	if err != nil {
		return err
	}
	why := 0
	for _, o := range others {
		p := peers[o.name]
		if p.State == mesh.StateConnected {
			return fmt.Errorf("connected: %s", show(p))
		}
		if strings.Contains(p.LastError, "revoked") && strings.Contains(p.LastError, "disk stolen") {
			why++
		}
	}
	if why == 0 {
		return fmt.Errorf("nowhere does it say why: %s", show(peers))
	}
	return nil
}

// inParallel polls all sites until check is nil on each, and returns when the
// last one was.
func inParallel(t *testing.T, sites []*site, check func(*site) error) time.Time {
	t.Helper()
	var wg sync.WaitGroup
	at, errs := make([]time.Time, len(sites)), make([]error, len(sites))
	for n, s := range sites {
		wg.Go(func() {
			for deadline := time.Now().Add(30 * time.Second); ; {
				if errs[n] = check(s); errs[n] == nil || time.Now().After(deadline) {
					at[n] = time.Now()
					return
				}
				wait(t, 20*time.Millisecond)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return slices.MaxFunc(at, time.Time.Compare)
}
