package council

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Mesh is how islands that judge are reached.
type Mesh interface {
	// Judges names those that may judge and are in reach, this island among them if it
	// may.
	Judges() []string
	Cast(ctx context.Context, judge string, r *probepb.CastRequest) (*probepb.CastResponse, error)
	List(ctx context.Context, judge string, r *probepb.ListRequest) (*probepb.ListResponse, error)
}

// Options are what a Council needs.
type Options struct {
	// Mesh is nil where there is none: then all is judged here.
	Mesh Mesh
	// Self is this island as a vantage.
	Self func() verdict.Vantage
	// Origin asks the origin of a definition's targets at a URL, in the name of host
	// unless that is ""; nil with the reason in words where it gives no answer to compare
	// with. nil where origins are not asked.
	Origin func(ctx context.Context, definition, url, host string) (*compare.Answer, string)
	// Emitter writes the series of verdicts.
	Emitter    *emit.Emitter
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Definition is one that this island knows and can use.
type Definition struct {
	*definition.Definition
	// Shared tells that other vantages vote, too.
	Shared bool
	// Expected is how many vantages probe each target when all are there.
	Expected int
	// targets are all there can be; nil where they are discovered.
	targets map[named]bool
}

// named is a target as its definition has it.
type named struct{ instance, server string }

const (
	// told is how often a judge hears from each voter: silence for some of these is
	// what an island is known to be gone by.
	told = 10 * time.Second
	// together is for how long news wait for more of them.
	together = 200 * time.Millisecond
	// period is how often series are written while nothing changes.
	period = 30 * time.Second
	// shortestFresh is how long the votes of one that is silent count at least.
	shortestFresh = 3 * told
	// leeway is how long an island that is out of reach still counts as one that judges:
	// connections come and go.
	leeway = 10 * time.Second
)

// Council is one island's part.
type Council struct {
	o   Options
	log *slog.Logger
	m   *metrics

	wake chan struct{}

	mu      sync.Mutex
	self    verdict.Vantage
	started time.Time
	defs    map[string]*Definition
	seats   map[Target]*seat
	byID    map[uint64]*seat
	nextID  uint64
	dockets map[Target]*docket
	voters  map[string]*voter
	towards map[string]*toward
	origins map[string]*origin
	asking  int // how many of them are asked now
	// live are those that judge, this island among them if it may, in order.
	live []string
	seen map[string]time.Time // when each was in reach last
	// uplink is why this island's own way out is bad.
	uplink string
	blind  float64   // the value of its series
	looked time.Time // when that was found out
	// shifted tells that it may be another since, as far as this island knows.
	shifted bool
	// moved tells that who judges what must be looked at again.
	moved bool
	// info are series that are not of targets; ended are those that are to end.
	info  map[string]*info
	ended []*emit.Target
}

// New returns a Council; it starts nothing.
func New(o Options) (*Council, error) {
	if o.Self == nil || o.Emitter == nil {
		return nil, errors.New("making the council: Self and Emitter must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Council{
		o: o, log: o.Logger, wake: make(chan struct{}, 1), info: map[string]*info{},
		defs: map[string]*Definition{}, seats: map[Target]*seat{}, byID: map[uint64]*seat{}, dockets: map[Target]*docket{}, voters: map[string]*voter{},
		towards: map[string]*toward{}, origins: map[string]*origin{}, seen: map[string]time.Time{}, self: o.Self(),
	}
	var err error
	if c.m, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	c.live = []string{c.self.Name}
	return c, nil
}

// Define replaces the definitions, by name.
func (c *Council) Define(all map[string]Definition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defs := make(map[string]*Definition, len(all))
	for name, d := range all {
		d.Shared = d.Shared && !d.From.This
		if !d.Shared {
			d.Expected = 1
		}
		if len(d.Discover) == 0 {
			d.targets = make(map[named]bool, len(d.Targets))
			for _, t := range d.Targets {
				d.targets[named{t.Text(), t.ServerName}] = true
			}
		}
		defs[name] = &d
	}
	news := false
	for name := range defs {
		news = news || c.defs[name] == nil || c.defs[name].Shared != defs[name].Shared
	}
	for t, s := range c.seats {
		if d := defs[t.Definition]; d == nil || d.Shared != s.shared {
			c.leave(s)
		}
	}
	for t, d := range c.dockets {
		switch is, was := defs[t.Definition], c.defs[t.Definition]; {
		case is == nil:
			c.close(d, refusedUnknown)
		case was != nil && was.Shared && !is.Shared:
			c.close(d, refusedOther) // what others say is of another definition
		}
		d.due, d.origin = time.Time{}, nil
	}
	c.defs = defs
	if news {
		for _, v := range c.voters { // of some votes nothing was understood before
			v.again = v.again || len(v.denied) > 0
		}
	}
	c.moved = true
	c.stir()
}

// stir has Run look soon. The caller holds mu.
func (c *Council) stir() {
	select {
	case c.wake <- struct{}{}:
	default: // it is asked for already
	}
}

// Run judges, writes and votes until ctx ends. It may be called once.
func (c *Council) Run(ctx context.Context) error {
	c.mu.Lock()
	c.started = time.Now()
	c.mu.Unlock()
	var calls sync.WaitGroup
	defer calls.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		c.pass(ctx, &calls)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.wake:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(together):
			}
		}
	}
}

// pass does what is due.
func (c *Council) pass(ctx context.Context, calls *sync.WaitGroup) {
	now, self := time.Now(), c.o.Self()
	var reach []string
	if c.o.Mesh != nil {
		reach = c.o.Mesh.Judges()
	}
	c.mu.Lock()
	if self != c.self {
		c.moved, c.self = true, self
	}
	c.gather(reach, now)
	c.look(now)
	asks := c.inquiries(now)
	write, ended := c.judge(now), c.ended
	c.ended = nil
	casts := c.casts(now)
	c.mu.Unlock()
	c.write(context.WithoutCancel(ctx), now, write, ended)
	for _, o := range asks {
		calls.Go(func() { c.ask(ctx, o) })
	}
	for _, call := range casts {
		calls.Go(func() { c.cast(ctx, call) })
	}
}

// gather finds out who judges now, and what follows.
func (c *Council) gather(reach []string, now time.Time) {
	for _, name := range reach {
		c.seen[name] = now
	}
	var live []string
	for name, at := range c.seen {
		switch t := c.towards[name]; {
		case now.Sub(at) > leeway, name == c.self.Name && !slices.Contains(reach, name):
			delete(c.seen, name)
		case t != nil && now.Before(t.shunned):
		default:
			live = append(live, name)
		}
	}
	if len(live) == 0 {
		live = []string{c.self.Name}
	}
	slices.Sort(live)
	if !c.moved && slices.Equal(live, c.live) {
		return
	}
	c.live, c.moved = live, false
	for _, s := range c.seats {
		c.assign(s)
	}
	for _, d := range c.dockets {
		if was := d.lead; c.leads(d) != was {
			d.due = time.Time{}
		}
	}
	for name, t := range c.towards {
		if !slices.Contains(live, name) && len(t.held)+len(t.dirty) == 0 && !t.flying && !now.Before(t.shunned) {
			delete(c.towards, name)
		}
	}
}

// judges are the first two that are live, by rendezvous with the target; the second
// is "" if there is none. Source: Thaler and Ravishankar, "Using name-based mappings to
// increase hit rates", 1998.
func (c *Council) judges(t Target, shared bool) (first, second string) {
	if !shared {
		return c.self.Name, ""
	}
	var best, next uint64
	for _, name := range c.live {
		switch w := t.weight(name); {
		case first == "" || w > best:
			first, second, best, next = name, first, w, best
		case second == "" || w > next:
			second, next = name, w
		}
	}
	return first, second
}

func (t *Target) weight(judge string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, s := range [...]string{judge, t.Definition, t.Instance, t.Address, t.Labels} {
		_, _ = d.WriteString(s) // it never errs
		_, _ = d.Write([]byte{0})
	}
	return d.Sum64()
}

func newSession() uint64 { return rand.Uint64() | 1 }

// fresh is how long a vote counts after its sender was heard, or a probe of this
// island's own.
func (d *Definition) fresh() time.Duration { return max(3*time.Duration(d.Interval), shortestFresh) }
