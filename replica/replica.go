package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Rights says who may write what at this moment.
type Rights interface {
	// Permit returns nil where the author may have written d; otherwise why not. It
	// must follow from d and what Learn was given, and nothing else.
	Permit(d *replicapb.Document) error
	// Learn is given all documents of trust whenever one of them changed, before
	// any other document is judged. It must not call the replica.
	Learn(trustDocuments []*replicapb.Document)
}

// Peers are the islands in reach.
type Peers interface {
	Connected() []trust.Key
	Conn(peer trust.Key) (grpc.ClientConnInterface, error)
}

// Caller says who is at the other end of a served call: its key, and whether it is
// in quarantine. ok is false for a stranger.
type Caller func(ctx context.Context) (key trust.Key, quarantined, ok bool)

// Options is what a replica is made of. Config, Path, Network, Author and Rights
// must be given; without Peers the island stays alone; without Caller nobody is served.
type Options struct {
	Config  Config
	Path    string
	Network trust.NetworkID
	// Author returns the key that Set and Delete sign with: the node's own, now.
	Author func() trust.PrivateKey
	Rights Rights
	// Signer returns this island's signer key, if it has one: Set and Delete sign the
	// policy with it. nil for none.
	Signer func() (trust.PrivateKey, bool)
	// Validate checks a value that is set here; nil takes any. Documents of other
	// islands are not asked about: a newer version may know kinds this one does not.
	Validate func(kind string, value []byte) error
	// Secret are kinds whose values the HTTP API shows to nobody.
	Secret []string
	Peers  Peers
	Caller Caller
	// Quarantined says of a connected peer that it gets documents of trust only; nil for none.
	Quarantined func(peer trust.Key) bool
	// RootOf returns the Root that a peer told when it connected, nil for none: who told
	// the one that is held here need not be compared with. nil for nobody's.
	RootOf func(peer trust.Key) []byte
	// Announce spreads a hint to all islands; nil for nobody. Called by Run.
	Announce   func(ctx context.Context, hint []byte)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List

	wall func() time.Time
	bolt boltOptions
}

// Replica holds the documents. All methods are safe for concurrent use.
type Replica struct {
	o      Options
	logger *slog.Logger
	cfg    atomic.Pointer[Config]
	m      *metrics
	warn   warnings
	clock  clock
	store  *store
	index  *index

	// Who holds turn applies every request queued so far in one transaction.
	turn      sync.Mutex
	queueing  sync.Mutex
	queue     []*request
	unsettled bool // guarded by turn: rights changed, documents not asked about again

	refusals  *refusals
	waiting   *waiting
	watchers  *watchers
	rumours   *rumours
	sessions  *sessions
	connected chan arrival

	running, closed atomic.Bool
	wasFull         atomic.Bool  // something was refused for want of room
	lastSync        atomic.Int64 // Unix ms of the last comparison that went through with anybody
}

// New opens the file and judges what is in it; it starts nothing. Close it after
// Run returned and the last caller is gone.
func New(o Options) (*Replica, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Replica{o: o, logger: o.Logger, index: newIndex(), clock: clock{wall: o.wall},
		refusals: newRefusals(), waiting: newWaiting(), watchers: newWatchers(), rumours: newRumours(), sessions: newSessions(), connected: make(chan arrival, 1024)}
	r.cfg.Store(&o.Config)
	var err error
	if r.store, err = openStore(o.Path, o.Network.Bytes(), o.bolt); err != nil {
		return nil, err
	}
	r.m, r.warn = newMetrics(o.Registerer, r), declare(o.Health)
	if err := r.load(); err != nil {
		return nil, errors.Join(err, r.store.db.Close())
	}
	return r, nil
}

func (o *Options) check() error {
	if err := o.Config.Validate(); err != nil {
		return err
	}
	for name, missing := range map[string]bool{
		"Path": o.Path == "", "Author": o.Author == nil, "Rights": o.Rights == nil, "Network": o.Network.IsZero(),
	} {
		if missing {
			return fmt.Errorf("make a replica: BUG: Options.%s is not set", name)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	if o.wall == nil {
		o.wall = time.Now
	}
	if o.Validate == nil {
		o.Validate = func(string, []byte) error { return nil }
	}
	if o.Signer == nil {
		o.Signer = func() (trust.PrivateKey, bool) { return trust.PrivateKey{}, false }
	}
	if o.Caller == nil {
		o.Caller = func(context.Context) (trust.Key, bool, bool) { return trust.Key{}, false, false }
	}
	if o.Quarantined == nil {
		o.Quarantined = func(trust.Key) bool { return false }
	}
	if o.RootOf == nil {
		o.RootOf = func(trust.Key) []byte { return nil }
	}
	return nil
}

// load fills the index from the file and asks about every document again: rights
// may have been learned that were not applied before the process died.
func (r *Replica) load() error {
	var damaged []string
	err := r.store.load(func(d *replicapb.Document) {
		r.index.put(entryOf(d))
		r.clock.saw(d.GetTime())
	}, func(key string, err error) {
		damaged = append(damaged, key)
		r.logger.Warn("set aside a damaged document", "document", key, "err", err)
	})
	if err != nil {
		return err
	}
	clock, err := r.store.meta(metaClock)
	if err != nil {
		return err
	}
	lastSync, err := r.store.meta(metaSync)
	if err != nil {
		return err
	}
	r.clock.saw(clock)
	r.lastSync.Store(int64(lastSync))
	if len(damaged) > 0 {
		r.warn.damaged.Set("%d documents, the first %q", len(damaged), damaged[0])
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	r.learn()
	err = r.settle()
	if errors.Is(err, ErrStorage) {
		r.logger.Warn("void documents stay until the disk takes writes", "err", err)
		return nil
	}
	return err
}

// Close ends all watches and closes the file. Every later call returns ErrClosed.
func (r *Replica) Close() error {
	if !r.closed.CompareAndSwap(false, true) {
		return nil
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	r.watchers.close()
	return errors.Join(r.saveSync(), r.store.db.Close())
}

const (
	metaClock = "clock"
	metaSync  = "sync"
)

// Absent as expectation says that there must be no document yet.
const Absent = ^uint64(0)

// Now returns a document time greater than all returned or seen so far.
func (r *Replica) Now() uint64 { return r.clock.next() }

// Get returns a document, or ErrNotFound where there is none or it is deleted.
func (r *Replica) Get(key string) (*replicapb.Document, error) {
	if e := r.index.get(key); e == nil || e.deleted {
		return nil, notFound(key)
	}
	d, err := r.store.document(key)
	if err != nil {
		return nil, err
	}
	if d == nil || d.GetDeleted() {
		return nil, notFound(key)
	}
	return d, nil
}

// List returns the documents whose key begins with prefix, in order of the key,
// without deleted ones. What cannot be read is left out.
func (r *Replica) List(prefix string) []*replicapb.Document {
	docs, err := r.store.documents(r.index.keys(prefix, func(e *entry) bool { return !e.deleted }))
	if err != nil {
		r.logger.Warn("list documents", "prefix", prefix, "err", err)
	}
	return docs
}

// Keys lists the keys that begin with prefix, in order, without deleted documents.
func (r *Replica) Keys(prefix string) []string {
	return r.index.keys(prefix, func(e *entry) bool { return !e.deleted })
}

// Set writes a document in this island's name. expect is the time of the version
// that it is to replace, Absent where there must be none, 0 for whatever there is.
func (r *Replica) Set(ctx context.Context, key string, value []byte, expect uint64) (*replicapb.Document, error) {
	return r.write(ctx, &intent{key: key, value: value, expect: expect})
}

// Delete writes a tombstone in this island's name; expect is as for Set.
func (r *Replica) Delete(ctx context.Context, key string, expect uint64) (*replicapb.Document, error) {
	return r.write(ctx, &intent{key: key, expect: expect, deleted: true})
}

func (r *Replica) write(ctx context.Context, in *intent) (*replicapb.Document, error) {
	if err := r.checkIntent(in); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if trust.IsTrustKind(in.key) {
		return r.writeTrust(ctx, in)
	}
	req := &request{source: sourceLocal, items: []*item{{intent: in}}}
	r.submit(req)
	it := req.items[0]
	return it.doc, it.err
}

// writeTrust signs what a signer key may. Two such edits at one instant are
// ordered like any two: the later one wins.
func (r *Replica) writeTrust(ctx context.Context, in *intent) (*replicapb.Document, error) {
	var held uint64
	if d, err := r.Get(in.key); err == nil {
		held = d.GetTime()
	}
	if in.expect == Absent && held != 0 || in.expect != 0 && in.expect != Absent && in.expect != held {
		return nil, conflict(in.key, in.expect, held)
	}
	if in.deleted && held == 0 {
		return nil, notFound(in.key)
	}
	key, _ := r.o.Signer() // checkIntent has asked
	d := trust.NewDocument(r.o.Network, key, in.key, in.value, r.clock.next(), in.deleted)
	return d, r.Put(ctx, d)
}

// signs reports whether this island may sign a document of trust by itself.
func (r *Replica) signs(kind string) bool {
	_, ok := r.o.Signer()
	return ok && kind == trust.KindPolicy
}

func (r *Replica) checkIntent(in *intent) error {
	kind, _, err := trust.ParseDocumentKey(in.key)
	if err != nil {
		return invalid("key", err)
	}
	if trust.IsTrustKind(in.key) && !r.signs(kind) {
		return &Error{Code: "trust_kind", Field: "key", Is: ErrRefused,
			Message: fmt.Sprintf("document %q: an island's own key cannot sign documents of kind %s", in.key, kind),
			Remedy:  trustCommand(kind)}
	}
	if len(in.value) > trust.MaxDocumentValue {
		return invalid("value", fmt.Errorf("document %q: value of %d bytes, at most %d are taken", in.key, len(in.value), trust.MaxDocumentValue))
	}
	if in.deleted {
		return nil
	}
	if err := r.o.Validate(kind, in.value); err != nil {
		return invalid("value", fmt.Errorf("document %q: %w", in.key, err))
	}
	return nil
}

// trustCommand says what writes documents of a trust kind.
func trustCommand(kind string) string {
	switch kind {
	case trust.KindMember, trust.KindInvite:
		return "run atoll invite on an island of role admin, and atoll join TOKEN on the new one"
	case trust.KindRevoked:
		return "run atoll revoke NAME on an island of role admin"
	case trust.KindLeft:
		return "run atoll leave on the island that is to leave"
	case trust.KindSigner, trust.KindNetwork:
		return "run atoll rotate on an island that holds the root key"
	}
	return "run atoll edit " + kind + "/main on an island of role admin, which signs with its signer key"
}

// Put stores documents that carry a signature already, and announces those that
// are new. The error joins those of all documents refused; the others are stored.
func (r *Replica) Put(ctx context.Context, docs ...*replicapb.Document) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(r.offer(sourceLocal, docs, false).errors()...)
}

// offer verifies documents and has them judged and stored. Where the caller is
// about to bring further documents of trust, later puts off asking about all
// others again: it must call settleNow after the last one.
func (r *Replica) offer(source string, docs []*replicapb.Document, later bool) *request {
	req := &request{source: source, later: later}
	for _, d := range docs {
		it := &item{doc: d}
		if err := trust.VerifyDocument(r.o.Network, d); err != nil {
			it.err = invalid("document", err)
			it.forged = true
			r.m.refused.WithLabelValues("invalid").Inc()
		}
		req.items = append(req.items, it)
	}
	r.submit(req)
	return req
}
