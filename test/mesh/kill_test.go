package mesh

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// TestKillDuringJoin ends an island's process with SIGKILL at random moments of a
// join: the same token must still make it a member, once, under one key.
func TestKillDuringJoin(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 15 * time.Millisecond}
	first := newSite(t, l.Public("first", link), "eu").up()
	first.init()
	kills := 0
	for n := range 3 {
		s := newSite(t, l.Public(fmt.Sprintf("j%d", n), link), "us").up()
		kills += joinKilled(t, s, first.invite("us"))
		connected(t, s, first)
		connected(t, first, s)
		peers, err := first.peers()
		if err != nil {
			t.Fatal(err)
		}
		if len(peers) != n+1 {
			t.Errorf("after %d islands joined the first one lists %s", n+1, show(peers))
		}
		if got, want := peers[s.name].Key.String(), s.identity().Key; got != want {
			t.Errorf("%s has key %s in the roster, and %s at home", s.name, got, want)
		}
	}
	t.Logf("%d kills in all", kills)
	if kills == 0 {
		t.Error("no join was cut short: the kills came too late")
	}
}

// joinKilled joins until it worked; it counts how often that was cut short.
func joinKilled(t *testing.T, s *site, token string) (kills int) {
	t.Helper()
	for try := range 40 {
		failed := make(chan error, 1)
		go func() {
			_, err := s.atoll("join", token)
			failed <- err
		}()
		// A join takes about 300 ms here; the last tries are given time.
		patience := time.Duration(rand.Int64N(int64(600 * time.Millisecond)))
		if try > 4 {
			patience *= 4
		}
		select {
		case err := <-failed:
			if err != nil {
				t.Fatalf("the token was lost after %d kills: %v", kills, err)
			}
			return kills
		case <-time.After(patience):
		}
		s.kill()
		kills++
		<-failed
		s.up()
		if n, err := s.network(); err != nil {
			t.Fatal(err)
		} else if n.Joined {
			return kills
		}
	}
	t.Fatalf("not a member after %d kills", kills)
	return kills
}

// rotations is as many as may be made while replaced keys are still good.
const rotations = 4

// TestKillDuringRotation ends an island's process with SIGKILL at random moments
// of `atoll rotate node`: it must come back as the same member, whichever key it
// has then, and finish what was begun.
func TestKillDuringRotation(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 15 * time.Millisecond}
	first, s := newSite(t, l.Public("first", link), "eu"), newSite(t, l.Public("turns", link), "us")
	allUp(first, s)
	found(t, first, s)
	connected(t, first, s)
	s.set("owner/mine", "team: a\n")
	keys := map[string]bool{s.identity().Key: true}
	cut := 0
	for range rotations - 1 {
		done := make(chan error, 1)
		go func() {
			_, err := s.atoll("rotate", "node")
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Duration(rand.Int64N(int64(250 * time.Millisecond)))):
			s.kill()
			cut++
			<-done
			s.up()
		}
		sameMember(t, first, s)
		keys[s.identity().Key] = true
	}
	t.Logf("%d of %d rotations were cut short; %d keys in all", cut, rotations-1, len(keys))
	eventually(t, time.Minute, "the last rotation is finished", func() error {
		staged, err := filepath.Glob(filepath.Join(s.data(), "mesh", "identity", "next*"))
		if err == nil && len(staged) > 0 {
			err = fmt.Errorf("there is %v still", staged)
		}
		return err
	})
	sameMember(t, first, s)
	before := s.identity().Key
	s.must("rotate", "node")
	sameMember(t, first, s)
	if s.identity().Key == before {
		t.Errorf("a rotation that nothing disturbed left key %s", before)
	}
	alike(t, time.Minute, first, s)
	if err := holds(first, "owner/mine", "team: a\n"); err != nil {
		t.Errorf("what the first key wrote is gone: %v", err)
	}
}

// sameMember waits until both are connected, by the name it always had.
func sameMember(t *testing.T, first, s *site) {
	t.Helper()
	connected(t, first, s)
	connected(t, s, first)
	peers, err := first.peers()
	if err != nil {
		t.Fatal(err)
	}
	if len(peers) != 1 {
		t.Fatalf("one island became %s", show(peers))
	}
	if _, err := s.ping(first.name, 10*time.Second); err != nil {
		t.Errorf("after a change of keys: %v", err)
	}
}
