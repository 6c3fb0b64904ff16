package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
	"github.com/atoll-mesh/atoll/aggregate/sink/fleet"
	"github.com/atoll-mesh/atoll/aggregate/sink/outlook"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue"
	"github.com/atoll-mesh/atoll/flow/send/request"
	"github.com/atoll-mesh/atoll/health"
)

// perEntry bounds the samples of a queue's entry.
const perEntry = 5000

// Options is what a Router needs from the rest of the island.
type Options struct {
	Config Config
	// Dir holds the queues; it is made, and nothing else may be in it.
	Dir        string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// Now is the clock for windows by age; nil is the system's.
	Now func() time.Time
}

// Router shards what is appended to it.
type Router struct {
	o     Options
	log   *slog.Logger
	m     *metrics
	fleet *fleet.Fleet
	// ring changes together with the fleet's members.
	ring atomic.Pointer[ring]
}

// New opens the queues. It starts nothing; appenders work from here on. Run
// sends, Close must follow.
func New(o Options) (*Router, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Router{o: o, log: o.Logger, m: m}
	specs, err := r.specs(o.Config)
	if err != nil {
		return nil, err
	}
	r.ring.Store(newRing(o.Config.WithDefaults()))
	r.fleet, err = fleet.New(fleet.Options{
		Owner: "router", Label: "backend", Dir: o.Dir, Logger: o.Logger, Registerer: o.Registerer, Health: o.Health,
		Orphan: r.adopt,
	}, specs)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Router) specs(c Config) ([]fleet.Spec, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	names := map[string]bool{}
	var out []fleet.Spec
	for _, b := range c.Backends {
		gate := &lateGate{}
		s, err := b.Spec(b.key(), gate)
		if err != nil {
			return nil, err
		}
		if names[s.Name] {
			s.Name += "-" + s.Key[len(s.Key)-6:]
		}
		names[s.Name] = true
		s.Hash = request.Digest(fmt.Sprintf("%s\n%+v", s.Hash, c.Breaker))
		build, name := s.Build, s.Name
		s.Build = func(log *slog.Logger) (fleet.Sender, error) {
			gate.breaker = newBreaker(c.Breaker, name, log, r.m)
			return build(log)
		}
		out = append(out, s)
	}
	return out, nil
}

// lateGate is a breaker that is made with the sender: an entry that did not change
// keeps the one it has.
type lateGate struct{ *breaker }

// Prepare checks the configuration and opens what is new in it. commit makes it
// the one that runs, discard forgets it; one of them must be called before the
// next Prepare. At commit, what waits for backends that go moves on to those that
// take their shares over; Commits wait meanwhile.
func (r *Router) Prepare(c Config) (commit, discard func(), err error) {
	specs, err := r.specs(c)
	if err != nil {
		return nil, nil, err
	}
	next := newRing(c.WithDefaults())
	return r.fleet.Prepare(specs, func(old, members map[string]*fleet.Member) {
		was := r.ring.Load()
		for key, m := range old {
			if members[key] == nil {
				m.Stop()
				if err := r.move(m.Queue, was, next, members); err != nil {
					r.log.Error("not all that waits for a backend that goes has moved", "backend", m.Spec.Name, "err", err)
				}
				r.m.forget(m.Spec.Name)
			}
		}
		r.ring.Store(next)
	})
}

// adopt moves what waits for a backend that went while nothing ran.
func (r *Router) adopt(key string, q *queue.Queue, members map[string]*fleet.Member) error {
	if len(members) == 0 {
		return nil
	}
	next := r.ring.Load()
	return r.move(q, next.with(key), next, members)
}

// move gives what waits in the queue of a backend that goes to those that get its
// series now and did not before.
func (r *Router) move(q *queue.Queue, was, next *ring, members map[string]*fleet.Member) error {
	now := r.o.Now().UnixMilli()
	q.Rewind()
	var samples []batch.Sample
	for {
		e, ok, err := q.TryNext()
		if err != nil || !ok {
			return err
		}
		if samples, err = batch.Decode(e.Data, samples[:0]); err != nil {
			r.log.Error("dropping an entry that cannot be read", "entry", e.Seq, "err", err)
			continue
		}
		l := newLoad(next)
		for i := range samples {
			for _, k := range gains(was, next, &samples[i], now) {
				l.add(k, i)
			}
		}
		if _, err := r.put(l, samples, members, r.m.moved); err != nil {
			return err
		}
		if err := q.Ack(e); err != nil {
			return err
		}
	}
}

// gains are the places of next that get the sample and did not in was.
func gains(was, next *ring, s *batch.Sample, now int64) (places []int) {
	none := func(int) {}
	had := map[string]bool{}
	h, buf := was.hash(s.Labels, nil)
	for _, k := range was.choose(nil, h, s.T, now, none) {
		had[was.backends[k].key] = true
	}
	h, _ = next.hash(s.Labels, buf)
	for _, k := range next.choose(nil, h, s.T, now, none) {
		if !had[next.backends[k].key] {
			places = append(places, k)
		}
	}
	return places
}

// Run sends until ctx ends; it returns nil then. The queues stay open for Commits.
func (r *Router) Run(ctx context.Context) error { return r.fleet.Run(ctx) }

// Close ends the queues; what is in them stays on disk. Call it when Run has returned.
func (r *Router) Close() error { return r.fleet.Close() }

// Status returns what is known of each backend, by name.
func (r *Router) Status() []fleet.Status { return r.fleet.Status() }

// load is which samples, by index, go to which place.
type load struct {
	ring *ring
	to   [][]int
}

func newLoad(r *ring) *load { return &load{ring: r, to: make([][]int, len(r.backends))} }

func (l *load) add(place, sample int) { l.to[place] = append(l.to[place], sample) }

// put queues a load and says how often each sample was taken.
func (r *Router) put(l *load, samples []batch.Sample, members map[string]*fleet.Member, count *prometheus.CounterVec) (taken []uint8, err error) {
	taken = make([]uint8, len(samples))
	enc := batch.NewEncoder()
	var errs []error
	for k, mine := range l.to {
		m := members[l.ring.backends[k].key]
		for len(mine) > 0 && m != nil {
			n := min(len(mine), perEntry)
			for _, i := range mine[:n] {
				enc.Add(samples[i])
			}
			entry, err := enc.Finish()
			if err == nil {
				err = m.Queue.Put(entry)
			}
			if err != nil {
				m.Show.Drop(n, outlook.NotQueued)
				errs = append(errs, fmt.Errorf("backend %s: %w", m.Spec.Name, err))
				break
			}
			count.WithLabelValues(m.Spec.Name).Add(float64(n))
			for _, i := range mine[:n] {
				taken[i]++
			}
			mine = mine[n:]
		}
	}
	return taken, errors.Join(errs...)
}

// route queues the samples for the backends of each.
func (r *Router) route(samples []batch.Sample) (err error) {
	r.fleet.View(func(members map[string]*fleet.Member) {
		ring, now := r.ring.Load(), r.o.Now().UnixMilli()
		l := newLoad(ring)
		skipped := make([]int, len(ring.backends))
		wanted := make([]bool, len(samples))
		var places []int
		var buf []byte
		for i := range samples {
			var h uint64
			h, buf = ring.hash(samples[i].Labels, buf)
			places = ring.choose(places[:0], h, samples[i].T, now, func(k int) { skipped[k]++ })
			for _, k := range places {
				l.add(k, i)
			}
			wanted[i] = len(places) > 0
			if !wanted[i] {
				r.m.unroutable.Inc()
			}
		}
		for k, n := range skipped {
			if m := members[ring.backends[k].key]; n > 0 && m != nil {
				r.m.outside.WithLabelValues(m.Spec.Name).Add(float64(n))
			}
		}
		taken, failed := r.put(l, samples, members, r.m.routed)
		lost := 0
		for i := range samples {
			if wanted[i] && taken[i] == 0 {
				lost++
			}
		}
		if lost > 0 {
			err = fmt.Errorf("route %d samples: %d of them are in no backend's queue: %w: %w", len(samples), lost, flow.ErrUnavailable, failed)
		}
	})
	return err
}

// AppenderV2 implements storage.AppendableV2.
func (r *Router) AppenderV2(context.Context) storage.AppenderV2 { return &appender{r: r} }

var _ storage.AppendableV2 = (*Router)(nil)
