package probe

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/protocol/path"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Set is what is to be probed, as it was read.
type Set struct {
	// Modules are those of the module file; the built-in ones are always there.
	Modules definition.Modules
	// Local are this island's own definitions, which no other island knows; Shared
	// are those of the network.
	Local, Shared []*definition.Definition
	// Dir is where relative paths in definitions begin.
	Dir string
}

// Observation is one result, for those who make more of it than samples.
type Observation struct {
	Definition *definition.Definition
	// Shared tells that other islands know the definition too.
	Shared bool
	// Target is the label instance, Address set where each address is a target.
	Target  string
	Address netip.Addr
	job     *job
	// At is when the probe began, and the time of its samples.
	At     time.Time
	Result *protocol.Result
}

// Options are what a Prober needs.
type Options struct {
	Config Config
	Set    Set
	// Store takes the samples.
	Store storage.AppendableV2
	// Labels are this island's, its name being the label "island".
	Labels func() map[string]string
	// Members are the islands that live, this one among them; nil, or none, where there
	// is no network.
	Members func() []schedule.Member
	// Own are the addresses of this island's mesh, which are not probed.
	Own func() []netip.AddrPort
	// Public is the address from which others see this island come, invalid where that is
	// not known; nil if it never is.
	Public func() netip.Addr
	// Runs reaches another island that is to probe what somebody asks for, by its name;
	// nil where there is no network.
	Runs func(vantage string) (probepb.RunsClient, error)
	// Evidence reaches another island that gathers or keeps evidence, by its name; bulk is
	// for archives. nil where there is no network.
	Evidence func(vantage string, bulk bool) (probepb.EvidenceClient, error)
	// Vantages are the islands of the network that probe; nil where there is no network.
	Vantages func() []Vantage
	// Describe asks another island where it stands; nil where there is no network.
	Describe func(ctx context.Context, vantage string) (*probepb.DescribeResponse, error)
	// Reserve is how many bytes of a file system of some size are not to be written to;
	// nil for none.
	Reserve func(total uint64) uint64
	// Dir is below which this room keeps what outlasts it; "" keeps nothing.
	Dir string
	// Audit writes down who does what to which target, before it is done; where that
	// fails it is not done. nil writes nothing.
	Audit func(actor, action, subject, detail string) error
	// Votes reaches the islands that judge; nil where there is no network.
	Votes council.Mesh
	// Observe gets every result, in the goroutine of its probe; nil for nobody.
	Observe func(Observation)
	// Discovery are the metrics of the discovery mechanisms; nil makes some.
	Discovery  *discovery.SDMetrics
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List

	// table replaces the probers in tests, resolver the system's.
	table    map[string]protocol.Func
	resolver protocol.Resolver
	// nameServers replace those that the machine is set up with.
	nameServers []netip.AddrPort
}

// Prober probes.
type Prober struct {
	opts      Options
	log       *slog.Logger
	m         *metrics
	warnings  warnings
	table     map[string]protocol.Func
	way       *path.Path // the probers that share sockets
	guard     *guard.Guard
	limiter   *guard.Limiter
	guests    guests
	asks      crowd
	ledger    *ledger
	builtin   definition.Modules
	batch     *emit.Batch
	emitter   *emit.Emitter
	scheduler *schedule.Scheduler
	council   *council.Council
	vantage   atomic.Pointer[verdict.Vantage]
	discovery *finder
	names     *follower
	memory    protocol.Memory // of what probes need again
	stand     stand
	keeper    *keeper
	// refused are those judges that were in the way when follow looked last.
	refused []string
	// descriptions are what other vantages said of themselves.
	descriptions descriptions
	// turned hears of each result with which what this island thinks of a target turned
	// to degraded or down, in the goroutine of the probe: it must not block. nil for nobody.
	turned func(Observation)

	plan atomic.Pointer[plan]
	// changed asks for targets to be made anew.
	changed chan struct{}

	mu      sync.RWMutex
	targets map[string]*target
	found   map[string][]*targetgroup.Group
	spreads map[string]schedule.Spread // of the definitions, by name
	leftOut int                        // targets over the limit
}

// New checks the configuration; it starts nothing.
func New(o Options) (*Prober, error) {
	if o.Store == nil || o.Labels == nil {
		return nil, errors.New("making the prober: Store and Labels must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	p := &Prober{
		opts: o, log: o.Logger, warnings: declare(o.Health), table: o.table,
		changed: make(chan struct{}, 1), targets: map[string]*target{}, way: path.New(),
	}
	if p.table == nil {
		p.table = table(p.way)
	}
	self := p.self()
	p.vantage.Store(&verdict.Vantage{Name: self.Name, Region: self.Labels["region"], ISP: self.Labels["isp"]})
	var err error
	if p.m, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	if p.guard, err = guard.New(guard.Options{Rules: o.Config.rules(), Own: o.Own, Resolver: o.resolver, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	p.limiter = p.guard.Limit(o.Config.Rate, "probe.rate")
	p.guests = newGuests(p.guard, o.Config.Islands.Rate)
	p.asks, p.ledger = crowd{most: mostAsks, each: mostAsks}, newLedger(o.Audit)
	p.builtin = definition.Builtin()
	p.batch = emit.NewBatch(o.Store, p.unstored)
	if p.emitter, err = emit.New(p.batch, o.Registerer); err != nil {
		return nil, err
	}
	if p.scheduler, err = schedule.New(schedule.Options{Concurrency: o.Config.Concurrency, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	if p.council, err = council.New(council.Options{
		Mesh: o.Votes, Self: func() verdict.Vantage { return *p.vantage.Load() }, Emitter: p.emitter, Origin: p.askOrigin, Logger: o.Logger, Registerer: o.Registerer,
	}); err != nil {
		return nil, err
	}
	if p.discovery, err = newFinder(o); err != nil {
		return nil, err
	}
	p.names = newFollower(p.guard.For(guard.Defined), p.change)
	if p.keeper, err = newKeeper(p); err != nil {
		return nil, err
	}
	p.turned = p.keeper.turned
	p.adopt(p.makePlan(o.Config, o.Set))
	return p, nil
}

// lookInterval is how often the island's labels and the network's members are
// compared with what targets were made for.
const lookInterval = 2 * time.Second

// Run probes until ctx ends. It may be called once.
func (p *Prober) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	p.discovery.apply(p.plan.Load())
	g.Go(func() error { return p.discovery.run(ctx, p.discovered) })
	g.Go(func() error { return p.names.run(ctx) })
	g.Go(func() error { return p.way.Run(ctx) })
	g.Go(func() error { return p.scheduler.Run(ctx) })
	g.Go(func() error { return p.council.Run(ctx) })
	g.Go(func() error { return p.keeper.run(ctx) })
	g.Go(func() error { p.follow(ctx); return nil })
	err := g.Wait()
	p.batch.Flush()
	return err
}

// follow keeps the targets as they should be.
func (p *Prober) follow(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	var before surroundings
	for first := true; ; first = false {
		now := p.surroundings()
		if first || !now.equal(before) {
			p.rebuild(now)
			before = now
		}
		p.look()
		p.flushLedger(false)
		select {
		case <-ctx.Done():
			p.flushLedger(true)
			return
		case <-tick.C:
		case <-p.changed:
			before = surroundings{}
		}
	}
}

func (p *Prober) change() {
	select {
	case p.changed <- struct{}{}:
	default: // it is asked for already
	}
}

func (p *Prober) discovered(found map[string][]*targetgroup.Group) {
	p.mu.Lock()
	p.found = found
	p.mu.Unlock()
	p.change()
}

// Prepare checks a new section and new definitions; commit puts them in force.
func (p *Prober) Prepare(cfg Config, set Set) (commit, discard func(), err error) {
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	rules, err := p.guard.Prepare(cfg.rules())
	if err != nil {
		return nil, nil, err
	}
	kept, err := p.keeper.prepare(cfg.Evidence)
	if err != nil {
		return nil, nil, err
	}
	next := p.makePlan(cfg, set)
	return func() {
		rules()
		kept()
		p.limiter.Set(cfg.Rate)
		p.guests.set(cfg.Islands.Rate)
		p.scheduler.SetConcurrency(cfg.Concurrency)
		p.adopt(next)
		p.discovery.apply(next)
		p.change()
	}, func() {}, nil
}

// Modules are all modules that this island has.
func (p *Prober) Modules() definition.Modules { return p.plan.Load().modules }

// All are the modules that definitions of a set may name.
func (s Set) All() definition.Modules { return definition.Builtin().With(s.Modules) }

// self is this island among the members.
func (p *Prober) self() schedule.Member {
	ls := p.opts.Labels()
	return schedule.Member{Name: ls["island"], Labels: ls}
}

func sortMembers(members []schedule.Member) []schedule.Member {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b schedule.Member) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return members
}
