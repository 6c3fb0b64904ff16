package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Held returns the version of a document that is held, a tombstone too, or nil.
func (r *Replica) Held(key string) *replicapb.Document {
	if r.index.get(key) == nil {
		return nil
	}
	d, err := r.store.document(key)
	if err != nil {
		r.logger.Warn("read a document", "document", key, "err", err)
		return nil
	}
	return d
}

// TrustHeld lists the documents of trust that are held and whose key begins with
// prefix, tombstones too, in order of the key.
func (r *Replica) TrustHeld(prefix string) ([]*replicapb.Document, error) {
	return r.store.documents(r.index.keys(prefix, func(e *entry) bool { return e.trust }))
}

// Horizon is the document time before which deletions are forgotten.
func (r *Replica) Horizon() uint64 { return r.horizon() }

// What became of a document that was carried here.
const (
	Taken   = "taken"
	Known   = "known" // it, or a newer version, is held
	Refused = "refused"
)

// Imported says what became of one document that was carried here.
type Imported struct {
	Key     string
	Outcome string
	// Err says why it was refused.
	Err error
}

// Import puts documents of trust that were carried here by hand, together, as if
// other islands had sent them. Beyond what Put asks, a document that nobody here
// knows must not be older than the memory of deletions, unless it is a revocation:
// it may have been deleted so long ago that nobody remembers.
func (r *Replica) Import(ctx context.Context, docs []*replicapb.Document) ([]Imported, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]Imported, len(docs))
	var put []*replicapb.Document
	var places []int
	for i, d := range docs {
		out[i] = Imported{Key: d.GetKey(), Outcome: Refused, Err: r.carriable(d)}
		if out[i].Err == nil {
			put, places = append(put, d), append(places, i)
		}
	}
	for n, it := range r.offer(sourceLocal, put, false).items {
		o := &out[places[n]]
		switch {
		case it.stored && !r.holds(it.doc):
			o.Err = refused(o.Key, errors.New("is void by what came with it"))
		case it.stored:
			o.Outcome = Taken
		case it.err == nil, errors.Is(it.err, ErrOutdated):
			o.Outcome = Known
		default:
			o.Err = it.err
		}
		if errors.Is(it.err, ErrClosed) || errors.Is(it.err, ErrStorage) {
			return out, it.err
		}
	}
	return out, nil
}

// holds reports whether this very version is held.
func (r *Replica) holds(d *replicapb.Document) bool {
	e := r.index.get(d.GetKey())
	return e != nil && e.hash == hashOf(d)
}

func (r *Replica) carriable(d *replicapb.Document) error {
	kind, _, err := trust.ParseDocumentKey(d.GetKey())
	switch {
	case err != nil:
		return invalid("key", err)
	case !trust.IsTrustKind(d.GetKey()):
		return invalid("key", fmt.Errorf("document %q: is not of trust; others come by themselves once islands are connected", d.GetKey()))
	case kind != trust.KindRevoked && r.expired(d.GetTime()) && r.index.get(d.GetKey()) == nil:
		return refused(d.GetKey(), fmt.Errorf("is of %s and unknown here: deletions of that time are forgotten", TimeOf(d.GetTime()).UTC().Format("2006-01-02")))
	}
	return nil
}
