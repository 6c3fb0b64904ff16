package mesh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh/witness"
)

// hasty finds losses within seconds.
const hasty = `witness: {period: 500ms, wide_period: 1s, fresh: 2s, look_timeout: 2s, failures: 3, silence: 4s, grace: 4s, recovery: 3s, recheck: 1s}`

// TestWitness cuts the uplink of one island of six: one statement about it
// appears, with who saw what, nothing about anybody else, and it goes when the
// island is back.
func TestWitness(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	w := l.WAN(lab.WANOptions{})
	w.SetDelay("eu", "us", 20*time.Millisecond)
	w.SetDelay("eu", "ap", 40*time.Millisecond)
	w.SetDelay("us", "ap", 30*time.Millisecond)
	var sites []*site
	for _, name := range []string{"eu-1", "eu-2", "us-1", "us-2", "ap-1", "ap-2"} {
		region, _, _ := strings.Cut(name, "-")
		node := l.Public(name, lab.LinkOptions{Region: region, Delay: time.Millisecond})
		sites = append(sites, newSite(t, node, region).with(hasty))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	steadily(t, 5*time.Second, "nobody is stated lost while all is well", func() error { return statements(sites, 0, "") })

	lost := sites[4]
	others := slices.DeleteFunc(slices.Clone(sites), func(s *site) bool { return s == lost })
	key := lost.identity().Key
	lost.node.Uplink().Cut()
	took := eventually(t, time.Minute, "the loss is stated", func() error { return statements(others, 1, key) })
	t.Logf("stated after %s", took.Round(time.Millisecond))
	checkStatement(t, others[0], lost, key)
	eventually(t, time.Minute, "the island says of itself that it is cut off", func() error {
		codes, err := lost.warnings()
		if err == nil && !slices.Contains(codes, "mesh-cut-off") {
			err = fmt.Errorf("it warns of %v", codes)
		}
		return err
	})
	own, err := lost.documents("statement/")
	if err != nil {
		t.Fatal(err)
	}
	for k := range own {
		if k != "statement/"+key {
			t.Errorf("the island that is cut off states %s about another", k)
		}
	}
	steadily(t, 10*time.Second, "there is one statement", func() error { return statements(others, 1, key) })
	if versions, err := others[1].history("statement/" + key); err != nil || len(versions) > 3 {
		t.Errorf("the statement was written %d times: %s %v", len(versions), show(versions), err)
	}

	lost.node.Uplink().Heal()
	took = eventually(t, 2*time.Minute, "the statement is withdrawn everywhere", func() error { return statements(sites, 0, "") })
	t.Logf("withdrawn %s after healing", took.Round(time.Millisecond))
	eventually(t, time.Minute, "the island says no more that it is cut off", func() error {
		codes, err := lost.warnings()
		if err == nil && slices.Contains(codes, "mesh-cut-off") {
			err = errors.New("it warns still")
		}
		return err
	})
}

// statements is nil if each site holds so many, and none but about one key.
func statements(sites []*site, want int, about string) error {
	for _, s := range sites {
		docs, err := s.documents("statement/")
		if err != nil {
			return err
		}
		if len(docs) != want {
			return fmt.Errorf("%s holds %d statements, want %d: %s", s.name, len(docs), want, show(docs))
		}
		if _, ok := docs["statement/"+about]; want > 0 && !ok {
			return fmt.Errorf("%s holds statements, but not about %s: %s", s.name, about, show(docs))
		}
	}
	return nil
}

func checkStatement(t *testing.T, on, lost *site, key string) {
	t.Helper()
	text, err := on.value("statement/" + key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := witness.DecodeStatement([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.Kind != witness.KindLost || s.Name != lost.name || s.Region != lost.region {
		t.Errorf("statement of kind %s about %s in %s, want %s about %s in %s", s.Kind, s.Name, s.Region, witness.KindLost, lost.name, lost.region)
	}
	regions := map[string]bool{}
	for _, v := range s.Votes {
		if v.Reached {
			t.Errorf("%s voted that it reaches %s", v.Name, lost.name)
		}
		if !v.Alone && !v.Silent {
			regions[v.Region] = true
		}
	}
	if delete(regions, lost.region); len(regions) < 2 {
		t.Errorf("votes come from %d other regions, want at least 2: %s", len(regions), show(s.Votes))
	}
}
