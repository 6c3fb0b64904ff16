package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/home"
	"github.com/atoll-mesh/atoll/aggregate/journal"
	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/share"
	"github.com/atoll-mesh/atoll/aggregate/sink"
	"github.com/atoll-mesh/atoll/health"
)

// tick is how often windows are looked at.
const tick = 200 * time.Millisecond

// lookInterval is how often rules are looked through for full ones.
const lookInterval = 10 * time.Second

// Options is what an Aggregator needs from the rest of the island.
type Options struct {
	Config Config
	// Rules are those that Config.Rules names; nil for none.
	Rules *rule.Set
	// Dir keeps the state and the sinks' queues. Empty keeps nothing over a restart,
	// and allows no sinks.
	Dir string
	// InNetwork: windows of distributed rules wait until Enter or Leave is called.
	InNetwork bool
	// Store takes the results.
	Store      storage.AppendableV2
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Aggregator is the aggregation of one island.
type Aggregator struct {
	opts    Options
	log     *slog.Logger
	m       *metrics
	engine  *engine.Engine
	owner   *owner.Owner
	sinks   *sink.Sinks
	journal *journal.Journal // nil without a directory
	out     outlet
	now     func() time.Time

	overflow *overflow

	// unsaved: the last attempt to write a checkpoint did not work.
	unsaved atomic.Bool

	// turn keeps a reload from coming between a window and its results.
	turn   sync.Mutex
	rules  *rule.Set
	shared shared
	// sharing is shared.share, for those who do not wait for turn.
	sharing atomic.Pointer[share.Share]
	homing  atomic.Pointer[home.Home] // nil outside of a network
	// reloaded asks for a checkpoint: what the rules before, or the network, made of
	// the journal, is not what would be made of it now.
	reloaded chan struct{}
	// replayed are results of windows that were sealed after the last checkpoint, or
	// waited for a network; they are published first.
	replayed []partial.Sample
}

// New opens the state of the last run and replays what came after it.
func New(o Options) (*Aggregator, error) {
	if o.Rules == nil {
		o.Rules = &rule.Set{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of aggregation: %w", err)
	}
	a := &Aggregator{opts: o, log: o.Logger, m: m, now: o.Now, rules: o.Rules, shared: shared{waits: o.InNetwork}, reloaded: make(chan struct{}, 1)}
	if err := a.open(o); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *Aggregator) open(o Options) (err error) {
	if a.journal, err = openJournal(o); err != nil {
		return err
	}
	eo := engine.Options{Rules: o.Rules, Registerer: o.Registerer}
	if a.journal != nil {
		eo.Journal = a.journal
	}
	if a.engine, err = engine.New(eo); err != nil {
		return err
	}
	if a.owner, err = owner.New(owner.Options{Rules: o.Rules, Registerer: o.Registerer}); err != nil {
		return err
	}
	if a.sinks, err = openSinks(o); err != nil {
		return err
	}
	a.overflow = newOverflow(o.Health, a.log)
	a.out = outlet{m: a.m, log: a.log, most: o.Config.Pending, trouble: declareTrouble(o.Health)}
	if a.sinks != nil {
		a.out.sinks = a.sinks
	}
	if o.Config.Store {
		a.out.store = o.Store
	}
	return a.recover()
}

// Run seals windows and hands out what they hold until ctx ends; then it writes a
// last checkpoint.
func (a *Aggregator) Run(ctx context.Context) error {
	g, inner := errgroup.WithContext(ctx)
	if a.sinks != nil {
		g.Go(func() error { return a.sinks.Run(inner) })
	}
	g.Go(func() error {
		a.loop(inner)
		return nil
	})
	return errors.Join(g.Wait(), a.close())
}

func (a *Aggregator) loop(ctx context.Context) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	checkpoints := time.NewTicker(time.Duration(a.opts.Config.CheckpointInterval))
	defer checkpoints.Stop()
	early := time.NewTicker(time.Second)
	defer early.Stop()
	looks := time.NewTicker(lookInterval)
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			a.checkpoint()
			return
		case <-ticks.C:
			a.seal(ctx)
		case <-early.C:
			a.checkpointEarly()
		case <-looks.C:
			a.overflow.look(a.engine.Full())
		case <-checkpoints.C:
			a.checkpoint()
		case <-a.reloaded:
			a.checkpoint()
		}
	}
}

// seal publishes the windows that are due.
func (a *Aggregator) seal(ctx context.Context) {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.out.flush(ctx)
	a.publish(ctx, a.replayed)
	a.replayed = nil
	err := a.engine.Advance(a.now().UnixMilli(), func(w *partial.Window) error {
		// The window is counted: it must not be offered a second time.
		a.publish(ctx, a.finish(w))
		return nil
	})
	if err != nil {
		a.log.Error("windows were not sealed", "err", err)
	}
}

func (a *Aggregator) publish(ctx context.Context, samples []partial.Sample) {
	if err := a.out.publish(ctx, samples); err != nil {
		a.log.Warn("results did not reach every sink", "err", err)
	}
}

// commit applies a transaction that the store has taken.
func (a *Aggregator) commit(b *engine.Batch) {
	b.Commit(a.now().UnixMilli())
}
