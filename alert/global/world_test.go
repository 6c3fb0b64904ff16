package global

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

const (
	worldInterval = 10 * time.Second
	groupWait     = 2 * time.Second
	gossipDelay   = 300 * time.Millisecond
	// underWay is how long a notification takes at most to reach people.
	underWay = 3 * time.Second
	// gossipMost is within what time slow gossip comes.
	gossipMost = 15 * time.Second
)

// world is a network of islands that exists in virtual time.
type world struct {
	t     *testing.T
	rules []Group

	mu    sync.Mutex
	nodes map[string]*node
	names []string
	cut   map[[2]string]bool
	// holds says whether a condition is true; its data is on one island.
	holds map[string]bool
	home  map[string]string
	clock uint64
	// slow makes gossip come late, and each notification take a while; deaf are links
	// over which looks fail though documents pass.
	slow *rand.Rand
	deaf map[[2]string]bool

	told        []telling
	evaluations []evaluation
}

// telling is a notification that reached a person.
type telling struct {
	at       time.Time
	node     string
	alert    string
	resolved bool
	fired    int64

	life int // of the node
	// known is since when islands can know of it, near since when one of them is in
	// reach of an island that does not; nil is for one that was killed before it said so.
	known, near map[string]time.Time
	unsaid      bool
}

type evaluation struct {
	at   time.Time
	node string
	expr string
}

// node is one island: what it has survives a kill, what runs does not.
type node struct {
	w    *world
	name string
	docs map[string]document

	alive   bool
	cancel  context.CancelFunc
	ended   chan struct{}
	changes chan struct{}
	eval    *Evaluator
	am      map[uint64]*told
	life    int
}

type document struct {
	Document
	deleted bool
}

// told is an alert at a model of Alertmanager.
type told struct {
	Outgoing
	group     string
	seen      time.Time
	withdrawn bool
	flying    bool
}

func newWorld(t *testing.T, n int, rules ...Group) *world {
	w := &world{t: t, rules: rules, nodes: map[string]*node{}, cut: map[[2]string]bool{}, deaf: map[[2]string]bool{}, holds: map[string]bool{}, home: map[string]string{}}
	for i := range n {
		name := string(rune('a' + i))
		w.names = append(w.names, name)
		w.nodes[name] = &node{w: w, name: name, docs: map[string]document{}}
	}
	return w
}

// run starts everything; the returned function ends it.
func (w *world) run(primaries ...string) (stop func()) {
	for _, n := range w.names {
		w.start(n)
	}
	w.promote(w.names[0], primaries...)
	w.write(w.names[0], KindRules+"/main", []byte("rules"))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.spread(ctx) })
	wg.Go(func() { w.alertmanagers(ctx) })
	return func() {
		cancel()
		wg.Wait()
		for _, n := range w.names {
			w.kill(n)
		}
	}
}

func pair(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// linked reports whether two islands reach each other directly; w.mu is held.
func (w *world) linked(a, b string) bool {
	return w.nodes[a].alive && w.nodes[b].alive && !w.cut[pair(a, b)]
}

// part lists the islands in reach of one, over others too; w.mu is held.
func (w *world) part(of string) []string {
	seen := []string{of}
	for i := 0; i < len(seen); i++ {
		for _, n := range w.names {
			if !slices.Contains(seen, n) && w.linked(seen[i], n) {
				seen = append(seen, n)
			}
		}
	}
	return seen
}

// spread carries documents between islands that reach each other.
func (w *world) spread(ctx context.Context) {
	tick := time.NewTicker(gossipDelay)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for _, a := range w.names {
			if !w.nodes[a].alive {
				continue
			}
			for _, b := range w.part(a) {
				if w.slow == nil || w.slow.IntN(20) == 0 {
					w.nodes[b].take(w.nodes[a].docs)
				}
			}
		}
		w.learn(time.Now())
		w.mu.Unlock()
	}
}

// learn follows who can know what was told: the island that told it once it had the
// time to say so, primaries that can ask an island that knows, and others once
// gossip had time; w.mu is held.
func (w *world) learn(now time.Time) {
	for i := range w.told {
		t := &w.told[i]
		if t.known == nil && !t.unsaid && now.Sub(t.at) >= heard {
			t.known, t.near = map[string]time.Time{t.node: now}, map[string]time.Time{}
		}
		if n := w.nodes[t.node]; t.known == nil && (!n.alive || n.life != t.life) {
			t.unsaid = true
		}
		for _, name := range w.names {
			if _, knows := t.known[name]; knows || t.known == nil || !w.nodes[name].alive {
				continue
			}
			near, direct, primaries := false, false, w.nodes[name].primariesLocked()
			for _, other := range w.part(name) {
				if _, knows := t.known[other]; knows {
					near, direct = true, direct || slices.Contains(primaries, other)
				}
			}
			since, was := t.near[name]
			switch {
			case !near:
				delete(t.near, name)
			case !was:
				t.near[name] = now
			}
			if direct || was && now.Sub(since) > gossipMost {
				t.known[name] = now
			}
		}
	}
}

func (n *node) take(docs map[string]document) {
	news := false
	for k, d := range docs {
		if d.Time > n.docs[k].Time {
			n.docs[k], news = d, true
		}
	}
	if news && n.changes != nil {
		select {
		case n.changes <- struct{}{}:
		default:
		}
	}
}

func (w *world) write(at, key string, value []byte) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writeLocked(at, document{Document: Document{Key: key, Value: value}})
}

func (w *world) writeLocked(at string, d document) uint64 {
	w.clock++
	d.Time = uint64(time.Now().UnixMilli())<<16 | w.clock&0xffff
	w.nodes[at].take(map[string]document{d.Key: d})
	return d.Time
}

func (w *world) promote(at string, names ...string) {
	for _, n := range names {
		w.write(at, KindPrimary+"/"+n, []byte("yes"))
	}
}

func (w *world) demote(at string, names ...string) {
	for _, n := range names {
		w.write(at, KindPrimary+"/"+n, []byte("no"))
	}
}

// start runs an island on what it has on disk.
func (w *world) start(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.nodes[name]
	if n.alive {
		return
	}
	n.life++
	n.alive, n.changes, n.am = true, make(chan struct{}, 1), map[uint64]*told{}
	life := n.life
	var err error
	n.eval, err = New(Options{
		Self: func() string { return name }, Primaries: n.primaries, Reach: n, Documents: n,
		Parse: func(string, []byte) ([]Group, error) { return w.rules, nil },
		Ask:   n.ask, Store: discard{},
		Send:     func(group string, out []Outgoing) { n.send(life, group, out) },
		Withdraw: func(group string) { n.withdraw(life, group) },
		Interval: func() time.Duration { return worldInterval }, Resend: func() time.Duration { return time.Minute },
		ExternalURL: &url.URL{Scheme: "http", Host: name},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan struct{})
	go func(eval *Evaluator, ended chan struct{}) {
		defer close(ended)
		_ = eval.Run(ctx) // nil by contract
	}(n.eval, n.ended)
}

// kill ends an island in the middle of whatever it does.
func (w *world) kill(name string) {
	w.mu.Lock()
	n := w.nodes[name]
	if !n.alive {
		w.mu.Unlock()
		return
	}
	n.alive = false
	n.cancel()
	ended := n.ended
	w.mu.Unlock()
	<-ended
}

func (w *world) sever(left, right []string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range left {
		for _, b := range right {
			if a != b {
				w.cut[pair(a, b)] = cut
			}
		}
	}
}

func (w *world) set(condition string, holds bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds[condition] = holds
}

func (n *node) primaries() []string {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.primariesLocked()
}

func (n *node) primariesLocked() (out []string) {
	for _, name := range n.w.names {
		if string(n.docs[KindPrimary+"/"+name].Value) == "yes" {
			out = append(out, name)
		}
	}
	return out
}

// Look implements Reach: what is cut off does not answer.
func (n *node) Look(ctx context.Context, name string) error {
	n.w.mu.Lock()
	ok := n.w.linked(n.name, name) && !n.w.deaf[pair(n.name, name)]
	n.w.mu.Unlock()
	if ok {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// Vouch implements Reach.
func (n *node) Vouch(ctx context.Context, via, name string) (bool, error) {
	if err := n.Look(ctx, via); err != nil {
		return false, err
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.linked(via, name) && !n.w.deaf[pair(via, name)], nil
}

// Sync implements Reach.
func (n *node) Sync(ctx context.Context, name string) error {
	n.w.mu.Lock()
	ok := slices.Contains(n.w.part(n.name), name) // a relay carries it, as it does questions
	n.w.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return ctx.Err()
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.take(n.w.nodes[name].docs)
	n.w.nodes[name].take(n.docs)
	return nil
}

// List implements Documents.
func (n *node) List(prefix string) (out []Document) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, k := range sortedKeys(n.docs) {
		if strings.HasPrefix(k, prefix) && !n.docs[k].deleted {
			out = append(out, n.docs[k].Document)
		}
	}
	return out
}

var errDead = errors.New("the island is dead")

// Set implements Documents.
func (n *node) Set(_ context.Context, key string, value []byte) (uint64, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if !n.alive {
		return 0, errDead
	}
	return n.w.writeLocked(n.name, document{Document: Document{Key: key, Value: value}}), nil
}

// Delete implements Documents.
func (n *node) Delete(_ context.Context, key string) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.writeLocked(n.name, document{Document: Document{Key: key}, deleted: true})
	return nil
}

// Changes implements Documents.
func (n *node) Changes() <-chan struct{} { return n.changes }

// ask finds a series for each condition that the expression names and that holds
// on an island in reach.
func (n *node) ask(ctx context.Context, expr string, _ time.Time, deadline time.Duration) (a Answer, err error) {
	n.w.mu.Lock()
	part := n.w.part(n.name)
	for _, name := range n.w.names {
		if !slices.Contains(part, name) {
			a.Missing = append(a.Missing, MissingIsland{name, "unreachable"})
		}
	}
	for _, c := range strings.Fields(expr) {
		if n.w.holds[c] && (n.w.home[c] == "" || slices.Contains(part, n.w.home[c])) {
			a.Vector = append(a.Vector, promql.Sample{Metric: labels.FromStrings("condition", c), F: 1})
		}
	}
	n.w.evaluations = append(n.w.evaluations, evaluation{time.Now(), n.name, expr})
	n.w.mu.Unlock()
	if len(a.Missing) > 0 { // whoever is missing takes all the time there is
		select {
		case <-time.After(deadline):
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
	return a, nil
}

func (n *node) send(life int, group string, out []Outgoing) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if !n.alive || n.life != life {
		return
	}
	for _, o := range out {
		a := n.am[o.ID]
		if a == nil {
			a = &told{seen: time.Now()}
			n.am[o.ID] = a
		}
		a.Outgoing, a.group, a.withdrawn = o, group, false
	}
}

func (n *node) withdraw(life int, group string) {
	for {
		n.w.mu.Lock()
		flying := false
		if n.life == life && n.alive {
			for _, a := range n.am {
				if a.group == group {
					a.withdrawn = true
					flying = flying || a.flying
				}
			}
		}
		n.w.mu.Unlock()
		if !flying {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tellings lists what was told of an alert.
func (w *world) tellings(alert string) (firing, resolved []telling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.told {
		t.known = maps.Clone(t.known)
		switch {
		case t.alert != alert:
		case t.resolved:
			resolved = append(resolved, t)
		default:
			firing = append(firing, t)
		}
	}
	return firing, resolved
}

// evaluator returns who evaluated an expression last, and when.
func (w *world) evaluator(expr string) evaluation {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range slices.Backward(w.evaluations) {
		if e.expr == expr {
			return e
		}
	}
	return evaluation{}
}

// evaluated lists all evaluations so far.
func (w *world) evaluated() []evaluation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.evaluations)
}

// discard is a store that keeps nothing.
type discard struct{}

func (discard) AppenderV2(context.Context) storage.AppenderV2 { return nothing{} }

type nothing struct{ storage.AppenderV2 }

func (nothing) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AppendV2Options) (storage.SeriesRef, error) {
	return 0, nil
}
func (nothing) Commit() error   { return nil }
func (nothing) Rollback() error { return nil }

func alertRule(expr string, hold time.Duration, missing OnMissing) Rule {
	return Rule{Alert: "Condition", Expr: expr, For: hold, OnMissing: missing}
}

func group(name string, rules ...Rule) Group {
	return Group{Document: "main", Name: name, Interval: worldInterval, Rules: rules}
}
