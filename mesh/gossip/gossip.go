package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// ErrBusy is returned by Announce while too many announcements wait to be sent.
var ErrBusy = errors.New("too many announcements are waiting to be sent")

var errStranger = errors.New("no member")

// Options are what New needs.
type Options struct {
	Config Config
	// Host is the libp2p host; its key signs what is announced.
	Host host.Host
	// Network names the topic: the short form of the network's id.
	Network string
	// Member says whether a neighbour is a member in good standing now. Author says
	// whether what a key wrote is heard; others pass it on, so its holder may never
	// have been met here. nil takes Member. Both are asked for every message and must
	// be quick.
	Member, Author func(peer.ID) bool
	// Deliver hears the announcements of others, one after the other; from is who
	// wrote it, not who passed it on. It must not keep data's neighbours waiting:
	// while it is busy at most Config.Queue announcements wait.
	Deliver func(from peer.ID, data []byte)
	Logger  *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Gossip announces changes to all members.
type Gossip struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	queue   chan []byte

	mu         sync.Mutex
	authors    map[peer.ID]*rate.Limiter
	neighbours map[peer.ID]*rate.Limiter
}

// New checks the options; it starts nothing.
func New(o Options) (*Gossip, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("mesh.gossip: %w", err)
	}
	switch {
	case o.Host == nil, o.Member == nil, o.Deliver == nil:
		return nil, errors.New("gossip: Host, Member and Deliver must be given")
	case o.Network == "":
		return nil, errors.New("gossip: Network is empty; it names the topic")
	}
	if o.Author == nil {
		o.Author = o.Member
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Gossip{
		opts: o, log: o.Logger, metrics: newMetrics(o.Registerer),
		queue:      make(chan []byte, o.Config.Queue),
		authors:    map[peer.ID]*rate.Limiter{},
		neighbours: map[peer.ID]*rate.Limiter{},
	}, nil
}

// Topic returns the name that the network's announcements travel under.
func Topic(network string) string { return "/atoll/" + network + "/changes/1" }

// Carries reports whether streams of a protocol carry announcements. They are
// opened again elsewhere when their connection closes.
func Carries(p protocol.ID) bool {
	return strings.HasPrefix(string(p), "/meshsub/") || p == pubsub.FloodSubID
}

// Announce queues data, which must not be changed afterwards, to be sent to all
// members. It never waits: a full queue is ErrBusy, and what is announced before
// Run is sent when Run has begun. Sending keeps to Config.AuthorRate, since others
// would drop what is above it.
func (g *Gossip) Announce(_ context.Context, data []byte) error {
	if len(data) == 0 || len(data) > MaxBytes {
		g.metrics.drop("size", 1)
		return fmt.Errorf("announce %d bytes: must be 1 to %d; announce a digest instead", len(data), MaxBytes)
	}
	select {
	case g.queue <- data:
		return nil
	default:
		g.metrics.drop("send_queue", 1)
		return ErrBusy
	}
}

// Forget drops what is kept about a key that is no member any more.
func (g *Gossip) Forget(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.authors, p)
	delete(g.neighbours, p)
}

// Run joins the topic, sends and delivers until ctx ends.
func (g *Gossip) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	topic, sub, err := g.join(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	wg.Go(func() { g.send(ctx, topic) })
	self := g.opts.Host.ID()
	for {
		msg, err := sub.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read announcements: %w", err)
		}
		if from := msg.GetFrom(); from != self {
			g.metrics.delivered.Inc()
			g.opts.Deliver(from, msg.GetData())
		}
	}
}

func (g *Gossip) join(ctx context.Context) (*pubsub.Topic, *pubsub.Subscription, error) {
	name := Topic(g.opts.Network)
	ps, err := pubsub.NewGossipSub(ctx, g.opts.Host,
		pubsub.WithGossipSubParams(params()),
		// A change must not wait for a heartbeat nor for the mesh to form: the author
		// sends to every neighbour it has. Payloads are small.
		pubsub.WithFloodPublish(true),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithPeerFilter(func(p peer.ID, topic string) bool { return topic == name && g.opts.Member(p) }),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(name), 16)),
		pubsub.WithAppSpecificRpcInspector(g.inspect),
		pubsub.WithMaxMessageSize(maxRPC),
		pubsub.WithMaxControlMessageSize(maxRPC/2),
		pubsub.WithSeenMessagesTTL(SeenFor),
		pubsub.WithValidateQueueSize(g.opts.Config.Queue),
		pubsub.WithRawTracer(tracer{g.metrics}),
		pubsub.WithLogger(slog.New(slog.DiscardHandler)),
		pubsub.WithRPCLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("start gossip: %w", err)
	}
	if err := ps.RegisterTopicValidator(name, g.validate, pubsub.WithValidatorInline(true)); err != nil {
		return nil, nil, fmt.Errorf("start gossip: validator: %w", err)
	}
	topic, err := ps.Join(name)
	if err != nil {
		return nil, nil, fmt.Errorf("join topic %s: %w", name, err)
	}
	sub, err := topic.Subscribe(pubsub.WithBufferSize(g.opts.Config.Queue))
	if err != nil {
		return nil, nil, fmt.Errorf("subscribe to topic %s: %w", name, err)
	}
	return topic, sub, nil
}

func (g *Gossip) send(ctx context.Context, topic *pubsub.Topic) {
	limit := rate.NewLimiter(rate.Limit(g.opts.Config.AuthorRate), g.opts.Config.AuthorBurst)
	for {
		select {
		case <-ctx.Done():
			return
		case data := <-g.queue:
			if limit.Wait(ctx) != nil {
				return
			}
			if err := topic.Publish(ctx, data); err != nil {
				if ctx.Err() != nil {
					return
				}
				g.log.Warn("announcement was not sent", "bytes", len(data), "err", err)
				continue
			}
			g.metrics.announced.Inc()
		}
	}
}

// inspect looks at each frame before the router does: strangers are refused, and
// from a neighbour above its rate only the control part (a few bounded lists) is
// kept, so that a flood costs no signature checks.
func (g *Gossip) inspect(from peer.ID, rpc *pubsub.RPC) error {
	n := len(rpc.GetPublish())
	if !g.opts.Member(from) {
		g.metrics.drop("stranger", max(n, 1))
		return errStranger
	}
	if n > 0 && !g.allow(g.neighbours, from, g.opts.Config.NeighbourRate, g.opts.Config.NeighbourBurst, n) {
		g.metrics.drop("neighbour_rate", n)
		rpc.Publish = nil
	}
	return nil
}

// validate decides about one message whose signature holds.
func (g *Gossip) validate(_ context.Context, _ peer.ID, msg *pubsub.Message) pubsub.ValidationResult {
	author := msg.GetFrom()
	if author == g.opts.Host.ID() {
		return pubsub.ValidationAccept
	}
	switch {
	case !g.opts.Author(author):
		g.metrics.drop("stranger", 1)
		return pubsub.ValidationReject
	case len(msg.GetData()) == 0, len(msg.GetData()) > MaxBytes:
		g.metrics.drop("size", 1)
		return pubsub.ValidationReject
	case !g.allow(g.authors, author, g.opts.Config.AuthorRate, g.opts.Config.AuthorBurst, 1):
		g.metrics.drop("author_rate", 1)
		return pubsub.ValidationIgnore
	}
	return pubsub.ValidationAccept
}

func (g *Gossip) allow(limits map[peer.ID]*rate.Limiter, p peer.ID, r float64, burst, n int) bool {
	g.mu.Lock()
	l := limits[p]
	if l == nil {
		if len(limits) >= maxAuthors {
			clear(limits) // only a roster that large gets here; everybody starts anew
		}
		l = rate.NewLimiter(rate.Limit(r), burst)
		limits[p] = l
	}
	g.mu.Unlock()
	return l.AllowN(time.Now(), n)
}
