// Package remote drains a queue of batches to one remote-write receiver.
//
// In: batch entries of a flow/queue, the remote_write entry that says where to.
// Out: remote write 1.0 or 2.0 requests, one at a time. Guaranteed: an entry
// leaves the queue when the receiver took it, or refused it for good (4xx but
// 429), or it is older than sample_age_limit; the last two are counted. Samples of
// one series arrive in the order in which they were queued. After a crash the
// request that was in flight is sent again.
package remote

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
	"github.com/atoll-mesh/atoll/aggregate/sink/drain"
	"github.com/atoll-mesh/atoll/aggregate/sink/outlook"
	"github.com/atoll-mesh/atoll/flow/queue"
	"github.com/atoll-mesh/atoll/flow/send/request"
)

// Gate decides when requests may be made: a circuit breaker.
type Gate interface {
	// Acquire waits until a request may be made; the error is ctx's.
	Acquire(ctx context.Context) error
	// Record gives the permit back with what came of it: nil if the receiver answered.
	Record(err error)
}

// Options is what a Sender works with.
type Options struct {
	// Name is for upstream's metrics and traces.
	Name   string
	Config *promconfig.RemoteWriteConfig
	// Gate may be nil.
	Gate   Gate
	Logger *slog.Logger
}

// Sender drains one queue.
type Sender struct {
	o      Options
	client *request.Client
	enc    *request.Encoder
	queue  *queue.Queue
	show   *outlook.Receiver
	// entries and samples are of the present round.
	entries []queue.Entry
	samples []batch.Sample
	builder *labels.Builder
}

// New builds the client of an entry; it connects to nothing yet. Run or Close must follow.
func New(o Options) (*Sender, error) {
	client, err := request.NewClient(o.Name, o.Config)
	if err != nil {
		return nil, err
	}
	return &Sender{
		o: o, client: client,
		enc: request.NewEncoder(client.V2()), builder: labels.NewBuilder(labels.EmptyLabels()),
	}, nil
}

// Close ends a Sender that was not run.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Run drains q and tells show, until ctx ends; it returns nil then. What is not acknowledged stays in
// the queue.
func (s *Sender) Run(ctx context.Context, q *queue.Queue, show *outlook.Receiver) error {
	s.queue, s.show = q, show
	defer s.client.CloseIdleConnections()
	return drain.Run(ctx, q, s.o.Logger, time.Second, rounds{s})
}

// rounds keep what drain calls out of what others see of a Sender.
type rounds struct{ *Sender }

func (r rounds) Collect(ctx context.Context) (last queue.Entry, err error) {
	if err := r.collect(ctx); err != nil {
		return last, err
	}
	return r.entries[len(r.entries)-1], nil
}

func (r rounds) Deliver(ctx context.Context) bool { return r.deliver(ctx) }

// collect waits for an entry and takes what else is there for one request. Where a
// request may have been made before, it ends where that did.
func (s *Sender) collect(ctx context.Context) error {
	s.entries = s.entries[:0]
	e, err := s.queue.Next(ctx)
	if err != nil {
		return err
	}
	most := max(1, s.o.Config.QueueConfig.MaxSamplesPerSend)
	last, again := s.queue.Begun(e)
	n := 0
	for ok := true; ok; e, ok, err = s.queue.TryNext() {
		s.entries = append(s.entries, e)
		if info, err := batch.Peek(e.Data); err == nil {
			n += info.Samples
		}
		if again && e.Seq >= last || !again && n >= most {
			break
		}
	}
	if err != nil || again {
		return err
	}
	return s.queue.Begin(s.entries[len(s.entries)-1])
}

// deliver sends the entries of the round; false says that ctx ended before.
func (s *Sender) deliver(ctx context.Context) bool {
	if len(s.entries) == 1 && s.plain() {
		info, err := batch.Peek(s.entries[0].Data)
		if err == nil && info.Samples <= s.o.Config.QueueConfig.MaxSamplesPerSend && info.MinT >= s.oldest() {
			if end := s.send(ctx, info.Body, info.Samples, info.MinT); end != aged {
				return end == done
			}
		}
	}
	s.samples = s.samples[:0]
	for _, e := range s.entries {
		var err error
		if s.samples, err = batch.Decode(e.Data, s.samples); err != nil {
			s.o.Logger.Error("dropping an entry that cannot be read", "entry", e.Seq, "bytes", len(e.Data), "err", err)
			s.show.Drop(1, outlook.Damaged)
		}
	}
	left := s.filter(s.samples)
	for most := max(1, s.o.Config.QueueConfig.MaxSamplesPerSend); len(left) > 0; {
		n := min(most, len(left))
		if !s.encodeAndSend(ctx, left[:n]) {
			return false
		}
		left = left[n:]
	}
	clear(s.samples) // do not hold the labels until the next round
	return true
}

func (s *Sender) encodeAndSend(ctx context.Context, some []batch.Sample) bool {
	for len(some) > 0 {
		body, minT, err := s.encode(some)
		if err != nil {
			s.o.Logger.Error("dropping samples that cannot be encoded", "samples", len(some), "err", err)
			s.show.Drop(len(some), outlook.Unencodable)
			return true
		}
		if end := s.send(ctx, body, len(some), minT); end != aged {
			return end == done
		}
		some = s.dropOld(some)
	}
	return true
}

// ending says why no further attempt is made for a body.
type ending int

const (
	done    ending = iota // the receiver took or refused it
	stopped               // ctx ended
	aged                  // some of it has become too old
)

// send makes requests until the receiver took or refused the body.
func (s *Sender) send(ctx context.Context, body []byte, samples int, minT int64) ending {
	backoff := time.Duration(s.o.Config.QueueConfig.MinBackoff)
	for attempt := 0; ; attempt++ {
		if s.o.Gate != nil && s.o.Gate.Acquire(ctx) != nil {
			return stopped
		}
		wait, again := s.attempt(ctx, body, samples, attempt)
		if !again {
			return done
		}
		if wait == 0 {
			wait = backoff
		}
		backoff = min(backoff*2, time.Duration(s.o.Config.QueueConfig.MaxBackoff))
		if drain.Pause(ctx, wait) != nil {
			return stopped
		}
		if minT < s.oldest() {
			return aged
		}
	}
}

// attempt makes one request and says whether, and after what Retry-After, to try again.
func (s *Sender) attempt(ctx context.Context, body []byte, samples, attempt int) (wait time.Duration, again bool) {
	begin := time.Now()
	stats, reply, err := s.client.Store(ctx, body, attempt)
	s.show.Took(time.Since(begin))
	if s.o.Gate != nil {
		if reply.Again() {
			s.o.Gate.Record(err)
		} else {
			s.o.Gate.Record(nil)
		}
	}
	written := min(stats.AllSamples(), samples)
	switch {
	case err == nil && s.client.V2() && written < samples:
		// Remote write 2.0 demands the counts; without them the receiver most
		// likely took the body for something else.
		s.show.Good(written, len(body))
		s.show.Refuse(samples-written, outlook.NotWritten, fmt.Errorf("the receiver answered %d and says it wrote %d of %d samples", reply.Status, written, samples))
	case err == nil:
		s.show.Good(samples, len(body))
	case reply.Again():
		if ctx.Err() == nil {
			s.show.Bad(err)
			s.o.Logger.Debug("request failed, trying again", "attempt", attempt, "err", err)
		}
		return reply.RetryAfter, true
	default:
		s.o.Logger.Warn("receiver refused samples", "samples", samples-written, "err", err)
		if written > 0 {
			s.show.Good(written, len(body))
		}
		s.show.Refuse(samples-written, outlook.Rejected, err)
	}
	return 0, false
}
