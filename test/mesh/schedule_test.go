package mesh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/query/global"
)

const (
	// schedules are played with ATOLL_LONG, sampled without. ATOLL_SCHEDULES=66-132
	// plays some of them.
	schedules, sampled = 200, 6
	// asking is how many islands ask at once while faults happen.
	asking = 3
	// stalls is what a busy machine may add to a deadline.
	stalls = time.Minute
)

// TestQuerySchedules has islands ask about all six while links, boxes and relays are
// cut, processes are killed and started again, links get slow or lossy, and direct
// paths swallow everything: one or two such faults at random moments of each
// question. Every answer equals that of one engine over the islands which it says
// have answered, and names those that have not; where partial answers are denied,
// such an answer is an error that names them.
func TestQuerySchedules(t *testing.T) {
	t.Parallel()
	first, end := chosen(t)
	p := newPlay(t)
	for n := first; n < end; n++ {
		p.schedule(n)
	}
	t.Logf("%d schedules: %d answers were complete, %d said what they lack, %d were denied, %d islands were missing",
		end-first, p.complete, p.flagged, p.denied, p.missing)
	if p.complete == 0 || p.flagged+p.denied == 0 {
		t.Error("faults have struck all questions or none")
	}
	// What struck them is over: all answer again.
	eventually(t, 2*time.Minute, "everything is complete again", func() error {
		var errs []error
		for _, s := range p.sites {
			errs = append(errs, p.whole.right(s, "sum(load)"))
		}
		return errors.Join(errs...)
	})
}

// chosen are the schedules to play.
func chosen(t *testing.T) (first, end int) {
	if text := os.Getenv("ATOLL_SCHEDULES"); text != "" {
		if n, err := fmt.Sscanf(text, "%d-%d", &first, &end); err != nil || n != 2 || first >= end {
			t.Fatalf("ATOLL_SCHEDULES=%s: want two numbers, the first and one after the last: 0-66", text)
		}
		return first, end
	}
	if long() {
		return 0, schedules
	}
	t.Logf("%d of %d schedules only; ATOLL_LONG=1 plays all", sampled, schedules)
	return 0, sampled
}

// play is a network on which schedules are played.
type play struct {
	t     *testing.T
	sites []*site
	boxes []*lab.NAT
	whole *merged

	truths                             map[string]*merged // by the islands that are missing
	complete, flagged, denied, missing int
}

func newPlay(t *testing.T) *play {
	l := lab.New(t)
	regions := lab.ThreeRegions(l)
	p := &play{t: t, boxes: regions.Boxes, truths: map[string]*merged{}}
	for _, node := range regions.All {
		p.sites = append(p.sites, newSite(t, node, node.Name()[:2]))
	}
	allUp(p.sites...)
	found(t, p.sites[0], p.sites[1:]...)
	meshed(t, p.sites...)
	p.whole = fill(t, p.sites...)
	return p
}

// fault is something that goes wrong from a moment of a question on, for a while.
type fault struct {
	name      string
	at, after time.Duration
	begin     func() (end func())
}

// schedule asks and has faults happen meanwhile; what has happened ends with it.
func (p *play) schedule(n int) {
	rng := rand.New(rand.NewPCG(uint64(n), 0x5eed))
	askers := rng.Perm(len(p.sites))[:asking]
	var faults []fault
	for range 1 + rng.IntN(2) {
		f := p.draw(rng, askers)
		f.at, f.after = time.Duration(rng.IntN(250))*time.Millisecond, time.Duration(200+rng.IntN(5000))*time.Millisecond
		if !slices.ContainsFunc(faults, func(other fault) bool { return other.name == f.name }) {
			faults = append(faults, f)
		}
	}
	var wg sync.WaitGroup
	asked := make([]question, asking)
	for i, asker := range askers {
		q := &asked[i]
		*q = question{by: p.sites[asker], expr: expressions[rng.IntN(len(expressions))], denies: rng.IntN(4) == 0}
		wg.Go(func() { q.put(p.whole.end) })
	}
	var told []string
	for _, f := range faults {
		told = append(told, fmt.Sprintf("%s after %s for %s", f.name, f.at, f.after))
		wg.Go(func() {
			wait(p.t, f.at)
			end := f.begin()
			wait(p.t, f.after)
			end()
		})
	}
	wg.Wait()
	var said []string
	for _, q := range asked {
		what, err := p.judge(&q)
		if err != nil {
			p.t.Errorf("schedule %d: %s asks %s: %v", n, q.by.name, q.expr, err)
		}
		said = append(said, q.by.name+" "+what)
	}
	p.t.Logf("schedule %d: %s: %s", n, strings.Join(told, ", "), strings.Join(said, ", "))
}

// span is how long before the end a question begins.
const span = 2 * time.Minute

// question is put while faults happen.
type question struct {
	by     *site
	expr   string
	denies bool // partial answers
	answer globalAnswer
	err    error
}

func (q *question) put(end time.Time) {
	form := url.Values{"query": {q.expr}, "step": {"30s"}, "start": {fmt.Sprint(end.Add(-span).Unix())}, "end": {fmt.Sprint(end.Unix())}}
	if q.denies {
		form.Set("partial", "deny")
	}
	q.answer, q.err = q.by.within(deadline, stalls, "query_range", form)
}

// draw chooses a fault. Who asks is not killed: there would be no answer to judge.
func (p *play) draw(rng *rand.Rand, askers []int) fault {
	n := rng.IntN(len(p.sites))
	s := p.sites[n]
	switch kind := rng.IntN(7); {
	case kind == 0:
		return fault{name: "cut " + s.name, begin: func() func() { s.node.Link().Cut(); return s.node.Link().Heal }}
	case kind == 1:
		box := p.boxes[rng.IntN(len(p.boxes))]
		return fault{name: "cut box " + box.Name(), begin: func() func() { box.Link().Cut(); return box.Link().Heal }}
	case kind == 2:
		relay := p.sites[rng.IntN(2)] // the public ones
		return fault{name: "cut relay " + relay.name, begin: func() func() { relay.node.Link().Cut(); return relay.node.Link().Heal }}
	case kind == 3:
		delay := time.Duration(100+rng.IntN(2500)) * time.Millisecond
		return fault{name: fmt.Sprintf("slow uplink of %s by %s", s.name, delay), begin: func() func() {
			s.node.Uplink().SetDelay(delay)
			return func() { s.node.Uplink().SetDelay(time.Millisecond) }
		}}
	case kind == 4:
		loss := 0.05 + 0.4*rng.Float64()
		return fault{name: fmt.Sprintf("lossy uplink of %s, %.2f", s.name, loss), begin: func() func() {
			s.node.Uplink().SetLoss(loss)
			return func() { s.node.Uplink().SetLoss(0) }
		}}
	case kind == 5 || slices.Contains(askers, n):
		from := p.sites[askers[0]]
		if from.node.SeenFrom() == s.node.SeenFrom() { // of one house
			s = p.sites[rng.IntN(2)]
		}
		return fault{name: fmt.Sprintf("black hole between %s and %s", from.name, s.name), begin: func() func() {
			return from.node.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(s.node.SeenFrom(), 32)})
		}}
	}
	return fault{name: "kill " + s.name, begin: func() func() { s.kill(); return func() { s.start(); s.waitUp() } }}
}

// judge says what an answer was; an error is one that is wrong.
func (p *play) judge(q *question) (string, error) {
	if q.err != nil {
		return "", q.err
	}
	var missing []string
	for _, i := range q.answer.Receipt.Islands {
		if i.State == global.StateFailed {
			missing = append(missing, i.Name)
		}
	}
	p.missing += len(missing)
	if q.denies && len(missing) > 0 {
		for _, name := range missing {
			if q.answer.Status != "error" || !strings.Contains(q.answer.Error, fmt.Sprintf("%q", name)) {
				return "", fmt.Errorf("what lacks %s is no error that names it: %s", name, show(q.answer))
			}
		}
		p.denied++
		return "was denied without " + strings.Join(missing, " and "), nil
	}
	if err := p.truth(missing).check(q.answer, q.expr, p.whole.end.Add(-span)); err != nil {
		return "", fmt.Errorf("%w: %s", err, show(q.answer))
	}
	if len(missing) > 0 {
		p.flagged++
		return "answered without " + strings.Join(missing, " and "), nil
	}
	p.complete++
	return "answered", nil
}

// truth is what is right without some islands.
func (p *play) truth(missing []string) *merged {
	if len(missing) == 0 {
		return p.whole
	}
	key := strings.Join(missing, " ")
	if p.truths[key] == nil {
		p.truths[key] = merge(p.t, p.whole.end, p.whole.names, missing...)
	}
	return p.truths[key]
}
