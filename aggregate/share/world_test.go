package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/slots"
	"github.com/atoll-mesh/atoll/flow"
)

const ruleText = `- {interval: 10s, by: [job], max_lag: 60s, late: carry, outputs: [total, increase, sum_samples, count_samples, "quantiles(0.5)"]}
`

func load(t testing.TB, text string) *rule.Set {
	t.Helper()
	set, err := rule.Load("rules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// world is some islands, what is between them, and what they published. It lives in
// a synctest bubble.
type world struct {
	t     *testing.T
	seed  uint64
	set   *rule.Set
	step  int64 // interval, ms
	nodes []*node

	mu      sync.Mutex
	rnd     *rand.Rand
	cut     map[[2]string]bool // no message passes
	out     map[[2]string]bool // the first does not see the second as a member
	calm    bool               // no faults any more
	pending flow.Bytes
	uneven  bool                  // slots are spread by load, soon and with little of it
	lates   float64               // how often a window comes again
	said    map[string][]emission // by series and time
	pushed  map[int64][]push
	dead    map[string]int64 // since when for good, Unix ms
	handed  map[string]bool  // they had handed over what they had
	plans   int
	// backlogs are the values of groups that came late, forgotten those that are missing
	// where there is next to no memory.
	backlogs, forgotten int
	events              []string
	mistakes            []string // what check found, and the events that led there
}

// push is a window that a node handed to its share.
type push struct {
	node string
	*partial.Window
}

type emission struct {
	node     string
	value    float64
	revision uint32
	apart    bool
	at       int64
}

// node is one island over its starts.
type node struct {
	w        *world
	name     string
	mu       sync.Mutex
	starts   uint64
	share    *Share
	up       bool
	stop     context.CancelFunc
	done     chan struct{}
	first    int64            // end of its first window
	last     int64            // of its last; 0: goes on
	next     int64            // of the next window
	pushes   map[int64]uint32 // revision of the next push of a window
	jump     time.Duration    // of its clock
	snapshot []byte
	journal  []*partial.Window // pushed since the snapshot
	notes    [][]byte          // of the share, since the snapshot
	dir      string
}

func newWorld(t *testing.T, seed uint64, n int, late rule.Late) *world {
	set := load(t, strings.Replace(ruleText, "carry", late.String(), 1))
	w := &world{
		t: t, seed: seed, set: set, lates: 0.03, step: set.Rules[0].Interval.Milliseconds(), rnd: rand.New(rand.NewPCG(seed, 77)),
		cut: map[[2]string]bool{}, out: map[[2]string]bool{}, said: map[string][]emission{}, pushed: map[int64][]push{}, dead: map[string]int64{}, handed: map[string]bool{},
	}
	for i := range n {
		w.nodes = append(w.nodes, &node{w: w, name: fmt.Sprint("n", i), first: w.end(time.Now()), pushes: map[int64]uint32{}})
	}
	return w
}

func (w *world) end(at time.Time) int64 { return w.set.Rules[0].Window(at.UnixMilli()) }

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.Float64() < p
}

// trouble is chance while there are faults.
func (w *world) trouble(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm && w.rnd.Float64() < p
}

func (w *world) between(least, most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return least + time.Duration(w.rnd.Int64N(int64(most-least)+1))
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("%d: ", time.Now().UnixMilli())+fmt.Sprintf(format, args...))
}

// window is what a node saw of a window: a function of seed, node and end alone.
func (w *world) window(node string, end int64) *partial.Window {
	r := w.set.Rules[0]
	rnd := rand.New(rand.NewPCG(w.seed^uint64(end), slots.Name(node)))
	out := &partial.Window{Rule: r, End: end}
	for g := range 12 {
		if rnd.IntN(3) == 0 {
			continue
		}
		ls := labels.FromStrings("__name__", "m", "job", fmt.Sprint("j", g))
		var a partial.Acc
		for range 1 + rnd.IntN(3) {
			a.Observe(r.Needs(), end-int64(rnd.IntN(int(w.step))), float64(rnd.IntN(1000)))
		}
		a.Increase.Add(float64(rnd.IntN(1000)))
		out.Rows = append(out.Rows, partial.Row{Group: ls, Hash: ls.Hash(), Acc: a})
	}
	return out
}

// members as a node sees them.
func (n *node) members() (names []string) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, o := range n.w.nodes {
		if !n.w.out[[2]string{n.name, o.name}] && !n.w.out[[2]string{"", o.name}] {
			names = append(names, o.name)
		}
	}
	return names
}

// start begins a life from what is on disk.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up {
		return
	}
	n.starts++
	var s *Share
	s, err := New(Options{
		Self: n.name, Rules: n.w.set, Members: n.members, Transport: &wire{n, n.starts}, Start: n.starts, Now: n.now,
		Publish: n.recorder(n.starts, &s), Dir: n.dir, MaxPending: n.w.pending, Journal: &book{n, n.starts},
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	if n.w.uneven {
		s.calm, s.least = 20*time.Second, 1
	}
	if n.snapshot == nil { // an island writes one before it says anything
		var b bytes.Buffer
		if err := s.Snapshot(&b); err != nil {
			n.w.t.Fatal(err)
		}
		n.snapshot = b.Bytes()
	} else if err := s.Restore(bytes.NewReader(n.snapshot)); err != nil {
		n.w.t.Fatal(err)
	}
	for _, frame := range n.notes {
		if err := s.Replay(frame); err != nil {
			n.w.t.Fatal(err)
		}
	}
	for _, win := range n.journal {
		n.push(s, win)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.share, n.up, n.stop, n.done = s, true, cancel, make(chan struct{})
	go func() {
		defer close(n.done)
		if err := s.Run(ctx); err != nil {
			n.w.t.Error(err)
		}
	}()
}

func (n *node) now() time.Time {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return time.Now().Add(n.jump)
}

func (n *node) push(s *Share, win *partial.Window) {
	c := *win
	c.Rows = slices.Clone(win.Rows)
	if err := s.Push(&c); err != nil {
		n.w.t.Error(err)
	}
}

// seal pushes the windows that are over.
func (n *node) seal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return
	}
	if n.next == 0 {
		n.next = n.first
	}
	for ; n.next <= time.Now().UnixMilli() && (n.last == 0 || n.next <= n.last); n.next += n.w.step {
		n.hand(n.w.window(n.name, n.next))
	}
}

// hand pushes a window, and remembers it as a journal does. n.mu is held.
func (n *node) hand(win *partial.Window) {
	win.Revision = n.pushes[win.End]
	n.pushes[win.End]++
	n.journal = append(n.journal, win)
	n.w.mu.Lock()
	n.w.pushed[win.End] = append(n.w.pushed[win.End], push{n.name, win})
	n.w.mu.Unlock()
	n.push(n.share, win)
}

// afterwards pushes a window again that was sealed: with groups that were never in
// it, or with other amounts where the rule corrects windows.
func (n *node) afterwards() {
	n.mu.Lock()
	defer n.mu.Unlock()
	end := n.w.end(time.Now().Add(-n.w.between(30*time.Second, 150*time.Second)))
	if !n.up || end < n.first || end >= n.next || n.last != 0 {
		return
	}
	r := n.w.set.Rules[0]
	win := &partial.Window{Rule: r, End: end}
	row := func(job string, increase float64) {
		ls := labels.FromStrings("__name__", "m", "job", job)
		a := partial.Acc{}
		a.Observe(r.Needs(), end-1, increase)
		a.Increase.Add(increase)
		win.Rows = append(win.Rows, partial.Row{Group: ls, Hash: ls.Hash(), Acc: a})
	}
	amount := float64(n.w.between(1, 1000))
	if r.Late == rule.Correct && n.w.chance(0.5) {
		row(fmt.Sprint("j", int(n.w.between(0, 11))), amount)
	} else {
		row(fmt.Sprint("b", int(n.w.between(0, 2))), amount)
	}
	n.hand(win)
}

func (n *node) checkpoint() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return
	}
	var b bytes.Buffer
	if err := n.share.Snapshot(&b); err != nil {
		n.w.t.Error(err)
	}
	n.snapshot, n.journal, n.notes = b.Bytes(), nil, nil
}

// kill ends a life at once; what goes on in it reaches nobody.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up {
		n.up = false
		n.stop()
	}
}

func (n *node) alive(start uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up && n.starts == start
}

func (n *node) recorder(start uint64, of **Share) func(context.Context, []partial.Sample) error {
	return func(_ context.Context, samples []partial.Sample) error {
		if !n.alive(start) || n.w.trouble(0.02) {
			return errors.New("refused")
		}
		(*of).mu.Lock()
		apart := (*of).view.apart
		(*of).mu.Unlock()
		n.w.mu.Lock()
		for _, s := range samples {
			key := fmt.Sprintf("%s@%d", s.Labels, s.T)
			n.w.said[key] = append(n.w.said[key], emission{n.name, s.V, s.Revision, apart, time.Now().UnixMilli()})
		}
		n.w.mu.Unlock()
		if n.w.trouble(0.01) { // dies before it can tell anybody
			n.w.note("%s dies after publishing", n.name)
			n.w.fail(n, n.w.between(time.Second, 30*time.Second))
		}
		return nil
	}
}

// book is the journal as one start of a node sees it.
type book struct {
	n     *node
	start uint64
}

func (x *book) Append(frame []byte) error {
	if x.n.w.trouble(0.005) { // dies before the values leave
		x.n.w.note("%s dies after deciding", x.n.name)
		defer x.n.w.fail(x.n, x.n.w.between(time.Second, 30*time.Second))
	}
	x.n.mu.Lock()
	defer x.n.mu.Unlock()
	if !x.n.up || x.n.starts != x.start {
		return errors.New("it is over")
	}
	x.n.notes = append(x.n.notes, slices.Clone(frame))
	return nil
}

// wire is the network as one start of a node sees it.
type wire struct {
	n     *node
	start uint64
}

var errLost = errors.New("nothing came back")

func (x *wire) passes(a, b string) bool {
	w := x.n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.cut[[2]string{a, b}] && !w.cut[[2]string{b, a}] && (w.calm || w.rnd.Float64() > 0.08)
}

func (x *wire) Send(ctx context.Context, to string, data []byte) ([]byte, error) {
	w := x.n.w
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.name == to })
	target := w.nodes[i]
	once := func() ([]byte, error) {
		delay := w.between(time.Millisecond, 150*time.Millisecond)
		if w.chance(0.05) {
			delay = w.between(time.Second, 4*time.Second)
		}
		time.Sleep(delay)
		if !x.n.alive(x.start) || !x.passes(x.n.name, to) {
			return nil, errLost
		}
		target.mu.Lock()
		s, up := target.share, target.up
		target.mu.Unlock()
		if !up {
			return nil, errLost
		}
		return s.Handle(ctx, x.n.name, data)
	}
	if w.chance(0.1) {
		go func() { _, _ = once() }()
	}
	answer, err := once()
	time.Sleep(w.between(time.Millisecond, 100*time.Millisecond))
	if err != nil || !x.passes(to, x.n.name) || !x.n.alive(x.start) {
		return nil, errors.Join(err, errLost)
	}
	return answer, nil
}

// fail kills a node for a while; the others see it after a while each.
func (w *world) fail(n *node, d time.Duration) {
	w.note("%s down for %s", n.name, d)
	go n.kill()
	for _, o := range w.nodes {
		if seen := w.between(8*time.Second, 30*time.Second); o != n && seen < d {
			time.AfterFunc(seen, func() { w.see(o, n, false) })
			time.AfterFunc(d+w.between(0, 5*time.Second), func() { w.see(o, n, true) })
		}
	}
	time.AfterFunc(d, func() {
		n.mu.Lock()
		done, up := n.done, n.up
		n.mu.Unlock()
		if up || w.isDead(n) {
			return
		}
		<-done // what it does after the kill reaches nobody
		n.start()
		w.note("%s is back", n.name)
	})
}

func (w *world) isDead(n *node) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead[n.name] != 0
}

// leave has a node seal the window that is under way and hand over all it has.
func (w *world) leave(n *node) {
	n.mu.Lock()
	n.last = w.end(time.Now())
	for ; n.next <= n.last; n.next += w.step {
		n.hand(w.window(n.name, n.next))
	}
	s := n.share
	n.mu.Unlock()
	w.note("%s is about to leave", n.name)
	limited, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := s.Leave(limited); err != nil {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
	w.with(func() { w.handed[n.name] = true })
}

// die kills a node for good; after a while it is no member any more. Where it leaves
// it hands over before.
func (w *world) die(n *node, leaves bool) {
	if leaves {
		w.leave(n)
	}
	w.mu.Lock()
	w.dead[n.name] = time.Now().UnixMilli()
	w.mu.Unlock()
	w.note("%s is gone for good", n.name)
	n.kill()
	time.AfterFunc(w.between(8*time.Second, 30*time.Second), func() { w.see(&node{}, n, false) })
	time.Sleep(110 * time.Second) // until the others have gone on: no two are dead at a time
}

func (w *world) see(o, n *node, in bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out[[2]string{o.name, n.name}] = !in
}

// part cuts the network in two; the larger side loses sight of the smaller.
func (w *world) part(few []*node, d time.Duration) {
	alive := 0 // of two islands none can state the other lost
	for _, n := range w.nodes {
		if !w.isDead(n) {
			alive++
		}
	}
	for _, a := range few {
		w.note("%s cut off for %s", a.name, d)
		for _, b := range w.nodes {
			if slices.Contains(few, b) {
				continue
			}
			key := [2]string{a.name, b.name}
			w.mu.Lock()
			w.cut[key] = true
			w.mu.Unlock()
			time.AfterFunc(d, func() {
				w.mu.Lock()
				delete(w.cut, key)
				w.mu.Unlock()
			})
			if seen := w.between(8*time.Second, 40*time.Second); 2*len(few) < alive && seen < d {
				time.AfterFunc(seen, func() { w.see(b, a, false) })
				time.AfterFunc(d+w.between(0, 5*time.Second), func() { w.see(b, a, true) })
			}
		}
	}
}

// run lets the nodes seal and write checkpoints until ctx ends.
func (w *world) run(ctx context.Context) {
	for _, n := range w.nodes {
		go func() {
			for ctx.Err() == nil {
				time.Sleep(w.between(100*time.Millisecond, 1500*time.Millisecond))
				n.seal()
				if n.w.chance(n.w.lates) {
					n.afterwards()
				}
				if w.chance(0.05) {
					n.checkpoint()
				}
			}
		}()
	}
}

// end of the world: everybody stops.
func (w *world) close() {
	for _, n := range w.nodes {
		n.kill()
		n.mu.Lock()
		done := n.done
		n.mu.Unlock()
		if done != nil {
			<-done
		}
	}
}
