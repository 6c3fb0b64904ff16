package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// Replies is the receiver's end of a stream. Its context ends both methods.
type Replies interface {
	Send(*replicatepb.Reply) error
	Recv() (*replicatepb.Push, error)
	Context() context.Context
}

// Refusal is what a peer sent that no sender sends.
type Refusal struct {
	Reason string // a word, for the metric
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// Receive keeps the copy of a stream up to date until the stream ends. The error
// is a *Refusal if the peer is to blame; it wraps flow.ErrOverLimit or
// flow.ErrUnavailable where that is why. The caller vouches for the origin.
func (r *Replicator) Receive(origin Origin, link Replies) error {
	err := r.receive(origin, link)
	var bad *Refusal
	if errors.As(err, &bad) {
		r.m.refused.WithLabelValues(bad.Reason).Inc()
	}
	return err
}

func (r *Replicator) receive(origin Origin, link Replies) error {
	first, err := link.Recv()
	if err != nil {
		return err
	}
	if first.GetOpen() == nil {
		return refuse("open", "the first message of a stream must open it")
	}
	about, err := readOpen(origin, first.GetOpen())
	if err != nil {
		return err
	}
	c, err := r.find(about)
	if err != nil {
		return err
	}
	ctx, release, err := c.enter(link.Context())
	if err != nil {
		return err
	}
	defer release()
	if err := r.renew(c, about); err != nil {
		return err
	}
	if err := c.ready(ctx); err != nil {
		return err
	}
	if err := r.welcome(c, first.GetOpen(), link); err != nil {
		return err
	}
	return r.follow(ctx, c, link)
}

// welcome tells the sender where to go on.
func (r *Replicator) welcome(c *kept, open *replicatepb.Open, link Replies) (err error) {
	limit := r.cfg.Load().Receive.Series
	w := &replicatepb.Welcome{Series: int64(min(limit, mostSeries))}
	if c.session != nil {
		w.Epoch, w.Seq, w.Resume = c.session.resumes(open)
	}
	if !w.Resume {
		about := c.info()
		if c.session, err = newSession(c, limit, r.m.copy(about)); err != nil {
			return err
		}
		_, w.Newest = c.store.Span()
	}
	return link.Send(&replicatepb.Reply{Welcome: w})
}

// follow stores frames until the stream ends or another one takes its place.
func (r *Replicator) follow(ctx context.Context, c *kept, link Replies) error {
	pushes, failed := make(chan *replicatepb.Push), make(chan error, 1)
	go func() {
		for {
			push, err := link.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case pushes <- push:
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
	}()
	for {
		select {
		case push := <-pushes:
			reply, err := c.session.take(ctx, push)
			if err != nil {
				if c.session.broken {
					c.session = nil
				}
				return err
			}
			if err := link.Send(reply); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			c.session = nil
			return c.ready(ctx)
		}
	}
}
