package mesh

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mss "github.com/multiformats/go-multistream"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/join"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// view is what one island holds, where islands hold different things.
type view struct {
	w     *world
	mu    sync.Mutex
	docs  []*replicapb.Document // all versions
	state atomic.Pointer[trust.State]
	taken atomic.Int64
	mesh  atomic.Pointer[Mesh]
}

// newView holds what the world does, and more.
func newView(w *world, more ...*replicapb.Document) *view {
	v := &view{w: w}
	w.mu.Lock()
	for _, d := range w.docs {
		v.docs = append(v.docs, d)
	}
	w.mu.Unlock()
	v.add(more...)
	return v
}

func (v *view) add(more ...*replicapb.Document) {
	v.mu.Lock()
	v.docs = append(v.docs, more...)
	state, _ := trust.Evaluate(v.w.network, v.docs)
	v.state.Store(state)
	v.mu.Unlock()
	if m := v.mesh.Load(); m != nil {
		m.TrustChanged()
	}
}

func (v *view) held(key string) (newest *replicapb.Document) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range v.docs {
		if d.GetKey() == key && trust.Newer(d, newest) {
			newest = d
		}
	}
	return newest
}

func (v *view) word() []*replicapb.Document {
	v.mu.Lock()
	keys := map[string]bool{}
	for _, d := range v.docs {
		keys[d.GetKey()] = true
	}
	v.mu.Unlock()
	var out []*replicapb.Document
	for key := range keys {
		out = append(out, v.held(key))
	}
	return v.state.Load().Word(out)
}

func (v *view) hear(_ context.Context, _ trust.Key, word []*replicapb.Document) (int, error) {
	fresh, err := v.state.Load().Hear(word, v.held, 0)
	if err != nil || len(fresh) == 0 {
		return 0, err
	}
	v.taken.Add(int64(len(fresh)))
	v.add(fresh...)
	return len(fresh), nil
}

// island runs one that holds this view.
func (v *view) island(name string) *island {
	i := v.w.prepare(name, func(o *Options) { o.Trust, o.Word, o.Hear = v.state.Load, v.word, v.hear })
	v.mesh.Store(i.Mesh)
	return v.w.run(i)
}

// document signs one of now, or a tombstone where there is no value.
func (w *world) document(author, key_ string, value []byte) *replicapb.Document {
	return trust.NewDocument(w.network, key(author), key_, value, trust.TimeOfDocument(time.Now()), value == nil)
}

func (w *world) revocation(author, of string) *replicapb.Document {
	return w.document(author, trust.RevokedDocument(key(of).Public()), must(w.t, nil, func() ([]byte, error) {
		return trust.EncodeRevoked(trust.RevokedValue{Name: of, Reason: "by " + author, At: time.Now()})
	}))
}

// coup is a network with two signers and two members, of which each holds what one
// side of a partition heard: thief, a signer, did something to "root-side" where
// "other" listens; the root ended the thief where "root-side" does.
func coup(t *testing.T, deed func(w *world) *replicapb.Document) (w *world, loyal, misled *view) {
	w = newWorld(t)
	w.put("root", trust.SignerDocument(key("thief").Public()), must(t, nil, func() ([]byte, error) {
		return trust.EncodeSigner(trust.SignerValue{Name: "thief", Since: w.start})
	}))
	w.admit("loyal", "misled", "bystander")
	loyal = newView(w, w.revocation("root", "thief"), w.document("root", trust.SignerDocument(key("thief").Public()), nil))
	return w, loyal, newView(w, deed(w))
}

func revokesLoyal(w *world) *replicapb.Document { return w.revocation("thief", "loyal") }

// TestWordIsBrought has an island that others keep out bring them the root's word,
// whatever the signer did to it.
func TestWordIsBrought(t *testing.T) {
	for name, deed := range map[string]func(w *world) *replicapb.Document{
		"revoked": revokesLoyal,
		"struck from the roster": func(w *world) *replicapb.Document {
			return w.document("thief", trust.MemberDocument(key("loyal").Public()), nil)
		},
		"said to have left": func(w *world) *replicapb.Document {
			return w.document("thief", trust.LeftDocument(key("loyal").Public()), must(w.t, nil, func() ([]byte, error) {
				return trust.EncodeLeft(trust.LeftValue{At: time.Now()})
			}))
		},
		"its key said to be replaced": func(w *world) *replicapb.Document {
			usurper := key("usurper").Public()
			return w.document("thief", trust.MemberDocument(usurper), must(w.t, nil, func() ([]byte, error) {
				return trust.EncodeMember(trust.MemberValue{Name: "loyal", Role: trust.RoleIsland, Joined: w.start,
					Keys: []trust.MemberKey{{Key: usurper}, {Key: key("loyal").Public(), Until: w.start}}})
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, loyal, misled := coup(t, deed)
			there := misled.island("misled")
			here := loyal.island("loyal")
			there.host.Peerstore().ClearAddrs(here.host.ID()) // it could not ask
			eventually(t, "the two are one network", func() bool { return here.inReach(there) && there.inReach(here) })
			if n := misled.taken.Load(); n != 2 {
				t.Errorf("%d documents were taken, want the root's two about the thief", n)
			}
			eventually(t, "the word is counted", func() bool { return there.metric(t, "atoll_mesh_words_total", "outcome", "taken") > 0 })
		})
	}
}

// TestWordIsAskedFor has an island that nobody can call ask those whom it keeps out
// by a signer's word alone.
func TestWordIsAskedFor(t *testing.T) {
	_, loyal, misled := coup(t, revokesLoyal)
	here := loyal.island("loyal")
	there := misled.w.prepare("misled", func(o *Options) { o.Trust, o.Word, o.Hear = misled.state.Load, misled.word, misled.hear })
	misled.mesh.Store(there.Mesh)
	there.book.Put(key("loyal").Public(), here.listening(), time.Now())
	misled.w.all = nil // nobody is told where the other is
	misled.w.run(there)
	eventually(t, "it has found whom to ask", func() bool {
		there.appeals.again(time.Now())
		there.appeal()
		return misled.taken.Load() == 2
	})
	eventually(t, "the two are one network", func() bool { return here.inReach(there) && there.inReach(here) })
}

// TestWordComesLate has the root speak when everybody keeps its island out already.
func TestWordComesLate(t *testing.T) {
	w := newWorld(t)
	w.put("root", trust.SignerDocument(key("thief").Public()), must(t, nil, func() ([]byte, error) {
		return trust.EncodeSigner(trust.SignerValue{Name: "thief", Since: w.start})
	}))
	w.admit("loyal", "misled")
	loyal, misled := newView(w), newView(w, revokesLoyal(w))
	there, here := misled.island("misled"), loyal.island("loyal")
	eventually(t, "it was told why", func() bool {
		return here.status(t, "misled").LastError == "it refuses this island: this island's key was revoked: by thief"
	})
	if here.inReach(there) || misled.taken.Load() > 0 {
		t.Fatal("let in without the root's word")
	}
	loyal.add(w.revocation("root", "thief"))
	eventually(t, "the two are one network", func() bool { return here.inReach(there) && there.inReach(here) })
}

// TestOutcastsSpeakNothingElse tries all protocols with a key that was revoked, and
// the word with those of strangers and guests.
func TestOutcastsSpeakNothingElse(t *testing.T) {
	w, _, misled := coup(t, revokesLoyal)
	w.invite("guest")
	misled.add(w.docs[trust.InviteDocument(key("guest").Public())])
	there := misled.island("misled")
	for _, transport := range []string{"tcp", "quic"} {
		h := foreign(t, key("loyal"))
		for _, id := range append(everything(there), join.Protocol) {
			if err := speak(h, there, there.addrsOver(transport), id); err == nil && id != join.WordProtocol {
				t.Errorf("over %s an outcast may speak %s", transport, id)
			}
		}
		if conns := there.swarm.ConnsToPeer(h.ID()); len(conns) > 0 {
			t.Errorf("over %s an outcast entered the swarm", transport)
		}
	}
	for _, name := range []string{"a stranger", "guest"} {
		if answer, err := join.Say(t.Context(), key(name), there.key(), there.listening(), &meshpb.Word{}); err == nil {
			t.Errorf("%s was heard: %v", name, answer)
		}
	}
}

// forgeries are words that nobody may believe; the first of each is genuine.
func forgeries(w *world, loyal *view) map[string]*meshpb.Word {
	genuine := loyal.word()
	word := func(more ...*replicapb.Document) *meshpb.Word {
		return &meshpb.Word{Network: w.network.Bytes(), Documents: append(slices.Clone(genuine), more...)}
	}
	forged := proto.CloneOf(w.revocation("thief", "misled"))
	forged.Author = key("root").Public().Bytes()
	elsewhere := trust.NewDocument(trust.NetworkOf(key("thief").Public()), key("root"), trust.RevokedDocument(key("misled").Public()), []byte("at: 2026-01-01T00:00:00Z\n"), 1<<40, false)
	return map[string]*meshpb.Word{
		"of another network": {Network: make([]byte, 32), Documents: genuine},
		"without a network":  {Documents: genuine},
		"by a mere signer":   word(w.revocation("signer", "misled")),
		"forged":             word(forged),
		"signed elsewhere":   word(elsewhere),
		"twice":              word(genuine...),
		"not only trust":     word(w.document("root", "owner/x", []byte("a: b\n"))),
	}
}

// TestHostileWords brings forged, foreign, oversized and malformed words, and floods.
func TestHostileWords(t *testing.T) {
	w, loyal, misled := coup(t, revokesLoyal)
	there := misled.island("misled")
	bystander := newView(w).island("bystander")
	w.connect(bystander, there)
	before := heap()
	pace := time.NewTicker(300 * time.Millisecond) // too many words at once are put off
	defer pace.Stop()
	for name, word := range forgeries(w, loyal) {
		eventually(t, "the word "+name+" is answered", func() bool {
			<-pace.C
			answer, err := join.Say(t.Context(), key("loyal"), there.key(), there.listening(), word)
			if err != nil || answer.GetMember() || len(answer.GetDocuments()) > 0 || answer.GetRefusal() == "" {
				t.Fatalf("%s: %v, %v", name, answer, err)
			}
			return len(answer.GetNetwork()) > 0
		})
	}
	garbage(t, there)
	flooded := make(chan struct{})
	go func() { defer close(flooded); flood(t, there, loyal) }()
	pings := 0
	soon := time.NewTicker(10 * time.Millisecond)
	defer soon.Stop()
	for over := false; !over; pings++ {
		select {
		case <-flooded:
			over = true
		case <-soon.C:
			if pongs, err := bystander.Ping(context.Background(), there.key(), 1); err != nil || pongs[0].Err != nil {
				t.Fatalf("ping %d during the flood: %v %v", pings, pongs, err)
			}
		}
	}
	if n := misled.taken.Load(); n > 0 {
		t.Errorf("%d documents were taken", n)
	}
	if grown := heap() - before; grown > 48<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	} else {
		t.Logf("%d pings; the heap grew by %d KiB; in %v, busy %v, displaced %v, malformed %v", pings, grown>>10,
			there.metric(t, "atoll_mesh_words_total", "direction", "in"), there.metric(t, "atoll_mesh_words_total", "outcome", "busy"),
			there.metric(t, "atoll_mesh_words_total", "outcome", "displaced"), there.metric(t, "atoll_mesh_words_total", "outcome", "malformed"))
	}
	// After all that the true word is heard.
	eventually(t, "the root's word is heard", func() bool {
		<-pace.C
		answer, err := join.Say(t.Context(), key("loyal"), there.key(), there.listening(), &meshpb.Word{Network: w.network.Bytes(), Documents: loyal.word()})
		return err == nil && answer.GetMember()
	})
	if n := misled.taken.Load(); n != 2 {
		t.Errorf("%d documents were taken", n)
	}
}

// garbage is what is no word: too long, cut short, nonsense, silence.
func garbage(t *testing.T, there *island) {
	noise := make([]byte, 4096)
	_, _ = rand.Read(noise) // crypto/rand never fails
	for name, text := range map[string][]byte{
		"announced too long": {0xff, 0xff, 0xff, 0x7f},
		"nonsense":           append([]byte{0x80, 0x20}, noise...),
		"cut short":          {0x20, 1, 2},
		"an endless length":  bytes.Repeat([]byte{0xff}, 64),
		"nothing":            {},
	} {
		h := foreign(t, key("loyal"))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		// Its host tries other protocols first, and is cut off for that; what comes
		// through is read as it is.
		_ = h.Connect(ctx, peer.AddrInfo{ID: there.host.ID(), Addrs: there.listening()})
		if s, err := h.Network().NewStream(network.WithNoDial(ctx, "test"), there.host.ID()); err == nil {
			_ = s.SetDeadline(time.Now().Add(patience))
			rw := mss.NewMSSelect(s, join.WordProtocol)
			_, _ = rw.Write(text)
			_ = s.CloseWrite()
			var answer meshpb.Word
			if err := frame.Read(rw, join.MaxWord, &answer); err == nil && answer.GetRefusal() == "" {
				t.Errorf("%s: answered with %v", name, &answer)
			}
		}
		cancel()
		_ = h.Close()
	}
}

// flood has four outcast keys, one of them with connections that say nothing, come
// all at once and over again.
func flood(t *testing.T, there *island, loyal *view) {
	var wg sync.WaitGroup
	big := &meshpb.Word{Network: loyal.w.network.Bytes(), Refusal: string(make([]byte, join.MaxWord-64))}
	for n := range 8 {
		wg.Go(func() {
			for range 8 {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				_, _ = join.Say(ctx, key("loyal"), there.key(), there.addrsOver([]string{"tcp", "quic"}[n%2]), big)
				cancel()
			}
		})
	}
	h := foreign(t, key("loyal"))
	for range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_ = h.Connect(ctx, peer.AddrInfo{ID: there.host.ID(), Addrs: there.listening()})
		cancel()
		_ = h.Network().ClosePeer(there.host.ID())
		reach.ClearBackoff(h, there.host.ID())
	}
	wg.Wait()
}
