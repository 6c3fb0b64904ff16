package dimension

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestThreeIslands: of three islands that only ask each other questions, each
// value is evaluated by exactly one; when an island dies, another has its values
// at the next look; a value that appears or vanishes is noticed within a minute.
func TestThreeIslands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		names := []string{"atoll", "bikini", "canton"}
		members := &roster{}
		members.set(names...)
		own := map[string]*rig{}
		defer r.closeAll(own)
		islands := r.islands(members, own, names, perService(15*time.Second), false)
		services := []string{}
		for i := range 30 {
			services = append(services, fmt.Sprintf("s%d", i))
		}
		scrape := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
				for _, s := range services {
					r.append(requests(s, "p", float64(time.Now().Unix()%100000)))
				}
			}
			synctest.Wait()
		}
		once := func(when string, want int) {
			t.Helper()
			all := owners(islands)
			if len(all) != want {
				t.Errorf("%s: %d values have a rule, want %d", when, len(all), want)
			}
			for value, by := range all {
				if len(by) != 1 {
					t.Errorf("%s: %s is evaluated by %v, want one island", when, value, by)
				}
			}
		}
		time.Sleep(8 * time.Second)
		scrape(time.Minute)
		once("at first", 30)
		if n := len(islands["bikini"].RuleGroups()); n == 0 || n == 30 {
			t.Fatalf("bikini evaluates %d of 30 values", n)
		}

		r.stop[1]()
		delete(islands, "bikini")
		members.set("atoll", "canton")
		scrape(time.Minute)
		once("a minute after one died", 30)

		services = append(services, "new")
		scrape(time.Minute)
		once("a minute after a value appeared", 31)

		services = slices.DeleteFunc(services, func(s string) bool { return s == "s3" || s == "s4" })
		scrape(2 * time.Minute) // the rules read a minute of samples, and are looked at within another
		once("a minute after two values were no longer read", 29)
		for series, points := range merge(own) {
			for i, p := range points[:len(points)-1] {
				if next := points[i+1]; !next.stale && next.t-p.t != 15000 && next.t-p.t != 30000 {
					t.Errorf("%s: a sample at %d and the next one %d ms later, want 15 s, or 30 s where an island died", series, p.t, next.t-p.t)
				}
			}
		}
	})
}
