package mesh

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/trust"
)

const (
	// chatterFor is how long gossip floods.
	chatterFor = 10 * time.Second
	// chatterCosts is what a message of the flood may cost the attacked process, in
	// CPU time, all that comes of it included.
	chatterCosts = 300 * time.Microsecond
)

// TestHostileMember attacks an island by one that was let in: it spreads documents
// that it has no right to write, and floods with gossip. Nothing of it is believed,
// and changes of the others go their way meanwhile.
func TestHostileMember(t *testing.T) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	target, b, c := newSite(t, l.Public("target", link), "eu"), newSite(t, l.Public("b", link), "us"), newSite(t, l.Public("c", link), "ap")
	bad := newSite(t, l.Public("traitor", link), "us")
	all := []*site{target, b, c, bad}
	allUp(all...)
	found(t, target, b, c, bad)
	meshed(t, all...)
	for _, value := range []string{"version: one\n", "version: two\n"} {
		b.set(replayed, value)
		eventually(t, time.Minute, value+" is everywhere", func() error { return hold(replayed, value, all...) })
	}
	bad.stop()
	honest := []*site{target, b, c}
	home, err := trust.OpenHome(bad.data() + "/mesh")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := proto.Marshal(home.Certificate().Message())
	if err != nil {
		t.Fatal(err)
	}

	t.Run("forged documents", func(t *testing.T) {
		before := believed(t, honest...)
		refused := refusals(t, target)
		got := intrude(t, bad.node, target, attack{Data: bad.data(), Forge: true})
		for _, line := range got.Outcomes {
			t.Log(line)
		}
		if len(got.Allowed) > 0 || got.Tried < 15 || got.Offered < 5 {
			t.Errorf("of %d forged documents, %d of them offered by comparison too, these were taken over: %q", got.Tried, got.Offered, got.Allowed)
		}
		if after := believed(t, honest...); after != before {
			t.Errorf("what the islands hold changed from\n%s\nto\n%s", before, after)
		}
		if now := refusals(t, target); now < refused+float64(got.Offered) {
			t.Errorf("the target counts %v refusals, %v before", now, refused)
		}
	})
	t.Run("gossip flood", func(t *testing.T) {
		before := believed(t, honest...)
		chattering(t, target, honest, func() loot {
			return intrude(t, bad.node, target, attack{Seed: seedOf(bad), Certificate: certificate, Chatter: chatterFor})
		})
		if after := believed(t, honest...); after != before {
			t.Errorf("what the islands hold changed from\n%s\nto\n%s", before, after)
		}
	})
	t.Run("afterwards the traitor is put out", func(t *testing.T) {
		target.must("revoke", bad.name, "--reason", "malice")
		eventually(t, time.Minute, "it is out everywhere", func() error { return gone(bad, honest...) })
		b.set("owner/after", "team: b\n")
		eventually(t, time.Minute, "changes go their way", func() error { return hold("owner/after", "team: b\n", honest...) })
	})
}

// believed is what islands that agree hold: every document with author and time,
// but for statements about who is reached, and what these tests write meanwhile.
func believed(t *testing.T, sites ...*site) string {
	t.Helper()
	var text string
	eventually(t, time.Minute, "the islands hold the same", func() error {
		text = ""
		for _, s := range sites {
			docs, err := s.documents("")
			if err != nil {
				return err
			}
			members, err := s.network()
			if err != nil {
				return err
			}
			lines := make([]string, 0, len(docs))
			for _, d := range docs {
				if !strings.HasPrefix(d.Key, "statement/") && !strings.HasPrefix(d.Key, "owner/during-") {
					lines = append(lines, fmt.Sprintf("%s %d %s", d.Key, d.Time, d.Author))
				}
			}
			slices.Sort(lines)
			now := fmt.Sprintf("%d members\n%s", members.Members, strings.Join(lines, "\n"))
			if text != "" && now != text {
				return fmt.Errorf("%s holds\n%s\nand %s\n%s", sites[0].name, text, s.name, now)
			}
			text = now
		}
		return nil
	})
	return text
}

func refusals(t *testing.T, s *site) float64 {
	t.Helper()
	n, err := s.metric("atoll_replica_refused_documents_total")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// chattering looks at what a flood costs its target, while the others write.
func chattering(t *testing.T, target *site, honest []*site, flood func() loot) {
	memory, open, err := target.resident()
	if err != nil {
		t.Fatal(err)
	}
	// What it costs to live, with the same calls and changes, is not the flood's.
	idle := target.cpu()
	changes := change(t, honest, "before", chatterFor/2)
	idle = (target.cpu() - idle) * 2
	t.Logf("without the flood it uses %s in %s; %d changes", idle, chatterFor, changes)

	var got loot
	flooding := sync.WaitGroup{}
	stop, most := make(chan struct{}), memory
	mostOpen := open
	used := target.cpu()
	flooding.Go(func() {
		for {
			if m, o, err := target.resident(); err == nil {
				most, mostOpen = max(most, m), max(mostOpen, o)
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	flooding.Go(func() { changes = change(t, honest, "during", chatterFor) })
	got = flood()
	close(stop)
	flooding.Wait()
	used = target.cpu() - used - idle
	each := used / time.Duration(max(1, got.Flooded))
	t.Logf("%d messages in %d bytes, %d streams reset, %d not opened; it used %s of CPU for them, %s each; memory %d MiB to %d MiB, descriptors %d to %d; %d changes went through meanwhile",
		got.Flooded, got.Bytes, got.Resets, got.Refused, used.Round(time.Millisecond), each.Round(time.Microsecond), memory>>20, most>>20, open, mostOpen, changes)
	if got.Flooded < int(chatterFor.Seconds())*500 {
		t.Errorf("%d messages are no flood", got.Flooded)
	}
	if each > chatterCosts {
		t.Errorf("a message of the flood costs %s of CPU, want at most %s", each, chatterCosts)
	}
	if most-memory > mayGrow || mostOpen-open > mayOpen {
		t.Errorf("it grew by %d MiB and %d descriptors, want at most %d and %d", (most-memory)>>20, mostOpen-open, mayGrow>>20, mayOpen)
	}
	if changes < 3 {
		t.Errorf("%d changes went through meanwhile", changes)
	}
	for _, reason := range []string{"neighbour_rate", "signature"} {
		if n, err := target.metric("atoll_mesh_gossip_dropped_total", fmt.Sprintf("reason=%q", reason)); err != nil || n == 0 {
			t.Errorf("the target counts %v messages dropped for %s: %v", n, reason, err)
		}
	}
}

// change has one island after the other write for a while, and each change reach all
// before the next; it returns how many did.
func change(t *testing.T, sites []*site, what string, while time.Duration) (changes int) {
	for end := time.Now().Add(while); time.Now().Before(end); changes++ {
		key, value := "owner/during-"+what, fmt.Sprintf("n: %d\n", changes)
		if _, err := sites[changes%len(sites)].atollWith(value, "set", key, "-f", "-"); err != nil {
			t.Errorf("write %s: %v", what, err)
			return changes
		}
		reached := func() error { return hold(key, value, sites...) }
		for late := time.Now().Add(time.Minute); reached() != nil; wait(t, 20*time.Millisecond) {
			if time.Now().After(late) {
				t.Errorf("a change written %s the flood is not everywhere after a minute: %v", what, reached())
				return changes
			}
		}
	}
	return changes
}

// cpu is the time that the process has computed for.
func (s *site) cpu() time.Duration {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	// The name, in parentheses, may hold spaces: utime and stime are 12 and 13 after it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, n := range []int{11, 12} {
		v, err := strconv.Atoi(fields[n])
		if err != nil {
			s.t.Fatal(err)
		}
		ticks += v
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}
