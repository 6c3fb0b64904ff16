package peer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/query/global"
)

// A question for which nothing has come after a third of its time, or that could
// not be delivered, is put once more, over another way. The first answer is taken.
const (
	hedgePart = 3
	// hedgeShare is how many of the questions may be put twice, beyond the first
	// hedgeBurst: what is slow because it is overloaded must not be asked for twice.
	hedgeShare = 0.05
	hedgeBurst = 10
)

// hedges allow for second questions and count them.
type hedges struct {
	total *prometheus.CounterVec

	mu   sync.Mutex
	left float64
}

func newHedges() *hedges {
	h := &hedges{left: hedgeBurst, total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_query_hedges_total",
		Help: "Questions put to an island a second time over another way: won, lost to the first, or denied because too many were.",
	}, []string{"result"})}
	for _, result := range []string{"won", "lost", "denied"} {
		h.total.WithLabelValues(result)
	}
	return h
}

// asked notes a first question.
func (h *hedges) asked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = min(h.left+hedgeShare, hedgeBurst)
}

// allow takes the right to a second one.
func (h *hedges) allow() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left < 1 {
		h.total.WithLabelValues("denied").Inc()
		return false
	}
	h.left--
	return true
}

// Hedged has second questions go over what connect returns.
func (c *Client) Hedged(connect func() (grpc.ClientConnInterface, error)) *Client {
	out := *c
	out.another = connect
	return &out
}

// attempt is what became of one of the two.
type attempt struct {
	said   said
	err    error
	second bool
}

// ask returns an answer as it came.
func (c *Client) ask(ctx context.Context, r *global.Request) (said, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.codec.hedges.asked()
	if c.another == nil {
		return c.fetch(ctx, c.connect, r, func() {})
	}
	done, part := make(chan attempt, 2), make(chan struct{})
	flows := sync.OnceFunc(func() { close(part) })
	put := func(connect func() (grpc.ClientConnInterface, error), second bool) {
		came, err := c.fetch(ctx, connect, r, flows)
		done <- attempt{came, err, second}
	}
	go put(c.connect, false)
	var slow <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(deadline) / hedgePart)
		defer timer.Stop()
		slow = timer.C
	}
	pending, tried, twice := 1, false, false
	again := func() {
		if tried = true; c.codec.hedges.allow() {
			twice = true
			pending++
			go put(c.another, true)
		}
	}
	began := part
	var first error
	for {
		select {
		case <-began: // the way is good, however long the answer takes
			slow, began = nil, nil
		case <-slow:
			slow = nil
			again()
		case one := <-done:
			pending--
			if !tried && undelivered(one.err) && ctx.Err() == nil {
				again()
			}
			if first == nil {
				first = one.err
			}
			var f *global.Fault
			if one.err == nil || errors.As(one.err, &f) || pending == 0 {
				c.codec.hedges.end(one, twice)
				if one.err != nil && f == nil {
					return said{}, first
				}
				return one.said, one.err
			}
		}
	}
}

func (h *hedges) end(one attempt, twice bool) {
	switch {
	case one.second && one.err == nil:
		h.total.WithLabelValues("won").Inc()
	case twice:
		h.total.WithLabelValues("lost").Inc()
	}
}

// undelivered reports whether a question did not reach the island.
func undelivered(err error) bool {
	return errors.Is(err, flow.ErrUnavailable) || status.Code(err) == codes.Unavailable
}
