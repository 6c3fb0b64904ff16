// Package fleet runs queues on disk, each with a sender that drains it, and lets
// them come, change and go while it runs.
//
// In: what each receiver is (Spec); a change of all of them at once, in two
// phases. Out: Members, whose queues take entries. Guaranteed: receivers that did
// not change go on undisturbed; one whose settings changed keeps its queue, and is
// never drained by two senders at a time; the queue of one that is gone is
// deleted; Run leaves no goroutine behind.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/aggregate/sink/outlook"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue"
	"github.com/atoll-mesh/atoll/health"
)

// Sender drains a queue until ctx ends.
type Sender interface {
	Run(ctx context.Context, q *queue.Queue, show *outlook.Receiver) error
	// Close frees a Sender that was never run.
	Close()
}

// Spec is one receiver, checked.
type Spec struct {
	// Key names the queue's directory. Name is for people and metrics. Hash tells
	// whether anything changed.
	Key, Name, Hash string
	// Bytes bounds the queue.
	Bytes flow.Bytes
	// Build makes the sender; it connects to nothing.
	Build func(log *slog.Logger) (Sender, error)
}

// Options is what a Fleet needs from the rest of the island.
type Options struct {
	// Owner names metrics and warnings, Label tells the receivers apart in them.
	Owner, Label string
	// Dir holds the queues' directories and nothing else; it is made.
	Dir        string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// Orphan, if set, empties the queue of a receiver that went while nothing ran,
	// into the members' queues, before it is deleted.
	Orphan func(key string, q *queue.Queue, members map[string]*Member) error
}

// Member is one receiver at work. A changed Spec makes a new one with the old queue.
type Member struct {
	Spec  Spec
	Queue *queue.Queue
	Show  *outlook.Receiver

	sender Sender
	mu     sync.Mutex
	ended  bool
	stop   context.CancelFunc
	done   chan struct{}
}

// Fleet runs the receivers of one owner.
type Fleet struct {
	dir    string
	log    *slog.Logger
	label  string
	orphan func(key string, q *queue.Queue, members map[string]*Member) error
	queues *queue.Family
	shown  *outlook.Family
	// wake tells Run that the members changed.
	wake chan struct{}

	mu      sync.RWMutex
	members map[string]*Member
	gone    []*Member // for Run or Close to stop and remove
}

// New opens the queues and deletes those that no Spec names any more. It starts
// nothing; the queues take entries from here on. Run sends, Close must follow.
func New(o Options, specs []Spec) (*Fleet, error) {
	if o.Dir == "" {
		return nil, fmt.Errorf("%s.Options.Dir is empty; give a directory for the queues", o.Owner)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	queues, err := queue.NewFamily(o.Owner, o.Label, o.Registerer, o.Health)
	if err != nil {
		return nil, err
	}
	shown, err := outlook.NewFamily(o.Owner, o.Label, o.Registerer, o.Health)
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		dir: o.Dir, log: o.Logger, label: o.Label, orphan: o.Orphan, queues: queues, shown: shown,
		wake: make(chan struct{}, 1), members: map[string]*Member{},
	}
	commit, _, err := f.Prepare(specs, nil)
	if err != nil {
		return nil, err
	}
	commit()
	if err := f.removeOrphans(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeOrphans deletes the queues of receivers that went while nothing ran.
func (f *Fleet) removeOrphans() error {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the queues: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		if _, known := f.members[e.Name()]; known || !queue.Is(path) {
			continue
		}
		q, err := queue.Open(queue.Options{Dir: path, Name: e.Name(), MaxBytes: math.MaxInt64, Logger: f.log})
		if err != nil {
			return err
		}
		if f.orphan != nil {
			if err := f.orphan(e.Name(), q, f.members); err != nil {
				return errors.Join(err, q.Close())
			}
		}
		f.log.Warn("deleting the queue of a receiver that is no longer configured", "queue", path, "entries", q.Stats().Entries)
		if err := q.Remove(); err != nil {
			return fmt.Errorf("delete the queue of a receiver that is no longer configured: %w", err)
		}
	}
	return nil
}

// Prepare opens what is new in specs. commit makes them those that run, discard
// forgets them; one of the two must be called before the next Prepare. before, if
// set, is called by commit with the members that were and those that will be,
// while no View is under way.
func (f *Fleet) Prepare(specs []Spec, before func(old, next map[string]*Member)) (commit, discard func(), err error) {
	next := make(map[string]*Member, len(specs))
	var fresh []*Member
	discard = func() {
		for _, m := range fresh {
			m.sender.Close()
			switch {
			case m.Queue == nil:
			case m.Queue.Stats().Entries == 0:
				_ = m.Queue.Remove()
			default: // of an earlier run
				_ = m.Queue.Close()
			}
		}
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, sp := range specs {
		old := f.members[sp.Key]
		if old != nil && old.Spec.Hash == sp.Hash {
			next[sp.Key] = old
			continue
		}
		m, err := f.build(sp, old)
		if err != nil {
			discard()
			return nil, nil, fmt.Errorf("%s %s: %w", f.label, sp.Name, err)
		}
		next[sp.Key] = m
		fresh = append(fresh, m)
	}
	return func() { f.commit(next, before) }, discard, nil
}

// build makes a member. Where it replaces one its queue comes at commit.
func (f *Fleet) build(sp Spec, old *Member) (*Member, error) {
	sender, err := sp.Build(f.log.With(f.label, sp.Name))
	if err != nil {
		return nil, err
	}
	m := &Member{Spec: sp, sender: sender}
	if old != nil {
		return m, nil
	}
	m.Queue, err = queue.Open(queue.Options{
		Dir: filepath.Join(f.dir, sp.Key), Name: sp.Name, MaxBytes: sp.Bytes, Family: f.queues, Logger: f.log,
	})
	if err != nil {
		sender.Close()
	}
	return m, err
}

func (f *Fleet) commit(next map[string]*Member, before func(old, next map[string]*Member)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, m := range next {
		old := f.members[key]
		switch old {
		case m:
		case nil:
			m.Show = f.shown.Receiver(m.Spec.Name)
		default:
			m.Queue, m.Show, m.Spec.Name = old.Queue, old.Show, old.Spec.Name
			m.Queue.SetMaxBytes(m.Spec.Bytes)
			f.gone = append(f.gone, old)
		}
	}
	for key, old := range f.members {
		if next[key] == nil {
			f.gone = append(f.gone, old)
		}
	}
	if before != nil {
		before(f.members, next)
	}
	f.members = next
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// View calls with with the members, which stay as they are meanwhile.
func (f *Fleet) View(with func(members map[string]*Member)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	with(f.members)
}

// Run sends until ctx ends; it returns nil then. The queues stay open.
func (f *Fleet) Run(ctx context.Context) error {
	for {
		f.reconcile(ctx)
		select {
		case <-ctx.Done():
			for _, m := range f.all() {
				m.cancel()
			}
			for _, m := range f.all() {
				m.Stop()
			}
			return nil
		case <-f.wake:
		}
	}
}

func (f *Fleet) all() []*Member {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := make([]*Member, 0, len(f.members))
	for _, m := range f.members {
		out = append(out, m)
	}
	return out
}

// takeGone returns what is to be retired, once.
func (f *Fleet) takeGone() []*Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := f.gone
	f.gone = nil
	return gone
}

// reconcile stops what is gone, then starts what is new.
func (f *Fleet) reconcile(ctx context.Context) {
	f.retire(f.takeGone())
	for _, m := range f.all() {
		m.start(ctx, f.log)
	}
}

func (m *Member) start(ctx context.Context, log *slog.Logger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop != nil || m.ended {
		return
	}
	ctx, m.stop = context.WithCancel(ctx)
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		if err := m.sender.Run(ctx, m.Queue, m.Show); err != nil {
			log.Error("a sender has ended", "name", m.Spec.Name, "err", err)
		}
	}()
}

func (m *Member) cancel() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop != nil {
		m.stop()
	}
}

// Stop ends the sender for good and returns when it has; the queue stays.
func (m *Member) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	m.ended = true
	if m.stop == nil {
		m.sender.Close()
		return
	}
	m.stop()
	<-m.done
}

// retire stops senders, and removes the queues that no member has any more.
func (f *Fleet) retire(gone []*Member) {
	for _, m := range gone {
		m.Stop()
		f.mu.RLock()
		heir := f.members[m.Spec.Key]
		f.mu.RUnlock()
		if heir != nil && heir.Queue == m.Queue {
			continue
		}
		if n := m.Queue.Stats().Entries; n > 0 {
			f.log.Warn("deleting the queue of a receiver that is no longer configured", "name", m.Spec.Name, "entries", n)
		}
		if err := m.Queue.Remove(); err != nil {
			f.log.Warn("the queue of a receiver that is no longer configured stays behind", "name", m.Spec.Name, "err", err)
		}
		m.Show.Forget()
	}
}

// Close ends the queues; what is in them stays on disk. Call it when Run has returned.
func (f *Fleet) Close() error {
	f.retire(f.takeGone())
	var errs []error
	for _, m := range f.all() {
		m.Stop()
		errs = append(errs, m.Queue.Close())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = map[string]*Member{}
	return errors.Join(errs...)
}

// Status is what is known of one receiver.
type Status struct {
	outlook.Status
	Queue queue.Stats
}

// Status returns what is known of each receiver, by name.
func (f *Fleet) Status() []Status {
	var out []Status
	for _, m := range f.all() {
		out = append(out, Status{Status: m.Show.Status(), Queue: m.Queue.Stats()})
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}
