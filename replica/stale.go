package replica

import (
	"bytes"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// An island that last compared with another one longer than Config.Tombstones ago
// is stale: documents it holds may have been deleted meanwhile, and the tombstones
// forgotten. Until it has compared with an island that is not stale
//   - it forgets no tombstones,
//   - others take nothing over from it: its Welcome says so,
//   - in its first comparison it takes the other side's word: what is older than
//     Config.Tombstones, was not written by itself, and the other side has no
//     version of, it gives up (the version stays in the history). Of anything
//     younger the other side would still hold the tombstone.
//
// What it wrote itself it keeps and offers: writing again what others deleted can be
// undone, losing what only it knows cannot. So a document of its own that somebody
// else deleted during such a cut comes back, and has to be deleted once more.
// Where both sides are stale nobody has forgotten anything, and they merge.
// Revocations, and the network's own document, are never given up.

// stale reports whether this island was away for too long.
func (r *Replica) stale() bool {
	last := r.lastSync.Load()
	if last == 0 {
		return false
	}
	return r.o.wall().Sub(time.UnixMilli(last)) > time.Duration(r.cfg.Load().Tombstones)
}

func (r *Replica) warnStale() {
	if r.stale() {
		r.warn.stale.Set("no other island was reached since %s", time.UnixMilli(r.lastSync.Load()).UTC().Format(time.RFC3339))
	} else {
		r.warn.stale.Clear()
	}
}

// giveUp drops what the other side has no version of; it returns what remains to
// be offered to it.
func (r *Replica) giveUp(missing []*entry) (offer []*entry, err error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	if r.closed.Load() {
		return nil, ErrClosed
	}
	own := r.o.Author().Public().Bytes()
	st := r.newStage()
	learn := false
	for _, e := range missing {
		kind, _, _ := trust.ParseDocumentKey(e.key)
		if !r.expired(e.time) || kind == trust.KindRevoked || kind == trust.KindNetwork {
			offer = append(offer, e)
			continue
		}
		d, err := r.store.document(e.key)
		if err != nil {
			return nil, err
		}
		switch {
		case d == nil || hashOf(d) != e.hash: // changed meanwhile
		case bytes.Equal(d.GetAuthor(), own):
			offer = append(offer, e)
		default:
			st.drop(e.key, "unknown to other islands after this one was cut off for too long", false)
			learn = learn || e.trust
		}
	}
	if err := r.commit(st); err != nil {
		return nil, err
	}
	r.m.dropped.WithLabelValues("absent").Add(float64(len(st.order)))
	if len(st.order) > 0 {
		r.logger.Warn("gave up documents that other islands do not know any more", "documents", len(st.order), "first", st.order[0])
	}
	if learn {
		r.learn()
		return offer, r.settle()
	}
	return offer, nil
}
