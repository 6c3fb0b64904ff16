package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/trust"
)

// ClientOptions is what the calling side is made of. Name, Rule, Stalled,
// Logger and Registerer may be nil.
type ClientOptions struct {
	// Dial opens a stream to a peer whose key it has proved. ctx bounds the
	// opening only.
	Dial func(ctx context.Context, peer trust.Key, class Class) (net.Conn, error)
	// Self is this island's own key: calls to it are refused.
	Self trust.Key
	// Name of a peer, for texts and metrics.
	Name func(trust.Key) string
	// Rule of a method by its full name: Server.Rule.
	Rule func(method string) (Rule, bool)
	// Stalled is told that an answer is owed and no byte came for
	// Limits.StallAfter, and again while that lasts, one report at a time for
	// each peer and class. It may be slow, and call Reset.
	Stalled    func(peer trust.Key, class Class)
	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Clients makes calls to other islands. All methods are safe for concurrent use.
type Clients struct {
	dial    func(context.Context, trust.Key, Class) (net.Conn, error)
	self    trust.Key
	name    func(trust.Key) string
	rule    func(string) (Rule, bool)
	stalled func(trust.Key, Class)
	limits  Limits
	logger  *slog.Logger
	m       *clientMetrics
	version string

	background sync.WaitGroup // reports of stalls, ends of links

	mu      sync.Mutex
	closed  bool
	peers   map[trust.Key]*entry
	methods map[methodClass]methodMetrics
}

type methodClass struct {
	method string
	class  Class
}

// entry is what is kept of one peer.
type entry struct {
	key     trust.Key
	name    string // as its metric is labelled
	breaker *breaker

	// guarded by Clients.mu
	links [numClasses]*link
	users int
	last  time.Time
	// patience is how long an urgent link is kept without calls, missed when one was
	// last closed for that.
	patience time.Duration
	missed   time.Time
}

// keptLonger is how many times longer than others an urgent link is kept at most.
const keptLonger = 9

// wait sets the patience for a new urgent link. Where one was closed as idle not long
// ago, the next is kept three times as long: rules and dashboards ask at intervals, and
// a new link costs them a round trip and some 400 bytes.
func (e *entry) wait(idle time.Duration, now time.Time) {
	if e.missed.IsZero() || now.Sub(e.missed) > keptLonger*idle {
		e.patience = idle
		return
	}
	e.patience = min(3*max(e.patience, idle), keptLonger*idle)
}

// maxNamed bounds how many peers have a breaker in the metrics.
const maxNamed = 2048

// NewClients checks the options and prepares; it starts and dials nothing.
func NewClients(o ClientOptions) (*Clients, error) {
	if o.Dial == nil {
		return nil, errors.New("rpc clients: Dial is nil: there must be a way to reach peers")
	}
	if err := o.Limits.Validate(); err != nil {
		return nil, fmt.Errorf("rpc clients: limits: %w", err)
	}
	if o.Name == nil {
		o.Name = trust.Key.Short
	}
	if o.Rule == nil {
		o.Rule = func(string) (Rule, bool) { return Rule{}, false }
	}
	if o.Stalled == nil {
		o.Stalled = func(trust.Key, Class) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Clients{
		dial: o.Dial, self: o.Self, name: o.Name, rule: o.Rule, stalled: o.Stalled, limits: o.Limits, logger: o.Logger,
		m:       newClientMetrics(o.Registerer),
		version: ownVersion(),
		peers:   map[trust.Key]*entry{},
		methods: map[methodClass]methodMetrics{},
	}, nil
}

// Conn returns the way to call a peer. It dials nothing by itself and need not
// be closed; errors of its calls are *Error.
func (c *Clients) Conn(peer trust.Key, class Class) grpc.ClientConnInterface {
	return &conn{c, peer, class}
}

// Breaker returns the state of a peer's circuit breaker.
func (c *Clients) Breaker(peer trust.Key) BreakerStatus {
	c.mu.Lock()
	e := c.peers[peer]
	c.mu.Unlock()
	if e == nil {
		return BreakerStatus{}
	}
	return e.breaker.read()
}

// Reset drops all connections to a peer, because their path is dead or a better
// one is there. Open calls fail as unavailable; those that are idempotent or
// were still waiting for a connection are made once more, over what Dial gives
// next. An open breaker lets a call try.
func (c *Clients) Reset(peer trust.Key) {
	c.mu.Lock()
	e := c.peers[peer]
	var links []*link
	if e != nil {
		links = e.open()
		e.links = [numClasses]*link{}
	}
	c.mu.Unlock()
	if e == nil {
		return
	}
	c.m.resets.Inc()
	e.breaker.retry(e.name)
	for _, l := range links {
		l.drop(errReset)
	}
}

// Reachable tells that a new path to the peer was found: an open breaker lets a
// call try at once. Connections that work are left alone.
func (c *Clients) Reachable(peer trust.Key) {
	c.mu.Lock()
	e := c.peers[peer]
	c.mu.Unlock()
	if e == nil {
		return
	}
	e.breaker.retry(e.name)
}

// detach makes the next call take a new link.
func (c *Clients) detach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.e.links[l.class] == l {
		l.e.links[l.class] = nil
	}
}

// Forget drops all that is kept of a peer that is no member any more.
func (c *Clients) Forget(peer trust.Key) {
	c.mu.Lock()
	e := c.peers[peer]
	var links []*link
	if e != nil {
		links = e.open()
		c.remove(e)
	}
	c.mu.Unlock()
	for _, l := range links {
		l.drop(errGone)
	}
}

func (e *entry) open() []*link {
	var out []*link
	for _, l := range e.links {
		if l != nil {
			out = append(out, l)
		}
	}
	return out
}

// remove takes an entry out of the map and the metrics; Clients.mu is held.
func (c *Clients) remove(e *entry) {
	delete(c.peers, e.key)
	e.links = [numClasses]*link{}
	if e.breaker.gauge != nil {
		c.m.breaker.DeleteLabelValues(e.name)
	}
}

// Run closes connections that are idle, and when ctx ends all of them. Calls
// can be made before Run and are refused after it.
func (c *Clients) Run(ctx context.Context) error {
	tick := time.NewTicker(max(time.Duration(c.limits.Idle)/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.sweep(time.Now())
		case <-ctx.Done():
			c.close()
			c.background.Wait()
			return nil
		}
	}
}

func (c *Clients) sweep(now time.Time) {
	idle := time.Duration(c.limits.Idle)
	var drop []*link
	c.mu.Lock()
	for _, e := range c.peers {
		for class, l := range e.links {
			patience := idle
			if Class(class) == Urgent {
				patience = max(idle, e.patience)
			}
			if l != nil && l.calls == 0 && now.Sub(l.last) >= patience {
				if Class(class) == Urgent {
					e.missed = now
				}
				e.links[class] = nil
				drop = append(drop, l)
			}
		}
		// A breaker that is not closed is kept for as long as its peer is called now and then.
		if e.users == 0 && len(e.open()) == 0 && now.Sub(e.last) >= idle+time.Duration(c.limits.Breaker.MaxPause) {
			c.remove(e)
		}
	}
	c.mu.Unlock()
	for _, l := range drop {
		l.drop(errGone)
	}
}

func (c *Clients) close() {
	var drop []*link
	c.mu.Lock()
	c.closed = true
	for _, e := range c.peers {
		drop = append(drop, e.open()...)
		c.remove(e)
	}
	c.mu.Unlock()
	for _, l := range drop {
		l.drop(errGone)
	}
}

// borrow returns what is kept of a peer; giveBack must follow.
func (c *Clients) borrow(peer trust.Key) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errGone
	}
	e := c.peers[peer]
	if e == nil {
		e = &entry{key: peer, name: c.name(peer)}
		var gauge prometheus.Gauge
		if len(c.peers) < maxNamed {
			gauge = c.m.breaker.WithLabelValues(e.name)
		}
		e.breaker = newBreaker(c.limits.Breaker, c.logger, c.m, gauge)
		c.peers[peer] = e
	}
	e.users++
	return e, nil
}

// link returns the entry's link of a class, made where there is none.
func (c *Clients) link(e *entry, class Class) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.peers[e.key] != e {
		return nil, errGone
	}
	if l := e.links[class]; l == nil || l.end() != nil {
		l, err := newLink(c, e, class)
		if err != nil {
			return nil, err
		}
		if e.links[class] = l; class == Urgent {
			e.wait(time.Duration(c.limits.Idle), time.Now())
		}
	}
	e.links[class].calls++
	return e.links[class], nil
}

func (c *Clients) giveBack(e *entry, l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	e.last = time.Now()
	if l != nil {
		l.calls--
		l.last = e.last
	}
}

func (c *Clients) metrics(full string, class Class) methodMetrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := methodClass{full, class}
	m, ok := c.methods[id]
	if !ok {
		service, name, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
		m = c.m.method(service, name, class)
		c.methods[id] = m
	}
	return m
}
