package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

// Options is what a Replicator is made of. Logger, Registerer and Health may be nil.
type Options struct {
	Config Config
	// Dir holds copies and what streams spent.
	Dir string
	// Store is the island's own.
	Store Store
	// OpenStore makes the store of a copy; keep is 0 for the island's own retention,
	// size for no bound. It starts nothing.
	OpenStore func(dir string, keep time.Duration, size flow.Bytes) (CopyStore, error)
	// Members are the islands that can hold copies; false while the island belongs
	// to no network.
	Members func() (self Member, others []Member, ok bool)
	// Dial opens a stream to a member.
	Dial func(context.Context, Member) (Pushes, error)
	// External are the labels that series carry at the island's border.
	External func() labels.Labels
	// Late is the store's out-of-order window.
	Late func() time.Duration
	// Gone tells when an island left the network for good, by its ID.
	Gone func(id string) (at time.Time, gone bool)
	// Retention is for how long copies of an island that is gone are kept that have
	// no time of their own.
	Retention  func() time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

func (o Options) validate() error {
	if o.Store == nil || o.OpenStore == nil || o.Members == nil || o.Dial == nil || o.External == nil || o.Late == nil || o.Gone == nil || o.Retention == nil {
		return errors.New("BUG: replicate.Options lacks a function or the store")
	}
	if o.Dir == "" {
		return errors.New("BUG: replicate.Options.Dir is missing")
	}
	return o.Config.Validate()
}

// Replicator sends streams and keeps copies. All methods are safe for concurrent use.
type Replicator struct {
	o      Options
	m      *metrics
	log    *slog.Logger
	behind *health.Handle
	cfg    atomic.Pointer[Config]
	taps   atomic.Pointer[[]*intake]
	look   chan struct{} // the members or the configuration may have changed
	told   chan struct{} // what is said of copies has changed

	running sync.WaitGroup // stores of copies

	mu      sync.Mutex
	stores  context.Context //nolint:containedctx // the life of copies' stores, which streams start
	copies  map[copyKey]*kept
	outlets map[outletKey]*sending
	purses  map[string]*purse
}

type copyKey struct{ origin, stream string }

type outletKey struct{ stream, to string }

// sending is an outlet that runs.
type sending struct {
	*outlet
	cancel context.CancelFunc
	done   chan struct{}
}

// New checks the options. It touches no file and starts nothing.
func New(o Options) (*Replicator, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	r := &Replicator{
		o: o, m: newMetrics(o.Registerer), log: o.Logger, look: make(chan struct{}, 1), told: make(chan struct{}, 1),
		copies: map[copyKey]*kept{}, outlets: map[outletKey]*sending{}, purses: map[string]*purse{},
		behind: o.Health.Declare(health.Warning{
			Code: "replication-behind", Severity: health.SeverityWarning,
			Title:  "A replication stream does not reach its receiver",
			Remedy: "`atoll copies` says why; the samples are sent from the store when it is back.",
		}),
	}
	r.cfg.Store(&o.Config)
	r.taps.Store(&[]*intake{})
	return r, nil
}

// tell has Changed say that copies came, went or changed.
func (r *Replicator) tell() { poke(r.told) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Changed is signalled when About of a copy changed, or a copy came or went.
func (r *Replicator) Changed() <-chan struct{} { return r.told }

// Connected has streams try again at once, because an island came into reach.
func (r *Replicator) Connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.outlets {
		poke(s.wake)
	}
	poke(r.look)
}

const (
	lookEvery  = 2 * time.Second
	spendEvery = 10 * time.Second
	tidyEvery  = time.Minute
	// idleSession is how long the state of a stream is kept that does not come back.
	idleSession = time.Hour
	// behindAfter is how long a stream may be away before that is a warning.
	behindAfter = 5 * time.Minute
)

// Run opens the copies and keeps streams open, until ctx ends.
func (r *Replicator) Run(ctx context.Context) error {
	stores, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		r.mu.Lock() // nobody is about to start another one
		stop()
		r.mu.Unlock()
		r.running.Wait()
	}()
	ledger, err := readLedger(r.o.Dir)
	if err != nil {
		r.log.Warn("budgets of today begin anew", "error", err)
	}
	r.mu.Lock()
	r.stores = stores
	for _, s := range r.cfg.Load().Streams {
		r.purses[s.Name] = newPurse(s.Budget, ledger[s.Name])
	}
	r.reopen()
	r.mu.Unlock()
	defer r.end()
	look, spend, tidy := time.NewTicker(lookEvery), time.NewTicker(spendEvery), time.NewTicker(tidyEvery)
	defer look.Stop()
	defer spend.Stop()
	defer tidy.Stop()
	for {
		r.reconcile(ctx)
		select {
		case <-look.C:
		case <-r.look:
		case <-spend.C:
			r.book()
		case <-tidy.C:
			r.tidy()
		case <-ctx.Done():
			return nil
		}
	}
}

// end stops the streams and writes down what they spent.
func (r *Replicator) end() {
	r.mu.Lock()
	ending := r.outlets
	r.outlets = map[outletKey]*sending{}
	r.mu.Unlock()
	for _, s := range ending {
		s.cancel()
	}
	for _, s := range ending {
		<-s.done
	}
	r.book()
}

// reconcile starts and ends outlets so that there is one for each receiver.
func (r *Replicator) reconcile(ctx context.Context) {
	self, others, ok := r.o.Members()
	want := map[outletKey]Member{}
	streams := map[string]Stream{}
	for _, s := range r.cfg.Load().Streams {
		streams[s.Name] = s
		if !ok {
			continue
		}
		for _, m := range s.receivers(self, others) {
			want[outletKey{s.Name, m.ID}] = m
		}
	}
	r.mu.Lock()
	var ending []*sending
	for key, s := range r.outlets {
		if m, ok := want[key]; !ok || m.Name != s.to.Name || !streams[key.stream].same(s.stream) {
			ending = append(ending, s)
			delete(r.outlets, key)
		}
	}
	for key, m := range want {
		if r.outlets[key] == nil {
			r.outlets[key] = r.start(ctx, streams[key.stream], m)
		}
	}
	r.retap()
	r.mu.Unlock()
	for _, s := range ending {
		s.cancel()
		<-s.done
		r.m.forget(s.stream.Name, s.to.Name)
	}
	r.warn()
}

// retap shows the tap who listens; r.mu is held.
func (r *Replicator) retap() {
	taps := make([]*intake, 0, len(r.outlets))
	for _, s := range r.outlets {
		taps = append(taps, s.in)
	}
	r.taps.Store(&taps)
}

// start begins to send; r.mu is held.
func (r *Replicator) start(ctx context.Context, stream Stream, to Member) *sending {
	match, err := parseMatch(stream.Match)
	if err != nil {
		panic(fmt.Sprintf("BUG: a configuration that was checked does not parse: %v", err))
	}
	p := r.purses[stream.Name]
	if p == nil {
		p = newPurse(stream.Budget, spending{})
		r.purses[stream.Name] = p
	}
	o := &outlet{
		stream: stream, match: match, to: to, store: r.o.Store, dial: r.o.Dial, external: r.o.External, late: r.o.Late,
		purse: p, m: r.m.outlet(stream.Name, to.Name), log: r.log,
		in: newIntake(queueSamples), flight: newFlight(windowBytes), wake: make(chan struct{}, 1),
	}
	o.now(doingConnect, nil)
	ctx, cancel := context.WithCancel(ctx)
	s := &sending{outlet: o, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		o.run(ctx)
	}()
	return s
}

// warn says which streams are away.
func (r *Replicator) warn() {
	text := ""
	for _, s := range r.Streams() {
		if s.State != doingLive && time.Since(s.Since) > behindAfter {
			text = fmt.Sprintf("stream %s to %s: %s since %s: %s", s.Stream, s.To, s.State, s.Since.UTC().Format(time.RFC3339), s.Error)
		}
	}
	if text == "" {
		r.behind.Clear()
		return
	}
	r.behind.Set("%s", text)
}

// book writes down what streams spent today.
func (r *Replicator) book() {
	r.mu.Lock()
	ledger := map[string]spending{}
	for name, p := range r.purses {
		if s := p.state(time.Now()); s.Bytes > 0 {
			ledger[name] = s
		}
	}
	r.mu.Unlock()
	if len(ledger) == 0 {
		return
	}
	if err := writeLedger(r.o.Dir, ledger); err != nil {
		r.log.Warn("write down what streams spent today", "error", err)
	}
}

// Prepare checks a new configuration; commit puts it in force. Streams that did not
// change go on.
func (r *Replicator) Prepare(next Config) (commit, discard func(), err error) {
	if err := next.Validate(); err != nil {
		return nil, nil, err
	}
	return func() {
		old := r.cfg.Swap(&next)
		if reflect.DeepEqual(*old, next) {
			return
		}
		r.mu.Lock()
		for _, s := range next.Streams {
			was := spending{}
			if p := r.purses[s.Name]; p != nil {
				was = p.state(time.Now())
			}
			r.purses[s.Name] = newPurse(s.Budget, was)
		}
		r.mu.Unlock()
		poke(r.look)
	}, func() {}, nil
}

func (r *Replicator) copyDir(k copyKey) string {
	return filepath.Join(r.copiesDir(), safe(k.origin)+"."+k.stream)
}

func (r *Replicator) copiesDir() string { return filepath.Join(r.o.Dir, "copies") }
