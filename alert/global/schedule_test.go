package global

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	// quiet is how long after the last disturbance everything must be in order.
	quiet = 30*time.Second + worldInterval
	// heard is how long a notification and the news of it may take.
	heard = underWay + 2*gossipDelay
	// comparing is how long a notification may be on its way after it was compared.
	comparing = lookTimeout + 2*gossipDelay
)

// TestSchedules disturbs networks of three to five primaries at random times, and
// checks what people were told. ATOLL_SCHEDULES is how many, ATOLL_SEED the first.
func TestSchedules(t *testing.T) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	first := number("ATOLL_SEED", 1)
	for seed := first; seed < first+number("ATOLL_SCHEDULES", 12); seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newSchedule(t, uint64(seed)).play() })
		})
	}
}

// schedule is one run, with what was done in it.
type schedule struct {
	*world
	r         *rand.Rand
	primaries []string
	done      []disturbance
	split     bool
	flips     map[string][]time.Time // when conditions that come and go did
}

// flapping are the conditions that come and go all the time.
var flapping = []string{"flip", "flop", "flap"}

type disturbance struct {
	at   time.Time
	what string
	node string // killed or demoted, "" for all others
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{r: rand.New(rand.NewPCG(seed, seed)), flips: map[string][]time.Time{}}
	s.world = newWorld(t, 5,
		group("steady", alertRule("steady", 2*time.Minute, Keep)), group("loose", alertRule("loose", time.Minute, Ignore)),
		group("brief", alertRule("brief", 0, Keep)), group("flip", alertRule("flip", 0, Keep)),
		group("flop", alertRule("flop", 0, Ignore)), group("flap", alertRule("flap", 20*time.Second, Ignore)))
	s.slow = rand.New(rand.NewPCG(seed, 0))
	s.primaries = slices.Clone(s.names[:3+s.r.IntN(3)])
	return s
}

// play disturbs for a while, with a condition that holds all the time, then lets
// the network come to rest and looks.
func (s *schedule) play() {
	defer s.run(s.primaries...)()
	time.Sleep(time.Minute)
	for _, c := range []string{"steady", "loose", "brief"} {
		s.set(c, true)
	}
	began := time.Now()
	for time.Since(began) < 15*time.Minute {
		time.Sleep(time.Duration(s.r.Int64N(int64(70 * time.Second))))
		for _, c := range flapping {
			if s.r.IntN(3) == 0 {
				s.flips[c] = append(s.flips[c], time.Now())
				s.set(c, len(s.flips[c])%2 == 1)
				time.Sleep(time.Duration(s.r.Int64N(int64(worldInterval + groupWait))))
			}
		}
		s.disturb()
		s.evaluatedLately()
	}
	s.rest()
	time.Sleep(4 * time.Minute)
	for _, c := range []string{"steady", "loose", "brief"} {
		s.toldOnce(c, began)
		s.evaluatedByOne(c)
	}
	for _, c := range flapping {
		s.toldOnceEach(c, began)
	}
	for _, c := range []string{"steady", "loose", "brief"} {
		s.set(c, false)
	}
	time.Sleep(2 * time.Minute)
	for _, c := range []string{"steady", "loose", "brief"} {
		if _, resolved := s.tellings(c); len(resolved) != 1 {
			s.fail("%s: its end was told %d times, want once", c, len(resolved))
		}
	}
}

// disturb does one thing. At least one primary stays alive.
func (s *schedule) disturb() {
	one := s.names[s.r.IntN(len(s.names))]
	living := s.living()
	d := disturbance{at: time.Now()}
	switch s.r.IntN(7) {
	case 6:
		other := s.names[s.r.IntN(len(s.names))]
		d.what = fmt.Sprint("looks between ", one, " and ", other, " change")
		s.mu.Lock()
		s.deaf[pair(one, other)] = one != other && !s.deaf[pair(one, other)]
		s.mu.Unlock()
	case 0, 1:
		if !s.nodes[one].alive {
			d.what = "start " + one
			s.start(one)
			break
		}
		if len(living) > 1 || !slices.Contains(living, one) {
			d.what, d.node = "kill "+one, one
			s.kill(one)
		}
	case 2:
		i := 1 + s.r.IntN(len(s.names)-1)
		order := s.r.Perm(len(s.names))
		var left, right []string
		for n, o := range order {
			if n < i {
				left = append(left, s.names[o])
			} else {
				right = append(right, s.names[o])
			}
		}
		d.what = fmt.Sprint("cut ", left, right)
		s.sever(s.names, s.names, false)
		s.sever(left, right, true)
		s.split = true
	case 3:
		d.what = "heal"
		s.sever(s.names, s.names, false)
	case 4:
		if len(s.primaries) < len(s.names) && !slices.Contains(s.primaries, one) && s.nodes[one].alive {
			d.what = "promote " + one
			s.primaries = append(s.primaries, one)
			s.promote(one, one)
		}
	case 5:
		if i := slices.Index(s.primaries, one); i >= 0 && len(s.primaries) > 2 && s.nodes[one].alive && (len(living) > 1 || !slices.Contains(living, one)) {
			d.what, d.node = "demote "+one, one
			s.primaries = slices.Delete(s.primaries, i, i+1)
			s.demote(one, one)
		}
	}
	if d.what != "" {
		s.done = append(s.done, d)
	}
}

func (s *schedule) living() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, n := range s.primaries {
		if s.nodes[n].alive {
			out = append(out, n)
		}
	}
	return out
}

func (s *schedule) rest() {
	s.sever(s.names, s.names, false)
	s.mu.Lock()
	clear(s.deaf)
	s.mu.Unlock()
	for _, n := range s.names {
		s.start(n)
	}
	s.done = append(s.done, disturbance{at: time.Now(), what: "rest"})
}

// evaluatedLately holds every group to the time of a takeover: where nothing was
// done for that long, it was evaluated in each part that has a primary which knows
// that it is one.
func (s *schedule) evaluatedLately() {
	if n := len(s.done); n == 0 || time.Since(s.done[n-1].at) < quiet {
		return
	}
	for _, n := range s.living() {
		s.mu.Lock()
		part := s.part(n)
		s.mu.Unlock()
		if !slices.Contains(s.nodes[n].primaries(), n) {
			continue
		}
		for _, expr := range []string{"steady", "loose", "brief"} {
			s.mu.Lock()
			ok := slices.ContainsFunc(s.evaluations, func(e evaluation) bool {
				return e.expr == expr && slices.Contains(part, e.node) && time.Since(e.at) <= quiet
			})
			s.mu.Unlock()
			if !ok {
				s.fail("%s was not evaluated in part %v for %s", expr, part, quiet)
			}
		}
	}
}

func (s *schedule) evaluatedByOne(expr string) {
	by := map[string]bool{}
	s.mu.Lock()
	for _, e := range s.evaluations {
		if e.expr == expr && time.Since(e.at) < 2*time.Minute {
			by[e.node] = true
		}
	}
	s.mu.Unlock()
	if len(by) != 1 {
		s.fail("%s is evaluated by %v at rest, want one", expr, by)
	}
}

// toldOnce allows for more than one telling only where whoever told it again could
// not know of it.
func (s *schedule) toldOnce(alert string, began time.Time) {
	firing, resolved := s.tellings(alert)
	if len(firing) == 0 {
		s.fail("%s was never told", alert)
		return
	}
	if len(resolved) > 0 {
		s.fail("%s was told to be over, %v, though it held all the time", alert, resolved)
	}
	slices.SortFunc(firing, func(a, b telling) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for i, second := range firing[1:] {
		for _, first := range firing[:i+1] {
			if known, ok := first.known[second.node]; ok && second.at.Sub(known) > comparing {
				s.fail("%s was told again by %s after %s, who could know of it for %s", alert, second.node, second.at.Sub(began), second.at.Sub(known))
				break
			}
		}
	}
}

// partedSince reports whether the network was in parts at any time since then, or
// was healed shortly before.
func (s *schedule) partedSince(from, to time.Time) bool {
	parted := false
	for _, d := range s.done {
		switch {
		case d.at.After(to):
		case strings.HasPrefix(d.what, "cut"):
			parted = true
		case d.what == "heal", d.what == "rest":
			parted = d.at.After(from.Add(-quiet))
		}
	}
	return parted
}

// toldOnceEach does so with each beginning and end of a condition that comes and
// goes, in a network that is whole: of what two parts decided otherwise, something
// may be told again after they met.
func (s *schedule) toldOnceEach(alert string, began time.Time) {
	firing, resolved := s.tellings(alert)
	for _, all := range [][]telling{firing, resolved} {
		for i, second := range all {
			for _, first := range all[:i] {
				known, ok := first.known[second.node]
				flipped := slices.ContainsFunc(s.flips[alert], func(at time.Time) bool {
					return at.After(first.at.Add(-worldInterval)) && at.Before(second.at)
				})
				if ok && !flipped && !s.partedSince(first.at, second.at) && second.at.Sub(known) > comparing {
					s.fail("%s (over: %t) was told again by %s after %s, who could know of it for %s", alert, second.resolved, second.node,
						second.at.Sub(began), second.at.Sub(known))
				}
			}
		}
	}
}

func (s *schedule) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf(format, args...)
	for _, d := range s.done {
		s.t.Logf("%s %s", d.at.Format(time.TimeOnly), d.what)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, told := range s.told[:min(len(s.told), 50)] {
		s.t.Logf("%s told by %s: %s, over %t, fired %d", told.at.Format("15:04:05.0"), told.node, told.alert, told.resolved, told.fired)
	}
}
