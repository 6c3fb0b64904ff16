package conform

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// OpKind is one way in which the world treats a node.
type OpKind uint8

// The ways. Delay keeps the order of a source's requests, Reorder does not.
const (
	Duplicate  OpKind = iota // a request comes again after By
	Delay                    // a source's requests from At on wait until At+By
	Reorder                  // one request comes By later, after its successors
	Lost                     // killed before the request was journalled; the sender tries again after By
	AckLost                  // killed after it; the sender tries again after By
	KillInTick               // killed after a tick was journalled, before anything was published
	Checkpoint               // state is written, the journal starts anew
	ClockJump                // the arrival clock jumps by By, for ever
	Reload                   // the same rules are loaded again
	Pause                    // no tick from At to At+By
	opKinds
)

var opNames = [opKinds]string{
	"duplicate", "delay", "reorder", "lost", "ack lost", "kill in tick", "checkpoint", "clock jump", "reload", "pause",
}

// Op happens at the first request of Source (or tick) at or after At.
type Op struct {
	Kind   OpKind
	At, By int64 // milliseconds
	Source int   // whose request
}

func (o Op) String() string {
	return fmt.Sprintf("%s at %d ms by %d ms (source %d)", opNames[o.Kind], o.At, o.By, o.Source)
}

// Schedule is a run of the checker: a few sources and what happens to them.
type Schedule struct {
	Seed    uint64
	Ordered bool // requests of a source keep their order
	Ops     []Op
}

func (s Schedule) String() string {
	lines := []string{fmt.Sprintf("seed %d, ordered=%v:", s.Seed, s.Ordered)}
	for _, o := range s.Ops {
		lines = append(lines, "  "+o.String())
	}
	return strings.Join(lines, "\n")
}

// Shape of a schedule's world. Nothing happens in its last 200 s, so that late
// amounts find a next window for their total.
const (
	scheduleSources = 6
	schedulePods    = 3
	scheduleEnd     = 600 * Second
)

// NewSchedule draws one. Ordered ones hold no Reorder.
func NewSchedule(seed uint64) Schedule {
	r := rand.New(rand.NewPCG(seed, 11))
	s := Schedule{Seed: seed, Ordered: seed%2 == 0}
	for range 3 + r.IntN(10) {
		op := Op{Kind: OpKind(r.IntN(int(opKinds))), At: 65*Second + r.Int64N(scheduleEnd-265*Second), Source: r.IntN(scheduleSources)}
		switch op.Kind {
		case Reorder:
			if s.Ordered {
				op.Kind = Duplicate
			}
			op.By = 11*Second + r.Int64N(60*Second)
		case ClockJump:
			op.By = r.Int64N(400*Second) - 200*Second
		case Delay:
			op.By = r.Int64N(80 * Second)
		case Pause:
			op.By = r.Int64N(30 * Second)
		default:
			op.By = 1 + r.Int64N(20*Second)
		}
		s.Ops = append(s.Ops, op)
	}
	slices.SortStableFunc(s.Ops, func(a, b Op) int { return cmp.Compare(a.At, b.At) })
	return s
}

// Scrapes are the samples of the schedule's world before anything happens to
// them: one source is delivered by two senders, one restarts, one has a pod that is born.
func (s Schedule) Scrapes() Flight {
	r := rand.New(rand.NewPCG(s.Seed, 13))
	var f Flight
	for source := range scheduleSources {
		offset := 1 + r.Int64N(9999)
		restart := 100*Second + r.Int64N(300*Second)
		for pod := range schedulePods {
			ls := labels.FromStrings(labels.MetricName, CounterName, "job", "shop", "instance", fmt.Sprint(source),
				"pod", fmt.Sprint(pod), "path", fmt.Sprintf("/%d", r.IntN(4)))
			v := Linear(float64(r.IntN(1_000_000)+1_000_000), float64(1+r.IntN(100)))
			first := offset
			switch {
			case source == 1:
				v = ResetAt(v, restart, float64(1+r.IntN(100)))
			case source == 2 && pod == 2:
				first = offset + 200*Second
				v = Linear(-200*100, 100)
			}
			f = append(f, Scrape(ls, first, scheduleEnd, 10*Second, v).From(uint64(source+1))...)
		}
	}
	return f
}

// Shrink removes ops as long as the schedule fails without them.
func (s Schedule) Shrink(fails func(Schedule) bool) Schedule {
	for i := 0; i < len(s.Ops); {
		less := s
		less.Ops = slices.Delete(slices.Clone(s.Ops), i, i+1)
		if fails(less) {
			s = less
			continue
		}
		i++
	}
	return s
}
