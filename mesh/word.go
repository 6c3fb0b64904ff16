package mesh

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/join"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// A signer may revoke the very island by which the root's word against that signer
// would come. Who has heard the signer first keeps the others out, each half is whole
// in its own eyes, and no call passes between them. So what the roots said travels
// past the roster: an island that others keep out brings it to them, and one that
// keeps others out by a signer's word alone asks them for it. It is believed for the
// roots' signatures, whoever brings it.

// How often one island is asked: at once, then doubled from the first figure on, to
// the second where it is a member here and to the third where it is kept out.
const (
	firstAppeal   = 5 * time.Second
	lastAppeal    = 30 * time.Minute
	lastOutcast   = 6 * time.Hour
	appealsAtOnce = 8
	// doubt is for how long after a signer has put somebody out he is asked.
	doubt = 30 * 24 * time.Hour
	// maxWords bounds what others say for people.
	maxWords = 500
)

// appeals are the islands to which this one brings the word of the roots. There are
// no more of them than members and outcasts with an address.
type appeals struct {
	mu      sync.Mutex
	of      map[trust.Key]*appeal
	running int
}

type appeal struct {
	tries   int
	next    time.Time
	running bool
}

// note has an island asked, at once if it is new.
func (a *appeals) note(k trust.Key, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of[k] == nil {
		a.of[k] = &appeal{next: at}
	}
}

// due marks and returns whom to ask now.
func (a *appeals) due(now time.Time) (out []trust.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, one := range a.of {
		if !one.running && !now.Before(one.next) && a.running < appealsAtOnce {
			one.running = true
			a.running++
			out = append(out, k)
		}
	}
	return out
}

// done says when to ask again.
func (a *appeals) done(k trust.Key, most time.Duration, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	if one := a.of[k]; one != nil {
		wait := min(firstAppeal<<min(one.tries, 16), most)
		one.tries, one.running, one.next = one.tries+1, false, now.Add(wait/2+rand.N(wait))
	}
}

// keep forgets all for whom ok is false.
func (a *appeals) keep(ok func(trust.Key) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.of, func(k trust.Key, _ *appeal) bool { return !ok(k) })
}

// drop forgets one that lets this island in.
func (a *appeals) drop(k trust.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, k)
}

// again has all asked at once: there is news.
func (a *appeals) again(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.of {
		one.tries, one.next = 0, now
	}
}

// keptOut notes that a member does not let this island in.
func (m *Mesh) keptOut(k trust.Key) {
	if m.o.Word == nil {
		return
	}
	m.appeals.note(k, time.Now())
	m.appeal()
}

// appeal brings the word to who is due.
func (m *Mesh) appeal() {
	for _, k := range m.appeals.due(time.Now()) {
		m.tasks.do(func(ctx context.Context) {
			most := lastOutcast
			if m.gate.State().Standing(k) == trust.MemberStanding {
				most = lastAppeal
			}
			m.plead(ctx, k)
			m.appeals.done(k, most, time.Now())
			m.appeal() // others may have waited for their turn
		})
	}
}

// plead brings the word of the roots to one island and hears its own. Who is kept out
// here is asked for its word and told nothing.
func (m *Mesh) plead(ctx context.Context, k trust.Key) {
	p := ident.Peer(k)
	if m.goodStanding(p) && m.best(p, false) != nil {
		return
	}
	word := &meshpb.Word{Network: m.o.Network.Bytes()}
	if m.gate.Member(p) {
		word.Documents = m.o.Word()
	}
	answer, err := join.Say(ctx, m.o.Identity, k, m.directAddresses(p, k), word)
	outcome := "known"
	switch {
	case err != nil:
		outcome = "failed"
		m.log.Debug("the word of the roots was not heard", "peer", k, "err", err)
	case len(answer.GetNetwork()) == 0:
		outcome = "busy"
	case answer.GetTaken() > 0:
		outcome = "taken"
		m.log.Info("an island heard the word of the roots", "peer", k, "documents", answer.GetTaken(), "lets_in", answer.GetMember())
	}
	m.m.words.WithLabelValues("out", outcome).Inc()
	if err != nil || outcome == "busy" {
		return
	}
	if docs := answer.GetDocuments(); len(docs) > 0 {
		if _, err := m.o.Hear(ctx, k, docs); err != nil {
			m.log.Warn("the word that an island answered with is none of the roots'", "peer", k, "err", err)
		}
	}
	switch member := m.gate.Member(p); {
	case answer.GetMember() && member:
		m.discover.Reachable(p)
	case member:
		reason := "it refuses this island: " + clip(answer.GetRefusal())
		m.fault(k, reason)
		m.refusedBy(k, reason)
	}
}

func clip(s string) string { return s[:min(len(s), maxWords)] }

// directAddresses are where a peer was last reached, and what is known of it now.
func (m *Mesh) directAddresses(p peer.ID, k trust.Key) []ma.Multiaddr {
	out := m.host.Peerstore().Addrs(p)
	if e, ok := m.book.Get(k); ok {
		out = append(slices.Clone(e.Addresses), out...)
	}
	return slices.DeleteFunc(ma.Unique(out), ident.Relayed)
}

// heedWord judges a word that somebody brought, and answers. Who is kept out, now
// that it was heard, learns that and why, and nothing else.
func (m *Mesh) heedWord(ctx context.Context, from trust.Key, w *meshpb.Word) *meshpb.Word {
	res := &meshpb.Word{Network: m.o.Network.Bytes()}
	outcome := "known"
	switch {
	case !bytes.Equal(w.GetNetwork(), res.GetNetwork()):
		outcome, res.Refusal = "foreign", "the word is of another network; this one is "+m.o.Network.Short()
	case len(w.GetDocuments()) > 0:
		taken, err := m.o.Hear(ctx, from, w.GetDocuments())
		if err != nil {
			outcome, res.Refusal = "refused", clip(err.Error())
			m.log.Warn("a word that a peer brought is none of the roots'", "peer", from, "err", err)
		} else if taken > 0 {
			outcome, res.Taken = "taken", uint32(taken)
		}
	}
	m.m.words.WithLabelValues("in", outcome).Inc()
	state := m.gate.State()
	if res.Member = state.Standing(from) == trust.MemberStanding; !res.Member {
		res.Refusal = clip(whyNot(state, from))
		return res
	}
	if res.Refusal == "" && m.o.Word != nil {
		res.Documents = m.o.Word()
	}
	return res
}

// whyNot says why a key is no member's.
func whyNot(state *trust.State, k trust.Key) string {
	d, ok := state.Revocation(k)
	switch {
	case !ok:
		return noMember
	case d.Reason == "":
		return "this island's key was revoked"
	}
	return "this island's key was revoked: " + d.Reason
}

// trustDoubted looks at who is to be asked under a new roster.
func (m *Mesh) trustDoubted(before, now *trust.State) {
	if m.o.Word == nil {
		return
	}
	m.appeals.keep(func(k trust.Key) bool { return now.Standing(k) == trust.MemberStanding || now.Outcast(k) })
	at := time.Now()
	for _, k := range now.Doubtful(at.Add(-doubt)) {
		if _, ok := m.book.Get(k); ok && k != m.o.Identity.Public() {
			m.appeals.note(k, at.Add(rand.N(firstAppeal)))
		}
	}
	if before != nil && !sameWord(before, now) {
		m.appeals.again(at)
		m.appeal()
	}
}

// sameWord reports whether the roots say the same of who signs.
func sameWord(a, b *trust.State) bool {
	return slices.Equal(a.Roots(), b.Roots()) &&
		slices.EqualFunc(a.Signers(), b.Signers(), func(x, y trust.Signer) bool { return x.Key == y.Key })
}

// checkWord is for Options: both or none.
func (o *Options) checkWord() error {
	if (o.Word == nil) != (o.Hear == nil) {
		return errors.New("mesh: BUG: Word and Hear must be given both or neither")
	}
	if o.Hear == nil {
		o.Hear = func(context.Context, trust.Key, []*replicapb.Document) (int, error) {
			return 0, errors.New("this island hears no word")
		}
	}
	return nil
}
