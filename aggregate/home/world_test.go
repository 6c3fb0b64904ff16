package home

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/conform"
	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/share"
)

const ruleText = `rules:
- match: '{__name__!=""}'
  interval: 1m
  without: [instance, pod]
  outputs: [increase, total, count_samples]
`

// world is three islands, each an engine, a share and a home, and what is between
// them. It lives in a synctest bubble.
type world struct {
	t       *testing.T
	set     *rule.Set
	start   time.Time
	islands []*island
	nets    [2]net // of homes and of shares

	mu     sync.Mutex
	rnd    *rand.Rand
	loss   float64
	slow   time.Duration // that messages take each way
	cut    map[[2]string]bool
	out    map[[2]string]bool // the first does not see the second as a member
	said   map[string]map[int64]float64
	twice  []string
	events []string
}

type net struct {
	w    *world
	pick func(*island) func(context.Context, string, []byte) ([]byte, error)
}

type frames struct {
	mu  sync.Mutex
	all [][]byte
}

func (f *frames) Append(frame []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, slices.Clone(frame))
	return nil
}

func (f *frames) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = nil
}

type island struct {
	w      *world
	name   string
	mu     sync.Mutex
	starts uint64
	up     bool
	left   bool // the network
	engine *engine.Engine
	home   *Home
	share  *share.Share
	stop   context.CancelFunc
	done   sync.WaitGroup
	refs   map[string]engine.Ref

	pushed  map[string]string // what each window sealed since the checkpoint had
	journal *frames
	state   []byte // of the last checkpoint
	waiting []conform.Request
}

func newWorld(t *testing.T, seed uint64, n int, text string) *world {
	set, err := rule.Load("rules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, set: set, start: time.Now(), rnd: rand.New(rand.NewPCG(seed, 5)), cut: map[[2]string]bool{}, out: map[[2]string]bool{},
		said: map[string]map[int64]float64{},
	}
	w.nets[0] = net{w, func(i *island) func(context.Context, string, []byte) ([]byte, error) { return i.home.Handle }}
	w.nets[1] = net{w, func(i *island) func(context.Context, string, []byte) ([]byte, error) { return i.share.Handle }}
	for k := range n {
		w.islands = append(w.islands, &island{w: w, name: fmt.Sprint("n", k)})
	}
	return w
}

// now is relative to conform.Origin; the world begins a minute before.
func (w *world) now() int64 { return time.Since(w.start).Milliseconds() - conform.Minute }

func (w *world) clock() time.Time { return time.UnixMilli(w.now() + conform.Origin) }

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("%d: ", w.now())+fmt.Sprintf(format, args...))
}

func (w *world) find(name string) *island {
	return w.islands[slices.IndexFunc(w.islands, func(i *island) bool { return i.name == name })]
}

// wire is a network as one start of an island sees it.
type wire struct {
	net
	i     *island
	start uint64
}

var errLost = errors.New("nothing came back")

func (x wire) passes(a, b string) bool {
	w := x.w
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.cut[[2]string{a, b}] && !w.cut[[2]string{b, a}] && w.rnd.Float64() >= w.loss
}

func (x wire) delay() {
	x.w.mu.Lock()
	d := time.Duration(1+x.w.rnd.IntN(80)) * time.Millisecond
	if x.w.loss > 0 && x.w.rnd.IntN(20) == 0 {
		d += 2 * time.Second
	}
	d += x.w.slow
	x.w.mu.Unlock()
	time.Sleep(d)
}

func (x wire) Send(ctx context.Context, to string, data []byte) ([]byte, error) {
	target := x.w.find(to)
	x.delay()
	if !x.i.alive(x.start) || !x.passes(x.i.name, to) {
		return nil, errLost
	}
	target.mu.Lock()
	up := target.up
	var handle func(context.Context, string, []byte) ([]byte, error)
	if up {
		handle = x.pick(target)
	}
	target.mu.Unlock()
	if !up {
		return nil, errLost
	}
	answer, err := handle(ctx, x.i.name, data)
	x.delay()
	if err != nil || !x.passes(to, x.i.name) || !x.i.alive(x.start) {
		return nil, errors.Join(err, errLost)
	}
	return answer, nil
}

func (i *island) alive(start uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.up && i.starts == start
}

func (i *island) members() (names []string) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	for _, o := range i.w.islands {
		if !i.w.out[[2]string{i.name, o.name}] {
			names = append(names, o.name)
		}
	}
	return names
}

// boot begins a life from what is on disk.
func (i *island) boot() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.starts++
	w, start := i.w, i.starts
	old := i.journal
	i.journal, i.refs = &frames{}, map[string]engine.Ref{}
	var err error
	if i.engine, err = engine.New(engine.Options{Rules: w.set, Shards: 4, Journal: i.journal, Seed: start * 7}); err != nil {
		w.t.Fatal(err)
	}
	if i.share, err = share.New(share.Options{
		Self: i.name, Rules: w.set, Members: i.members, Transport: wire{w.nets[1], i, start}, Start: start, Now: w.clock,
		Publish: func(_ context.Context, all []partial.Sample) error {
			if !i.alive(start) {
				return errLost
			}
			w.publish(i.name, all)
			return nil
		},
	}); err != nil {
		w.t.Fatal(err)
	}
	if i.state == nil {
		i.keep()
	} else {
		r := bytes.NewReader(i.state)
		if err := errors.Join(i.engine.Restore(r), i.share.Restore(r)); err != nil {
			w.t.Fatal(err)
		}
		for _, f := range old.all {
			if err := i.engine.ReplayFrame(f, i.again); err != nil {
				w.t.Fatal(err)
			}
		}
		i.journal.all = append(old.all, i.journal.all...)
	}
	if i.home, err = New(Options{Self: i.name, Key: 99, Members: i.members, Transport: wire{w.nets[0], i, start}, Engine: i.engine, Start: start, Now: w.clock}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.stop, i.up = cancel, true
	for _, run := range []func(context.Context) error{i.home.Run, i.share.Run, i.seal} {
		i.done.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// keep writes a checkpoint. The caller holds i.mu.
func (i *island) keep() {
	var b bytes.Buffer
	err := i.engine.Snapshot(&b, func() error {
		i.journal.forget()
		return nil
	})
	if err = errors.Join(err, i.share.Snapshot(&b)); err != nil {
		i.w.t.Fatal(err)
	}
	i.state, i.pushed = b.Bytes(), map[string]string{}
}

// push hands a window on, and again does so with one that replay brought: it must be
// what it was.
func (i *island) push(w *partial.Window) error {
	name, what := describe(w)
	i.pushed[name] = what
	return i.share.Push(w)
}

func (i *island) again(w *partial.Window) error {
	name, what := describe(w)
	if old, ok := i.pushed[name]; ok && old != what {
		i.w.t.Errorf("%s at %d: replay makes window %s\n%s\nof what was\n%s", i.name, i.w.now(), name, what, old)
	}
	i.pushed[name] = what
	return i.share.Push(w)
}

func describe(w *partial.Window) (name, what string) {
	var rows []string
	for _, r := range w.Rows {
		rows = append(rows, fmt.Sprintf("%s %.9g %.9g %d", r.Group, r.Acc.Increase.Value(), r.Acc.Carry.Value(), r.Acc.Count))
	}
	slices.Sort(rows)
	return fmt.Sprintf("%d/%d", (w.End-conform.Origin)/1000, w.Revision), strings.Join(rows, "\n")
}

func (i *island) seal(ctx context.Context) error {
	ticks := time.NewTicker(200 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		i.mu.Lock()
		if i.up && ctx.Err() == nil {
			if err := i.engine.Advance(i.w.clock().UnixMilli(), i.push); err != nil {
				i.w.t.Error(err)
			}
		}
		i.mu.Unlock()
	}
}

// kill ends a life at once.
func (i *island) kill() {
	i.mu.Lock()
	i.up = false
	i.stop()
	i.mu.Unlock()
	i.done.Wait()
	i.w.note("%s is killed", i.name)
}

// deliver hands a request over; one to an island that is down is sent again later.
func (i *island) deliver(r conform.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = append(i.waiting, r)
	if !i.up {
		return
	}
	for _, r := range i.waiting {
		b := i.engine.Begin(r.Sender)
		for _, a := range r.Items {
			key := a.Labels.String()
			st := a.ST
			if st != 0 {
				st += conform.Origin
			}
			i.refs[key], _ = b.Append(i.refs[key], a.Labels, st, a.T+conform.Origin, a.V)
		}
		b.Commit(i.w.clock().UnixMilli())
	}
	i.waiting = nil
}

func (w *world) publish(from string, all []partial.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		key := s.Labels.String()
		if w.said[key] == nil {
			w.said[key] = map[int64]float64{}
		}
		t := s.T - conform.Origin
		if old, ok := w.said[key][t]; ok && !conform.Near(old, s.V, 1e-9) {
			w.twice = append(w.twice, fmt.Sprintf("%s at %d s: %v, then %v from %s", key, t/1000, old, s.V, from))
		}
		w.said[key][t] = s.V
	}
}

// event is what happens to the world at a time.
type event struct {
	at int64
	do func()
}

// play delivers a flight, lets events happen, and waits until all is published.
func (w *world) play(f conform.Flight, until int64, events ...event) {
	for _, i := range w.islands {
		i.boot()
	}
	for _, r := range f.Requests() {
		events = append(events, event{r.At, func() { w.islands[r.Node].deliver(r) }})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range events {
		time.Sleep(time.Duration(max(0, e.at-w.now())) * time.Millisecond)
		e.do()
	}
	time.Sleep(time.Duration(until-w.now()) * time.Millisecond)
}

func (w *world) close() {
	for _, i := range w.islands {
		if i.up {
			i.kill()
		}
	}
}

// sums adds an output up over windows and groups; total is the newest of each.
func (w *world) sum(output string) (sum float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for series, row := range w.said {
		if conform.OutputOf(series) != output {
			continue
		}
		if output == "total" {
			sum += row[slices.Max(slices.Collect(maps.Keys(row)))]
			continue
		}
		for _, v := range row {
			sum += v
		}
	}
	return sum
}

var params = conform.Params{
	Interval: conform.Minute, Without: []string{"instance", "pod"}, Replica: []string{"replica"}, Source: []string{"job", "instance"},
}

// exact holds what was published to what one observer of all would have seen.
func (w *world) exact(observed conform.Flight) {
	w.t.Helper()
	truth := conform.Compute(params, observed)
	var want float64
	for group, cells := range truth {
		want += truth.Sum(group)
		for output, value := range map[string]func(*conform.Cell) float64{
			"increase":      func(c *conform.Cell) float64 { v, _ := c.Increase.Float64(); return v },
			"count_samples": func(c *conform.Cell) float64 { return float64(len(c.Values)) },
		} {
			row, got := conform.Row{}, conform.Row{}
			for end, c := range cells {
				row[end] = value(c)
			}
			w.mu.Lock()
			for series, all := range w.said {
				if conform.OutputOf(series) == output && strings.Contains(series, strings.Trim(group, "{}")) {
					maps.Copy(got, all)
				}
			}
			w.mu.Unlock()
			if diff := got.Diff(row, 1e-9, false); diff != "" {
				w.t.Errorf("%s of %s: %s", output, group, diff)
			}
		}
	}
	if got := w.sum("total"); !conform.Near(got, want, 1e-9) {
		w.t.Errorf("totals are %v together, want %v", got, want)
	}
	w.once()
}

func (w *world) once() {
	w.t.Helper()
	for _, x := range w.twice {
		w.t.Errorf("published twice: %s", x)
	}
}

func (w *world) describe() string {
	var out strings.Builder
	for _, e := range w.events {
		fmt.Fprintln(&out, e)
	}
	for _, i := range w.islands {
		fmt.Fprintf(&out, "%s: %v\n", i.name, i.engine.Homes())
	}
	return out.String()
}

// settled checks that each series of some has one home, and that the others know it.
func (w *world) settled() {
	w.t.Helper()
	owners := map[uint64][]string{}
	stay := slices.DeleteFunc(slices.Clone(w.islands), func(i *island) bool { return i.left })
	for _, i := range stay {
		for at := i.engine.Owned(0, func(c engine.Claim) { owners[c.ID] = append(owners[c.ID], i.name) }); at != 0; {
			at = i.engine.Owned(at, func(c engine.Claim) { owners[c.ID] = append(owners[c.ID], i.name) })
		}
	}
	for _, i := range stay {
		for home := range i.engine.Homes() {
			i.engine.Following(home, func(x engine.Series, _ uint32) {
				if len(owners[x.ID]) == 0 {
					w.t.Errorf("series %x is followed by %s and has no home", x.ID, i.name)
				}
			})
		}
	}
	for id, names := range owners {
		if len(names) != 1 {
			w.t.Errorf("series %x has the homes %v", id, names)
		}
	}
}

func scrape(instance string, more ...string) conform.Flight {
	return conform.Scrape(conform.Pod(instance, more...), 5*conform.Second, 595*conform.Second, 10*conform.Second, conform.Linear(1_000_000, 100))
}
