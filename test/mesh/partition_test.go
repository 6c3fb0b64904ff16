package mesh

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// TestPartition parts nine islands into four and five for a minute, while both sides
// write.
func TestPartition(t *testing.T) {
	t.Parallel()
	const apart = time.Minute
	l := lab.New(t)
	w := l.WAN(lab.WANOptions{})
	w.SetDelay("eu", "us", 40*time.Millisecond)
	w.SetDelay("us", "ap", 60*time.Millisecond)
	w.SetDelay("eu", "ap", 80*time.Millisecond)
	var sites []*site
	for n := range 9 {
		region := []string{"eu", "us", "ap"}[n%3]
		node := l.Public(fmt.Sprintf("i%d", n), lab.LinkOptions{Region: region, Delay: time.Millisecond})
		sites = append(sites, newSite(t, node, region))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	sites[0].set("owner/doomed", "of: before\n")
	sites[0].set("owner/contested", "by: before\n")
	alike(t, time.Minute, sites...)

	left, right := sites[:4], sites[4:]
	l.Partition(nodes(left), nodes(right))
	began := time.Now()
	written := edits(t, left, right, apart)
	wait(t, apart-time.Since(began))
	for _, s := range sites {
		if n := s.identity().Members; n != 9 {
			t.Errorf("%s, parted from others, counts %d members, want 9", s.name, n)
		}
	}
	if docs, err := left[0].documents("owner/right-"); err != nil || len(docs) > 0 {
		t.Fatalf("the partition leaks: %v %v", docs, err)
	}

	l.HealAll()
	took := alike(t, 2*time.Minute, sites...)
	t.Logf("all alike %s after healing", took.Round(time.Millisecond))
	meshed(t, sites...)
	for _, s := range sites {
		checkEdits(t, s, written)
		if n := s.identity().Members; n != 9 {
			t.Errorf("%s counts %d members after healing, want 9", s.name, n)
		}
	}
	versions, err := sites[2].history("owner/contested")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(versions, func(d document) bool { return d.Value == "by: left, earlier\n" }) {
		t.Errorf("what was overwritten is not in the history: %s", show(versions))
	}
}

func nodes(sites []*site) []lab.Site {
	var out []lab.Site
	for _, s := range sites {
		out = append(out, s.node)
	}
	return out
}

// edits has each island write documents of its own while the two sides do not
// hear each other, and both write to one; what must be there in the end is
// returned, "" for a document that must be gone.
func edits(t *testing.T, left, right []*site, while time.Duration) map[string]string {
	t.Helper()
	written := map[string]string{"owner/contested": "by: right, later\n", "owner/doomed": ""}
	for round := range 3 {
		for side, sites := range map[string][]*site{"left": left, "right": right} {
			for _, s := range sites {
				key := fmt.Sprintf("owner/%s-%s-%d", side, s.name, round)
				written[key] = "of: " + key + "\n"
				s.set(key, written[key])
			}
		}
		// Of one document every round overwrites the round before.
		left[1].set("owner/counter", fmt.Sprintf("round: %d\n", round))
		written["owner/counter"] = fmt.Sprintf("round: %d\n", round)
		if round == 1 {
			left[0].set("owner/contested", "by: left, earlier\n")
			wait(t, 100*time.Millisecond) // clocks of one machine tell the order
			right[0].set("owner/contested", "by: right, later\n")
			right[1].must("set", "owner/doomed", "--delete")
		}
		wait(t, while/10)
	}
	return written
}

func checkEdits(t *testing.T, s *site, written map[string]string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(written)) {
		if err := holds(s, key, written[key]); err != nil {
			t.Error(err)
		}
	}
}
