package mesh

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/trust"
)

// What an attack may cost the attacked process at most.
const (
	mayGrow      = 128 << 20 // bytes resident
	mayOpen      = 600       // descriptors
	pingPatience = 5 * time.Second
)

// TestHostile attacks an island from hosts that are no members of its network.
// None is let in, and the members go on talking.
func TestHostile(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	target, b, victim := newSite(t, l.Public("target", link), "eu"), newSite(t, l.Public("b", link), "us"), newSite(t, l.Public("victim", link), "us")
	other := newSite(t, l.Public("other", link), "us")
	bad := l.Public("bad", link)
	allUp(target, b, victim, other)
	target.init()
	used := target.invite("us")
	short := target.invite("us", "--expires", "1m")
	b.join(used)
	victim.join(target.invite("us"))
	other.must("init", "other")
	meshed(t, target, b, victim)
	target.must("revoke", "victim", "--reason", "stolen")
	victim.stop()
	other.stop()

	for name, key := range map[string]attack{
		"unknown key":               {},
		"member of another network": {Seed: seedOf(other)},
		"revoked key":               {Seed: seedOf(victim)},
	} {
		t.Run(name, func(t *testing.T) {
			got := intrude(t, bad, target, key)
			if len(got.Allowed) > 0 || got.Open > 0 {
				t.Errorf("it may speak %v, and has %d connections open", got.Allowed, got.Open)
			}
			if got.Tried < 20 {
				t.Errorf("it tried %d protocols only", got.Tried)
			}
			onlyMembers(t, target)
		})
	}
	t.Run("garbage", func(t *testing.T) { underAttack(t, target, b, bad, attack{Garbage: 300}) })
	t.Run("flood", func(t *testing.T) { underAttack(t, target, b, bad, attack{Flood: 2000}) })
	t.Run("tokens", func(t *testing.T) { badTokens(t, target, newSite(t, bad, "us").up(), used, short) })
	t.Run("afterwards a new island joins", func(t *testing.T) {
		late := newSite(t, l.Public("late", link), "us").up()
		late.join(target.invite("us"))
		connected(t, late, target, b)
	})
}

func seedOf(s *site) []byte { k := s.nodeKey(); return k.Seed() }

// onlyMembers fails where a target is connected to anybody but b.
func onlyMembers(t *testing.T, target *site) {
	t.Helper()
	peers, err := target.peers()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := peers["b"]; !ok || len(peers) != 1 {
		t.Errorf("the roster is now %s", show(peers))
	}
}

// badTokens are refused, each with its reason.
func badTokens(t *testing.T, target, s *site, used, short string) {
	withdrawn := target.invite("us")
	parsed, err := trust.ParseToken(withdrawn)
	if err != nil {
		t.Fatal(err)
	}
	target.must("revoke", parsed.Guest().Public().String())
	expired, err := trust.ParseToken(short)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, time.Until(expired.Expires.Add(time.Second)))
	expired.Expires = time.Now().Add(time.Hour) // what a token says of itself does not count
	for _, tc := range []struct{ name, token, reason string }{
		{"replayed", used, "used up"},
		{"expired", short, "expired"},
		{"expired, with its date changed", expired.Line(), "expired"},
		{"withdrawn", withdrawn, "withdrawn"},
		{"cut short", used[:len(used)-20], "cut short"},
		{"mistyped", used[:len(used)/2] + flip(used[len(used)/2]) + used[len(used)/2+1:], "not as it was printed"},
	} {
		out, err := s.atoll("join", tc.token)
		if err == nil || !strings.Contains(err.Error(), tc.reason) {
			t.Errorf("a token that is %s: answer %q, error %v, want one that says %q", tc.name, out, err, tc.reason)
		}
		if err != nil && strings.Contains(err.Error(), tc.token) {
			t.Errorf("the error for a token that is %s repeats the secret", tc.name)
		}
	}
	if n, err := s.network(); err != nil || n.Joined {
		t.Errorf("it is a member now: %s %v", show(n), err)
	}
	s.stop()
	onlyMembers(t, target)
	if home, err := trust.OpenHome(filepath.Join(s.data(), "mesh")); err != nil || home.Enrolled() {
		t.Errorf("refused, and enrolled all the same: %v", err)
	}
}

func flip(c byte) string {
	if c == 'a' {
		return "b"
	}
	return "a"
}

// underAttack runs an attack while a member pings the target and somebody looks
// at what the target uses.
func underAttack(t *testing.T, target, member *site, from *lab.Node, a attack) {
	memory, open, err := target.resident()
	if err != nil {
		t.Fatal(err)
	}
	guests := members(t, target)
	var calls calling
	calls.start(member, target)
	stop, watched := make(chan struct{}), sync.WaitGroup{}
	mostMemory, mostOpen := memory, open
	watched.Go(func() {
		for {
			if m, o, err := target.resident(); err == nil {
				mostMemory, mostOpen = max(mostMemory, m), max(mostOpen, o)
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	began := time.Now()
	got := intrude(t, from, target, a)
	close(stop)
	watched.Wait()
	calls.stop()
	longest := time.Duration(calls.longest.Load())
	t.Logf("%+v in %s; memory %d MiB to %d MiB, descriptors %d to %d; %d pings meanwhile, the longest took %s",
		got, time.Since(began).Round(time.Millisecond), memory>>20, mostMemory>>20, open, mostOpen, calls.answered.Load(), longest.Round(time.Millisecond))
	if mostMemory-memory > mayGrow || mostOpen-open > mayOpen {
		t.Errorf("it grew by %d MiB and %d descriptors, want at most %d and %d", (mostMemory-memory)>>20, mostOpen-open, mayGrow>>20, mayOpen)
	}
	if n := calls.failed.Load(); n > 0 || longest > pingPatience {
		t.Errorf("%d pings between members failed (%v), the longest took %s", n, calls.last, longest)
	}
	if got.Hung > 0 {
		t.Errorf("%d connections that said nothing true were still open after 30 s", got.Hung)
	}
	if now := members(t, target); now != guests {
		t.Errorf("there are %d members, %d before", now, guests)
	}
	onlyMembers(t, target)
	eventually(t, time.Minute, "descriptors are given back", func() error {
		_, now, err := target.resident()
		if err == nil && now > open+32 {
			err = fmt.Errorf("%d are open, %d before", now, open)
		}
		return err
	})
}

func members(t *testing.T, s *site) int {
	t.Helper()
	return s.identity().Members
}
