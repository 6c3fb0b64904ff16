package witness

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/time/rate"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// tick is how often what is due is found.
const tick = time.Second

// Witness watches over the members of a network, from one of them.
type Witness struct {
	meshpb.UnimplementedWitnessServer

	o      Options
	cfg    Config
	logger *slog.Logger
	m      *metrics
	warn   *warnings

	mu  sync.Mutex
	run *run // nil while Run does not run
	rng *rand.Rand

	self     Member
	views    map[trust.Key]*view // every member but this island
	ordered  []trust.Key         // those of views, for the panel; nil to be made anew
	troubled map[trust.Key]*view // those of views with a next or an ask
	standing map[trust.Key]*standing
	// turn holds who is still to be looked at in this round, by whether connected.
	turn map[bool][]trust.Key

	refresh, near, wide time.Time // when each is due next
	looks, asks         *rate.Limiter
	callers             map[trust.Key]*rate.Limiter
	served              chan struct{}

	// alone is when this island found itself cut off, reckoned from the silence
	// that made it look; zero while it is not. joined is when it last was no more.
	alone, joined time.Time
	cuts          []time.Time // when it was cut off within the last hour
	parted        bool
	sampled       time.Time // when the panel was looked at last
	publishingCut bool
}

// run is one call of Run: its context, and what it must wait for.
type run struct {
	ctx   context.Context
	group sync.WaitGroup
}

// New makes a Witness and starts nothing.
func New(o Options) (*Witness, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Witness{
		o: o, cfg: o.Config, logger: o.Logger,
		rng:      rand.New(rand.NewPCG(binary.BigEndian.Uint64(o.Self[:8]), binary.BigEndian.Uint64(o.Self[8:16]))),
		views:    map[trust.Key]*view{},
		troubled: map[trust.Key]*view{},
		standing: map[trust.Key]*standing{},
		turn:     map[bool][]trust.Key{},
		looks:    rate.NewLimiter(rate.Limit(o.Config.LooksPerSecond), looksBurst),
		asks:     rate.NewLimiter(rate.Limit(o.Config.AsksPerSecond), asksBurst),
		callers:  map[trust.Key]*rate.Limiter{},
		served:   make(chan struct{}, servedAtOnce),
	}
	w.m = newMetrics(o.Registerer, w)
	w.warn = declare(o.Health)
	return w, nil
}

// Run watches until ctx is done, and returns when all it began has ended.
func (w *Witness) Run(ctx context.Context) error {
	r := &run{ctx: ctx}
	w.mu.Lock()
	if w.run != nil {
		w.mu.Unlock()
		return fmt.Errorf("witness: Run is called twice")
	}
	w.run = r
	w.mu.Unlock()
	defer r.group.Wait()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.run = nil
	}()
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		w.step(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// step does what is due.
func (w *Witness) step(now time.Time) {
	var members []Member
	w.mu.Lock()
	due := !now.Before(w.refresh)
	w.mu.Unlock()
	if due {
		members = w.o.Members()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if due {
		w.roster(members, now)
		w.refresh = now.Add(w.about(w.cfg.Period))
	}
	if len(w.views) == 0 {
		return
	}
	w.lookAtTroubled(now)
	w.lookInTurn(now)
	w.askDue(now)
	w.tend(now)
	w.speakDue(now)
	w.withdrawDue(now)
}

// roster takes in who is a member now.
func (w *Witness) roster(members []Member, now time.Time) {
	present := make(map[trust.Key]bool, len(members))
	for _, m := range members {
		if m.Key == w.o.Self {
			w.self = m
			continue
		}
		present[m.Key] = true
		if v, ok := w.views[m.Key]; ok {
			v.Member = m
		} else {
			v := &view{Member: m, since: now}
			if s, ok := w.standing[m.Key]; ok && s.Kind == KindLost {
				v.state = Lost
			}
			w.views[m.Key] = v
			w.ordered = nil
		}
	}
	for k := range w.views {
		if !present[k] {
			delete(w.views, k)
			delete(w.troubled, k)
			delete(w.callers, k)
			w.ordered = nil
		}
	}
}

// about is d give or take a quarter, so that islands started together part.
func (w *Witness) about(d model.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + 0.5*w.rng.Float64()))
}

// start runs f until Run ends. The lock is held; f runs without it.
func (w *Witness) start(f func(ctx context.Context)) bool {
	r := w.run
	if r == nil || r.ctx.Err() != nil {
		return false
	}
	r.group.Go(func() { f(r.ctx) })
	return true
}

// Connected says that there is a connection to the island, in standing.
func (w *Witness) Connected(key trust.Key) { w.sign(key, true) }

// Heard says that something came from the island.
func (w *Witness) Heard(key trust.Key) { w.sign(key, false) }

// Disconnected says that the last connection to the island is gone. That proves
// nothing: it is looked at, unless that was done lately.
func (w *Witness) Disconnected(key trust.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.views[key]
	if !ok {
		return
	}
	v.connected = false
	now := time.Now()
	// A look may itself have made the connection that is closed now.
	if now.Sub(v.looked) > time.Duration(w.cfg.WidePeriod) && v.next.IsZero() {
		w.trouble(v, now.Add(time.Duration(w.rng.Int64N(int64(2*time.Second)))))
	}
}

func (w *Witness) sign(key trust.Key, connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.views[key]
	if !ok {
		return
	}
	if connected {
		v.connected = true
	}
	w.alive(v, time.Now())
}
