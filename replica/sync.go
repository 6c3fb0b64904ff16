package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// sessionMost bounds a whole comparison.
const sessionMost = 10 * time.Minute

// SyncResult says what a comparison found and moved.
type SyncResult struct {
	Peer trust.Key `json:"-"`
	// Equal: both sides held the same at the start.
	Equal bool `json:"equal"`
	// Stale: the other side was away for too long, nothing was taken over.
	Stale bool `json:"stale,omitempty"`
	// Pulled and Pushed count documents that were new here and there, Refused those
	// that either side did not take over.
	Pulled  int `json:"pulled"`
	Pushed  int `json:"pushed"`
	Refused int `json:"refused"`
	// Rounds counts waits for an answer to a question that hung on an answer before.
	Rounds int `json:"rounds"`
	// BytesIn and BytesOut count encoded messages without the transport's frames.
	BytesIn  int64         `json:"bytes_in"`
	BytesOut int64         `json:"bytes_out"`
	Duration time.Duration `json:"duration_ns"`
}

// Sync compares with one island and exchanges what differs, in both directions.
// What was exchanged before it broke off is kept. It returns ErrBusy while another
// comparison with the same island is under way, and waits while too many others are.
func (r *Replica) Sync(ctx context.Context, peer trust.Key) (SyncResult, error) {
	res, err := r.session(ctx, peer, func(c *comparing) { c.start() })
	outcome := "changed"
	switch {
	case errors.Is(err, ErrBusy):
		outcome = "busy"
	case err != nil:
		outcome = "failed"
	case res.Stale:
		outcome = "stale"
	case res.Equal:
		outcome = "equal"
	}
	r.m.syncs.WithLabelValues(outcome).Inc()
	r.sessions.note(peer, res, err, r.o.wall())
	if err == nil && !res.Stale && !r.o.Quarantined(peer) {
		r.comparedWith(peer)
	}
	return res, err
}

func (r *Replica) comparedWith(peer trust.Key) {
	now := r.o.wall()
	r.lastSync.Store(max(r.lastSync.Load(), now.UnixMilli()))
	r.sessions.agreed(peer, now)
	r.warnStale()
}

// session runs one stream with a peer; start queues the first requests.
func (r *Replica) session(ctx context.Context, peer trust.Key, start func(*comparing)) (res SyncResult, err error) {
	res.Peer = peer
	if r.o.Peers == nil {
		return res, fmt.Errorf("compare with %s: this island has no peers", peer)
	}
	if r.closed.Load() {
		return res, ErrClosed
	}
	if err := r.sessions.begin(ctx, peer); err != nil {
		return res, err
	}
	defer r.sessions.end(peer)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, sessionMost)
	defer cancel()
	conn, err := r.o.Peers.Conn(peer)
	if err != nil {
		return res, fmt.Errorf("compare with %s: %w", peer, err)
	}
	stream, err := replicapb.NewReplicaClient(conn).Sync(ctx)
	if err != nil {
		return res, fmt.Errorf("compare with %s: %w", peer, busy(err))
	}
	c := &comparing{r: r, peer: peer, stream: stream, res: &res, cancel: cancel, outbox: newOutbox(), stale: r.stale(),
		trustOnly: r.o.Quarantined(peer)}
	err = c.run(ctx, start)
	res.Duration = time.Since(begun)
	if err != nil {
		return res, fmt.Errorf("compare with %s: %w", peer, busy(err))
	}
	return res, nil
}

func busy(err error) error {
	if status.Code(err) == codes.ResourceExhausted {
		return errors.Join(ErrBusy, err)
	}
	return err
}

// comparing is the asking side of one session. One goroutine (run) receives and
// decides, another sends: neither side can block the other, however much each
// has to send.
type comparing struct {
	r         *Replica
	peer      trust.Key
	stream    grpc.BidiStreamingClient[replicapb.SyncRequest, replicapb.SyncResponse]
	res       *SyncResult
	cancel    context.CancelFunc
	outbox    *outbox
	stale     bool
	trustOnly bool
	packing   codec
	unpacking codec

	awaited  []awaited // answers to come, in order
	parts    [2]part
	trusted  bool // everything of the trust tree is settled: others may follow
	prefixes int  // asked for so far
	heads    int  // received so far
}

type awaited struct {
	kind    int
	section int
}

const (
	awaitWelcome = iota
	awaitSubtrees
	awaitDocuments
	awaitStored
)

// part is the work in one tree.
type part struct {
	found   findings
	partial map[string][]head // heads of a prefix that come in several messages
	open    int               // answers awaited
	moved   bool              // documents were asked for and offered
}

func (c *comparing) start() {
	c.ask(awaitWelcome, trustTree, &replicapb.SyncRequest{Request: &replicapb.SyncRequest_Open{Open: &replicapb.Open{
		Trust: c.r.index.summary(trustTree), Other: c.r.index.summary(otherTree), Stale: c.stale,
		// Else what is not taken over would come again each time.
		Fill: c.r.refusals.len() == 0 && c.r.waiting.len() == 0}}})
}

func (c *comparing) ask(kind, section int, q *replicapb.SyncRequest) {
	c.awaited = append(c.awaited, awaited{kind, section})
	c.parts[section].open++
	c.outbox.put(job{request: q})
}

func (c *comparing) run(ctx context.Context, start func(*comparing)) (err error) {
	sent := make(chan error, 1)
	start(c)
	go func() { sent <- c.send(ctx) }()
	defer func() {
		c.cancel()
		c.outbox.close()
		unsent := <-sent
		c.packing.close()
		c.unpacking.close()
		err = errors.Join(err, unsent, c.r.settleNow())
	}()
	watchdog := time.AfterFunc(sessionIdle, c.cancel)
	defer watchdog.Stop()
	for len(c.awaited) > 0 {
		heard := time.Now()
		m, err := c.stream.Recv()
		if err != nil && time.Since(heard) >= sessionIdle {
			return fmt.Errorf("nothing was heard for %s", sessionIdle)
		}
		if err != nil {
			return lost(err)
		}
		watchdog.Reset(sessionIdle)
		c.count("in", &c.res.BytesIn, m)
		if err := c.handle(m); err != nil {
			return err
		}
	}
	c.outbox.close()
	if c.res.Equal {
		return nil // the other side knows by its own welcome
	}
	if _, err := c.stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("wait for the end: %w", lost(err))
	}
	return nil
}

func lost(err error) error {
	switch {
	case err == nil:
		return errors.New("a message came that was not asked for")
	case errors.Is(err, io.EOF):
		return errors.New("the other side ended the comparison before it was done")
	}
	return err
}

func (c *comparing) count(direction string, sum *int64, m proto.Message) {
	n := proto.Size(m)
	*sum += int64(n)
	c.r.m.syncBytes.WithLabelValues(direction).Add(float64(n))
}

// send drains the outbox; documents are read when their turn comes.
func (c *comparing) send(ctx context.Context) error {
	for {
		j, ok := c.outbox.next(ctx)
		if !ok {
			return c.stream.CloseSend()
		}
		q := j.request
		if q == nil {
			docs, err := c.r.read(j.push)
			if err == nil {
				var b *replicapb.Batch
				b, err = c.packing.pack(docs)
				q = &replicapb.SyncRequest{Request: &replicapb.SyncRequest_Push{Push: b}}
			}
			if err != nil {
				c.cancel()
				return err
			}
			c.r.m.syncDocs.WithLabelValues("out").Add(float64(len(docs)))
		}
		c.count("out", &c.res.BytesOut, q)
		if err := c.stream.Send(q); errors.Is(err, io.EOF) {
			return nil // the stream broke: receiving says why
		} else if err != nil {
			return err
		}
	}
}
