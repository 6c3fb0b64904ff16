package conform

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// script is a schedule made into requests in the order in which they happen.
type script struct {
	requests []scripted
	ops      []Op // those that are not about a request
}

type scripted struct {
	Request
	lost, ackLost bool // the node is killed around it
}

// newScript applies the ops that are about requests.
func newScript(s Schedule) script {
	bySource := make([][]scripted, scheduleSources)
	for _, r := range s.Scrapes().Requests() {
		i := r.Sender - 1
		bySource[i] = append(bySource[i], scripted{Request: r})
	}
	var out script
	for _, op := range s.Ops {
		q := bySource[op.Source]
		at := slices.IndexFunc(q, func(r scripted) bool { return r.At >= op.At })
		if op.Kind >= KillInTick {
			out.ops = append(out.ops, op)
			continue
		}
		if at < 0 {
			continue
		}
		bySource[op.Source] = distort(q, at, op)
	}
	for _, q := range bySource {
		out.requests = append(out.requests, q...)
	}
	slices.SortStableFunc(out.requests, func(a, b scripted) int { return cmp.Compare(a.At, b.At) })
	return out
}

// distort does to the request at place at what op says. Requests of a source
// stay in order unless op is Reorder.
func distort(q []scripted, at int, op Op) []scripted {
	again := q[at]
	again.At += op.By
	switch op.Kind {
	case Duplicate:
		q = insertAt(q, again)
	case Delay:
		for i := at; i < len(q) && q[i].At < op.At+op.By; i++ {
			q[i].At = op.At + op.By
		}
	case Reorder:
		q = insertAt(slices.Delete(q, at, at+1), again)
	case AckLost:
		q[at].ackLost = true
		q = insertAt(q, again)
	case Lost:
		// The sender tries it again before it goes on.
		q[at].lost = true
		for i := at + 1; i < len(q) && q[i].At < again.At; i++ {
			q[i].At = again.At
		}
		q = slices.Insert(q, at+1, again)
	}
	return q
}

func insertAt(q []scripted, r scripted) []scripted {
	i := slices.IndexFunc(q, func(o scripted) bool { return o.At > r.At })
	if i < 0 {
		i = len(q)
	}
	return slices.Insert(q, i, r)
}

// subject is a target that knows more kinds of trouble.
type subject interface {
	Target
	jump(by int64)                // of the arrival clock, for ever
	pause(by int64)               // nothing is published
	Checkpoint(overlap int) error // of the last frames of the journal before it
	reload() error
	// killedTick kills the node when it hands out the first window that is due, and
	// reports whether any was; by tells variants of it apart.
	killedTick(now, by int64) (out []Point, handed bool, err error)
	// restarted: no tick since the last restart.
	restarted() bool
}

// run plays a schedule. settle is how long ticks go on after the last scrape.
func run(s Schedule, w subject, settle int64) (*Ledger, error) {
	l, script := NewLedger(), newScript(s)
	requests, ops := script.requests, script.ops
	var pausedUntil, killed int64 // killed: what the op to come says, 0 for none
	for now := int64(0); now <= scheduleEnd+settle; now += Second {
		for ; len(requests) > 0 && requests[0].At <= now; requests = requests[1:] {
			points, err := deliver(w, requests[0])
			if err != nil {
				return nil, err
			}
			l.Again(now, points)
		}
		for ; len(ops) > 0 && ops[0].At <= now; ops = ops[1:] {
			switch op := ops[0]; op.Kind {
			case KillInTick:
				killed = op.By
			case Pause:
				pausedUntil = now + op.By
				w.pause(op.By)
			case ClockJump:
				w.jump(op.By)
			case Checkpoint:
				if err := w.Checkpoint(int(op.By % 4)); err != nil {
					return nil, err
				}
			case Reload:
				if err := w.reload(); err != nil {
					return nil, fmt.Errorf("reload: %w", err)
				}
			}
		}
		if now < pausedUntil {
			continue
		}
		if killed > 0 {
			points, handed, err := w.killedTick(now, killed)
			if err != nil {
				return nil, err
			}
			l.Again(now, points)
			if !handed {
				continue
			}
			killed = 0
		}
		// The first tick after a restart may repeat what the checkpoint had still to hand out.
		note := l.Add
		if w.restarted() {
			note = l.Again
		}
		points, err := w.Tick(now)
		if err != nil {
			return nil, err
		}
		note(now, points)
	}
	return l, nil
}

// deliver hands over one request, with a kill around it where it says so.
func deliver(w subject, r scripted) ([]Point, error) {
	if !r.lost {
		if err := w.Deliver(r.At, r.Request); err != nil {
			return nil, err
		}
	}
	if r.lost || r.ackLost {
		return w.Restart(r.At)
	}
	return nil, nil
}

// verdict compares what was published with the truth; "" is right. once asks
// for one publication of each window, exact at once.
func verdict(l *Ledger, truth Truth, once bool) string {
	var out strings.Builder
	for group := range truth {
		series, err := l.Find("increase", group)
		if err != nil {
			fmt.Fprintln(&out, err)
			continue
		}
		if diff := l.Final(series).Diff(truth.Increases(group), 1e-9, false); diff != "" {
			fmt.Fprintf(&out, "%s:%s\n", group, diff)
		}
		total, err := l.Find("total", group)
		if err != nil {
			fmt.Fprintln(&out, err)
			continue
		}
		row := l.Final(total)
		ends := sortedEnds(row)
		if got, want := row[ends[len(ends)-1]], truth.Sum(group); !Near(got, want, 1e-9) {
			fmt.Fprintf(&out, "%s: total ends at %v, the counters grew %v\n", group, got, want)
		}
	}
	if once {
		out.WriteString(l.Twice())
		return out.String()
	}
	for _, series := range l.Series() {
		for end, all := range l.Windows(series) {
			for i := 1; i < len(all); i++ {
				if all[i].Revision <= all[i-1].Revision {
					fmt.Fprintf(&out, "%s window %d: revision %d after %d\n", series, end/Second, all[i].Revision, all[i-1].Revision)
				}
			}
		}
	}
	return out.String()
}

// rules are those under which a schedule has to come out exact, settle how long
// they may take after the last scrape.
func (s Schedule) rules() (text string, settle int64) {
	late := "late: correct"
	if s.Ordered {
		late = "late: carry"
	}
	return config(counters, late, "max_lag: 15m", "max_age: 2h"), 22 * Minute
}

// judge runs a schedule and says what is wrong with it.
func judge(t testing.TB, s Schedule) string {
	text, settle := s.rules()
	l, err := run(s, newWorld(t, 1, text), settle)
	if err != nil {
		return err.Error()
	}
	return verdict(l, Compute(params, s.Scrapes()), s.Ordered)
}

// TestChecker runs random schedules. Where each source's requests keep their
// order every window is published once and is exact; where they do not, the
// last revision is.
func TestChecker(t *testing.T) {
	for _, seed := range seeds(200, 5000) {
		s := NewSchedule(seed)
		wrong := judge(t, s)
		if wrong == "" {
			continue
		}
		small := s.Shrink(func(less Schedule) bool { return judge(t, less) != "" })
		t.Errorf("%s\n%s\nshrunk from %d ops; all of it says:\n%.1500s", small, judge(t, small), len(s.Ops), wrong)
		if t.Failed() && !long() {
			break
		}
	}
}
