package aggregate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/home"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/share"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

// Network is the islands that make the windows of rules with distribute: true
// together.
type Network struct {
	// Self is this island's name among them, the same over restarts and changes of
	// its key: what it counted goes by it.
	Self string
	// Members lists those that take part and are not known to be lost.
	Members func() []string
	// Transport reaches them; what it sends is for their Handle.
	Transport share.Transport
	// Key is the same on all of them and not easily guessed by others: it keys the
	// hashes by which they find out who counts a series that several receive. 0:
	// everybody counts what he receives.
	Key        uint64
	Registerer prometheus.Registerer
	Health     *health.List
}

// shared is what an island has of windows that it makes together with others.
// Aggregator.turn guards it.
type shared struct {
	share *share.Share // nil outside of a network, and while it is entered
	// waits: this island is in a network and has not entered it yet; windows wait.
	waits bool
	// leaves: it has handed over what it had; windows wait until it has left.
	leaves  bool
	windows []*partial.Window
	// notes of a share, of the journal, wait too.
	notes [][]byte
	// state is of the last share, for the next.
	state []byte
}

// Enter makes the windows of distributed rules common with the islands of a
// network from now on: run sends and publishes until its context ends. What was
// sealed since the last checkpoint, or since another run has ended, goes first.
func (a *Aggregator) Enter(n Network) (run func(context.Context) error, err error) {
	a.turn.Lock()
	defer a.turn.Unlock()
	dir := ""
	if a.opts.Dir != "" {
		dir = filepath.Join(a.opts.Dir, "share")
	}
	o := share.Options{
		Self: n.Self, Rules: a.rules, Members: n.Members, Transport: n.Transport, Publish: a.publishShared,
		Start: uint64(a.now().UnixNano()), Dir: dir, Now: a.now,
		Logger: a.log, Registerer: n.Registerer, Health: n.Health,
	}
	if a.journal != nil {
		o.Journal = a.journal
	}
	s, err := share.New(o)
	if err != nil {
		return nil, fmt.Errorf("aggregate with other islands: %w", err)
	}
	if err := a.restoreShared(s); err != nil {
		return nil, fmt.Errorf("aggregate with other islands: %w; without the directory %s the island begins anew", err, a.opts.Dir)
	}
	h, err := a.findHomes(n)
	if err != nil {
		return nil, fmt.Errorf("aggregate with other islands: %w", err)
	}
	windows, begun := a.shared.windows, len(a.shared.state) == 0
	a.shared = shared{share: s}
	a.sharing.Store(s)
	a.homing.Store(h)
	for _, w := range windows {
		a.push(w)
	}
	return func(ctx context.Context) error {
		if begun && a.journal != nil {
			// What is sent is counted under a number of this beginning, which must be
			// the same after a crash: the windows that come again are no others.
			a.saved(ctx)
		}
		g, inner := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(inner) })
		if h != nil {
			g.Go(func() error { return h.Run(inner) })
		}
		err := g.Wait()
		a.pause(s)
		return err
	}, nil
}

// restoreShared gives a share what the last one had.
func (a *Aggregator) restoreShared(s *share.Share) error {
	if len(a.shared.state) > 0 {
		if err := s.Restore(bytes.NewReader(a.shared.state)); err != nil {
			return err
		}
	}
	for _, note := range a.shared.notes {
		if err := s.Replay(note); err != nil {
			return err
		}
	}
	return nil
}

// findHomes makes what finds out who counts a series that several islands receive.
func (a *Aggregator) findHomes(n Network) (*home.Home, error) {
	if n.Key == 0 {
		return nil, nil
	}
	return home.New(home.Options{
		Self: n.Self, Key: n.Key, Members: n.Members, Transport: n.Transport, Engine: a.engine,
		Start: uint64(a.now().UnixNano()), Now: a.now, Logger: a.log, Registerer: n.Registerer,
	})
}

// pause keeps the state of a share that has ended, until Enter or Leave.
func (a *Aggregator) pause(s *share.Share) {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.sharing.Store(nil)
	a.homing.Store(nil)
	var state bytes.Buffer
	if err := s.Snapshot(&state); err != nil {
		a.log.Error("what was shared with other islands is not kept", "err", err)
	}
	a.shared = shared{waits: true, state: state.Bytes(), windows: a.shared.windows}
}

// Leave says that this island is in no network: it makes all windows alone.
func (a *Aggregator) Leave() {
	a.turn.Lock()
	defer a.turn.Unlock()
	windows := a.shared.windows
	a.shared = shared{}
	a.engine.Decide(a.now().UnixMilli(), []engine.Decision{{Verb: engine.Cease}})
	for _, w := range windows {
		a.replayed = append(a.replayed, a.owner.Finish(w)...)
	}
	select {
	case a.reloaded <- struct{}{}: // what the journal has of the network is not to be made alone
	default:
	}
}

// Handle takes a message of another island and answers it; from is its name among
// the members. It returns flow.ErrUnavailable outside of a network.
func (a *Aggregator) Handle(ctx context.Context, from string, message []byte) ([]byte, error) {
	if home.Is(message) {
		if h := a.homing.Load(); h != nil {
			return h.Handle(ctx, from, message)
		}
		return nil, fmt.Errorf("find homes of series: this island does not aggregate with others now: %w", flow.ErrUnavailable)
	}
	s := a.sharing.Load()
	if s == nil {
		return nil, fmt.Errorf("take parts of windows: this island does not aggregate with others now: %w", flow.ErrUnavailable)
	}
	return s.Handle(ctx, from, message)
}

// finish makes samples of a window, or hands it to those who do.
func (a *Aggregator) finish(w *partial.Window) []partial.Sample {
	switch {
	case !w.Rule.Distribute:
		return a.owner.Finish(w)
	case a.shared.share != nil && !a.shared.leaves:
		a.push(w)
	case a.shared.share != nil, a.shared.waits:
		a.shared.windows = append(a.shared.windows, w)
	default:
		return a.owner.Finish(w)
	}
	return nil
}

func (a *Aggregator) push(w *partial.Window) {
	if err := a.shared.share.Push(w); err != nil {
		a.log.Error("a window was not shared", "err", err)
	}
}

// publishShared implements share.Options.Publish.
func (a *Aggregator) publishShared(ctx context.Context, samples []partial.Sample) error {
	return a.out.offer(ctx, samples)
}

// snapshotShared writes the last part of a checkpoint.
func (a *Aggregator) snapshotShared(w io.Writer) error {
	if a.shared.share != nil {
		return a.shared.share.Snapshot(w)
	}
	_, err := w.Write(a.shared.state)
	return err
}
