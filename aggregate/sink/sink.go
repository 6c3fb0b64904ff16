package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
	"github.com/atoll-mesh/atoll/aggregate/sink/fleet"
	"github.com/atoll-mesh/atoll/aggregate/sink/outlook"
	"github.com/atoll-mesh/atoll/health"
)

// Sample is one finished sample: T in ms since the epoch; H if it is a histogram,
// else V. Revision and Rule are not sent.
type Sample = partial.Sample

// Status is what is known of one sink.
type Status = fleet.Status

// perEntry bounds the samples of a queue's entry.
const perEntry = 5000

// Options is what the sinks need from the rest of the island.
type Options struct {
	Config Config
	// Dir holds the queues; it is made, and nothing else may be in it.
	Dir        string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

// Sinks runs the configured sinks.
type Sinks struct {
	fleet *fleet.Fleet

	// writing guards enc, and keeps the order of Writes in every queue.
	writing sync.Mutex
	enc     *batch.Encoder
}

// New opens the queues and deletes those that no entry names any more. It starts
// nothing; Write works from here on. Run sends, Close must follow.
func New(o Options) (*Sinks, error) {
	specs, err := o.Config.specs()
	if err != nil {
		return nil, err
	}
	f, err := fleet.New(fleet.Options{
		Owner: "sink", Label: "sink", Dir: o.Dir, Logger: o.Logger, Registerer: o.Registerer, Health: o.Health,
	}, specs)
	if err != nil {
		return nil, err
	}
	return &Sinks{fleet: f, enc: batch.NewEncoder()}, nil
}

// Prepare checks the configuration and opens what is new in it. commit makes it
// the one that runs, discard forgets it; one of them must be called before the
// next Prepare.
func (s *Sinks) Prepare(c Config) (commit, discard func(), err error) {
	specs, err := c.specs()
	if err != nil {
		return nil, nil, err
	}
	return s.fleet.Prepare(specs, nil)
}

// Write puts the samples into every sink's queue. It waits for no network. An
// error names the sinks whose disk did not take them; the others have them, so
// the same samples should not be written again.
func (s *Sinks) Write(samples []Sample) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var err error
	s.fleet.View(func(sinks map[string]*fleet.Member) {
		if len(sinks) > 0 {
			err = s.write(sinks, samples)
		}
	})
	return err
}

func (s *Sinks) write(sinks map[string]*fleet.Member, samples []Sample) error {
	failed := map[string]error{}
	for some := range slices.Chunk(samples, perEntry) {
		for i := range some {
			s.enc.Add(batch.Sample{Labels: some[i].Labels, T: some[i].T, V: some[i].V, FH: some[i].H})
		}
		entry, err := s.enc.Finish()
		if err != nil {
			return err
		}
		for _, m := range sinks {
			if err := m.Queue.Put(entry); err != nil {
				m.Show.Drop(len(some), outlook.NotQueued)
				failed[m.Spec.Name] = fmt.Errorf("sink %s: %w", m.Spec.Name, err)
			}
		}
	}
	var errs []error
	for _, err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Run sends until ctx ends; it returns nil then. The queues stay open for Write.
func (s *Sinks) Run(ctx context.Context) error { return s.fleet.Run(ctx) }

// Close ends the queues; what is in them stays on disk. Call it when Run has returned.
func (s *Sinks) Close() error { return s.fleet.Close() }

// Status returns what is known of each sink, by name.
func (s *Sinks) Status() []Status { return s.fleet.Status() }
