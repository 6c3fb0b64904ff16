package conform

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// counters are the outputs that most tests look at.
const counters = "increase, total, rate_sum, count_samples"

// config is one rule over the scenarios' metric; more are further lines of it.
func config(outputs string, more ...string) string {
	lines := []string{
		"- match: '{__name__!=\"\"}'", "  interval: 1m", "  without: [instance, pod]", "  outputs: [" + outputs + "]",
	}
	for _, m := range more {
		lines = append(lines, "  "+m)
	}
	return strings.Join(lines, "\n") + "\n"
}

// frames is a journal in memory; what is in it survives a kill.
type frames struct{ all [][]byte }

func (f *frames) Append(frame []byte) error {
	f.all = append(f.all, slices.Clone(frame))
	return nil
}

// world is the engines of one or more nodes and the owner of their groups, as
// the room puts them together, without a clock, a disk or a network.
type world struct {
	set   *rule.Set
	nodes []*node
	owner *owner.Owner
	// epoch of the merges of each node.
	epoch uint64
	// skew is how far the arrival clock is off.
	skew int64
	// fresh: no tick since the last restart.
	fresh bool
	// rough sends partials of nodes in pieces, twice, in any order, as bytes.
	rough *rand.Rand
	late  []shipped
}

// shipped is a piece of a window on its way to the owner.
type shipped struct {
	node string
	data []byte
}

type node struct {
	name       string
	engine     *engine.Engine
	refs       map[string]engine.Ref
	journal    *frames
	checkpoint []byte
	totals     []byte // the owner's state, where there is one node
}

var _ subject = (*world)(nil)

func newWorld(t testing.TB, nodes int, text string) *world {
	t.Helper()
	set, err := rule.Load("test.yml", []byte(text))
	if err != nil {
		t.Fatalf("load rules: %v", err)
	}
	w := &world{set: set, epoch: 1}
	if w.owner, err = owner.New(owner.Options{Rules: set}); err != nil {
		t.Fatalf("new owner: %v", err)
	}
	var names []string
	for i := range nodes {
		n := &node{name: fmt.Sprintf("node%d", i)}
		n.start(t, set)
		w.nodes = append(w.nodes, n)
		names = append(names, n.name)
	}
	w.owner.SetSources(names)
	return w
}

func (n *node) start(t testing.TB, set *rule.Set) {
	t.Helper()
	if err := n.boot(set); err != nil {
		t.Fatalf("new engine: %v", err)
	}
}

func (n *node) boot(set *rule.Set) error {
	n.journal, n.refs = &frames{}, map[string]engine.Ref{}
	var err error
	n.engine, err = engine.New(engine.Options{Rules: set, Shards: 4, Journal: n.journal, Seed: 42})
	return err
}

// Deliver hands one request to the engine of its node.
func (w *world) Deliver(now int64, r Request) error {
	n := w.nodes[r.Node]
	b := n.engine.Begin(r.Sender)
	for _, a := range r.Items {
		st := a.ST
		if st != 0 {
			st += Origin
		}
		key := a.Labels.String()
		ref, verdict := b.Append(n.refs[key], a.Labels, st, a.T+Origin, a.V)
		if verdict&engine.Matched == 0 {
			return fmt.Errorf("no rule matches %s", key)
		}
		n.refs[key] = ref
	}
	b.Commit(now + Origin + w.skew)
	return nil
}

// Tick seals what is due.
func (w *world) Tick(now int64) ([]Point, error) {
	var out []Point
	w.fresh = false
	now += Origin + w.skew
	for _, n := range w.nodes {
		err := n.engine.Advance(now, func(window *partial.Window) error {
			if len(w.nodes) == 1 {
				out = append(out, points(w.owner.Finish(window))...)
				return nil
			}
			return w.ship(n.name, window)
		})
		if err != nil {
			return nil, err
		}
	}
	if len(w.nodes) > 1 {
		if err := w.arrive(); err != nil {
			return nil, err
		}
		out = append(out, points(w.owner.Take(now))...)
	}
	return out, nil
}

func (w *world) ship(node string, window *partial.Window) error {
	if w.rough == nil {
		return w.owner.Merge(node, w.epoch, window)
	}
	for _, piece := range partial.Split(window, 1) {
		data := partial.AppendWindow(nil, piece)
		w.late = append(w.late, shipped{node, data}, shipped{node, data})
	}
	return nil
}

// arrive delivers some of what was shipped, and sometimes all of it.
func (w *world) arrive() error {
	if w.rough == nil {
		return nil
	}
	w.rough.Shuffle(len(w.late), func(i, j int) { w.late[i], w.late[j] = w.late[j], w.late[i] })
	keep := w.rough.IntN(1 + len(w.late))
	for _, s := range w.late[keep:] {
		window, _, err := partial.DecodeWindow(s.data, func(hash uint64) *rule.Rule {
			for _, r := range w.set.Rules {
				if r.Hash == hash {
					return r
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("decode a window: %w", err)
		}
		if err := w.owner.Merge(s.node, w.epoch, window); err != nil {
			return err
		}
	}
	w.late = w.late[:keep]
	return nil
}

// restartOwner hands the owner's state to a new one.
func (w *world) restartOwner() error {
	var state bytes.Buffer
	if err := w.owner.Snapshot(&state); err != nil {
		return fmt.Errorf("snapshot of the owner: %w", err)
	}
	fresh, err := owner.New(owner.Options{Rules: w.set})
	if err != nil {
		return err
	}
	if err := fresh.Restore(&state); err != nil {
		return fmt.Errorf("restore the owner: %w", err)
	}
	var names []string
	for _, n := range w.nodes {
		names = append(names, n.name)
	}
	fresh.SetSources(names)
	w.owner = fresh
	return nil
}

func points(samples []partial.Sample) []Point {
	var out []Point
	for _, s := range samples {
		p := Point{Labels: s.Labels, T: s.T - Origin, V: s.V, Revision: s.Revision}
		if s.H != nil {
			p.V = s.H.Sum
		}
		out = append(out, p)
	}
	return out
}

// Restart kills node 0 and brings it back from its checkpoint and journal.
func (w *world) Restart(int64) ([]Point, error) {
	n := w.nodes[0]
	w.fresh = true
	old := n.journal
	if err := n.boot(w.set); err != nil {
		return nil, err
	}
	fresh, err := owner.New(owner.Options{Rules: w.set})
	if err != nil {
		return nil, err
	}
	w.owner = fresh
	if n.checkpoint != nil {
		if err := n.engine.Restore(bytes.NewReader(n.checkpoint)); err != nil {
			return nil, fmt.Errorf("restore a checkpoint of %d bytes: %w", len(n.checkpoint), err)
		}
		if err := w.owner.Restore(bytes.NewReader(n.totals)); err != nil {
			return nil, fmt.Errorf("restore the owner: %w", err)
		}
	}
	var out []Point
	for i, frame := range old.all {
		err := n.engine.ReplayFrame(frame, func(window *partial.Window) error {
			out = append(out, points(w.owner.Finish(window))...)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("replay frame %d of %d: %w", i, len(old.all), err)
		}
	}
	n.journal.all = append(old.all, n.journal.all...)
	return out, nil
}

// Checkpoint writes the state of node 0; its journal starts anew, or with the last
// frames of before, which are in the state already.
func (w *world) Checkpoint(overlap int) error {
	return w.checkpoint(overlap, func() error { return nil })
}

// checkpoint calls during each time that a part of the state is written.
func (w *world) checkpoint(overlap int, during func() error) error {
	n := w.nodes[0]
	var totals bytes.Buffer
	state := hooked{during: during}
	err := n.engine.Snapshot(&state, func() error {
		n.journal.all = slices.Clone(n.journal.all[max(0, len(n.journal.all)-overlap):])
		return nil
	})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := w.owner.Snapshot(&totals); err != nil {
		return fmt.Errorf("snapshot of the owner: %w", err)
	}
	n.checkpoint, n.totals = state.Bytes(), totals.Bytes()
	return nil
}

// hooked is a buffer that something happens to at each write.
type hooked struct {
	bytes.Buffer
	during func() error
}

func (h *hooked) Write(p []byte) (int, error) {
	if err := h.during(); err != nil {
		return 0, err
	}
	return h.Buffer.Write(p)
}

// monotone says where a cumulative series goes down, or "".
func monotone(row Row) string {
	last, out := 0.0, ""
	for i, end := range sortedEnds(row) {
		if i > 0 && row[end] < last {
			out += fmt.Sprintf(" window %d: %v after %v;", end/Second, row[end], last)
		}
		last = row[end]
	}
	return out
}

func (w *world) reload() error { return w.nodes[0].engine.Reload(w.set) }

func (w *world) jump(by int64) { w.skew += by }

// pause needs nothing: who plays leaves out the ticks.
func (w *world) pause(int64) {}

func (w *world) restarted() bool { return w.fresh }

// killedTick kills the node when it hands out the first window that is due: what
// was not handed out has to come after the restart, also where a checkpoint was
// written in between. It reports whether any was due.
func (w *world) killedTick(now, by int64) (out []Point, handed bool, err error) {
	killed := errors.New("killed")
	err = w.nodes[0].engine.Advance(now+Origin+w.skew, func(*partial.Window) error { return killed })
	if err == nil {
		return nil, false, nil
	}
	if !errors.Is(err, killed) {
		return nil, false, err
	}
	if by%2 == 0 {
		if err := w.Checkpoint(0); err != nil {
			return nil, false, err
		}
	}
	out, err = w.Restart(now)
	return out, true, err
}
