package witness

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// sim is a network of islands in one process and virtual time: links with a
// delay, loss and cuts, and a replica of statements that converges.
type sim struct {
	t       *testing.T
	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup
	members []Member
	islands []*island
	byKey   map[trust.Key]*island

	mu   sync.Mutex
	rng  *rand.Rand
	cut  func(a, b int) bool // is what a sends to b lost?
	loss float64
	gone int // how many of the last members have left
	log  []act
}

// act is one statement published or withdrawn.
type act struct {
	at       time.Time
	by       int
	withdraw bool
	s        Statement
}

type island struct {
	*Witness
	sim     *sim
	n       int
	down    bool
	kill    context.CancelFunc
	change  func(*Options)
	deaf    error // what Publish says
	docs    map[trust.Key]doc
	sent    map[int64]int // looks and asks per second
	looks   int
	asks    int
	ownHops map[trust.Key]bool // neighbours
}

type doc struct {
	s       *Statement // nil once withdrawn
	version int64
	by      trust.Key
}

type callerKey struct{}

// newSim makes n islands in the given regions, taken in turn.
func newSim(t *testing.T, n int, regions ...string) *sim {
	ctx, end := context.WithCancel(t.Context())
	s := &sim{t: t, ctx: ctx, end: end, byKey: map[trust.Key]*island{}, rng: rand.New(rand.NewPCG(1, 2)), cut: func(int, int) bool { return false }}
	for i := range n {
		m := Member{Key: testKey(i), Name: fmt.Sprintf("i%d", i)}
		if len(regions) > 0 {
			m.Region = regions[i*len(regions)/n]
		}
		s.members = append(s.members, m)
	}
	for i := range n {
		is := &island{sim: s, n: i, docs: map[trust.Key]doc{}, sent: map[int64]int{}, ownHops: map[trust.Key]bool{}}
		s.islands = append(s.islands, is)
		s.byKey[s.members[i].Key] = is
	}
	s.neighbours(8)
	return s
}

func (s *sim) neighbours(want int) {
	n := len(s.islands)
	for i, is := range s.islands {
		for d := 1; d <= want/2 && n > 1; d++ {
			j := (i + d*d*7 + d) % n // a fixed graph, well mixed
			if n <= want+1 {
				j = (i + d) % n
			}
			if j != i {
				is.ownHops[s.members[j].Key] = true
				s.islands[j].ownHops[s.members[i].Key] = true
			}
		}
	}
}

// start runs all islands, and lets them look around.
func (s *sim) start(change func(*Options)) {
	for _, is := range s.islands {
		is.boot(change)
	}
	s.running.Go(s.replicate)
	time.Sleep(3 * time.Minute)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, is := range s.islands {
		is.sent, is.looks, is.asks = map[int64]int{}, 0, 0
	}
}

func (s *sim) roster() []Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[:len(s.members)-s.gone]
}

func (is *island) boot(change func(*Options)) {
	s := is.sim
	o := Options{
		Config: Default(), Self: s.members[is.n].Key, Members: s.roster,
		Probe: is.probe, Ask: is.ask, Publish: is.publish, Withdraw: is.withdraw,
		Caller: func(ctx context.Context) (trust.Key, bool) { k, ok := ctx.Value(callerKey{}).(trust.Key); return k, ok },
	}
	if change != nil {
		change(&o)
	}
	w, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, kill := context.WithCancel(s.ctx)
	s.mu.Lock()
	is.Witness, is.kill, is.change = w, kill, change
	for _, d := range is.docs {
		if d.s != nil {
			w.Seen(*d.s)
		}
	}
	s.mu.Unlock()
	s.running.Go(func() {
		if err := w.Run(ctx); err != nil {
			s.t.Errorf("island %d: run: %v", is.n, err)
		}
	})
	synctest.Wait()
	for k := range is.ownHops {
		w.Connected(k)
	}
}

// die ends the island as a power cut does.
func (is *island) die() {
	is.sim.set(func() { is.down = true })
	is.kill()
}

// revive starts it anew, with what is on its disk.
func (is *island) revive() {
	is.sim.set(func() { is.down = false })
	is.boot(is.change)
}

// now is the island's Witness since it was last started.
func (is *island) now() *Witness {
	is.sim.mu.Lock()
	defer is.sim.mu.Unlock()
	return is.Witness
}

// stopAll ends every island, so that nothing is left in the bubble.
func (s *sim) stopAll() {
	s.end()
	s.running.Wait()
}

func (s *sim) passes(a, b int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.islands[a].down && !s.islands[b].down && !s.cut(a, b) && s.rng.Float64() >= s.loss
}

// travel is a round trip from is to another island, or a wait in vain.
func (is *island) travel(ctx context.Context, to *island) (time.Duration, error) {
	rtt := 20 * time.Millisecond
	if is.sim.members[is.n].Region != is.sim.members[to.n].Region {
		rtt = 150 * time.Millisecond
	}
	if !is.sim.passes(is.n, to.n) || !is.sim.passes(to.n, is.n) {
		<-ctx.Done()
		return 0, errors.New("dial: no answer")
	}
	select {
	case <-time.After(rtt):
		return rtt, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (is *island) count(what *int) {
	is.sim.mu.Lock()
	defer is.sim.mu.Unlock()
	*what++
	is.sent[time.Now().Unix()]++
}

func (is *island) probe(ctx context.Context, key trust.Key) (time.Duration, error) {
	is.count(&is.looks)
	to := is.sim.byKey[key]
	rtt, err := is.travel(ctx, to)
	if err == nil {
		to.now().Heard(is.sim.members[is.n].Key)
	}
	return rtt, err
}

func (is *island) ask(ctx context.Context, via, target trust.Key) (*meshpb.LookResponse, error) {
	is.count(&is.asks)
	to := is.sim.byKey[via]
	if _, err := is.travel(ctx, to); err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, callerKey{}, is.sim.members[is.n].Key)
	return to.now().Look(ctx, &meshpb.LookRequest{Key: target[:], TimeoutMs: 5000})
}

func (is *island) publish(_ context.Context, s Statement) error {
	is.sim.mu.Lock()
	err := is.deaf
	is.sim.mu.Unlock()
	if err != nil {
		return err
	}
	if text, err := EncodeStatement(s); err != nil {
		is.sim.t.Errorf("encode: %v", err)
	} else if _, err := DecodeStatement(text); err != nil {
		is.sim.t.Errorf("decode: %v\n%s", err, text)
	}
	is.put(act{by: is.n, s: s}, doc{s: &s})
	return nil
}

func (is *island) withdraw(_ context.Context, target trust.Key) error {
	is.put(act{by: is.n, withdraw: true, s: Statement{Target: target}}, doc{})
	return nil
}

func (is *island) put(a act, d doc) {
	is.sim.mu.Lock()
	a.at = time.Now()
	is.sim.log = append(is.sim.log, a)
	d.version, d.by = a.at.UnixNano(), is.sim.members[is.n].Key
	is.docs[a.s.Target] = d
	is.sim.mu.Unlock()
	time.Sleep(200 * time.Millisecond) // gossip
	for _, other := range is.sim.islands {
		if is.sim.passes(is.n, other.n) {
			other.merge(a.s.Target, d)
		}
	}
}

func (is *island) merge(target trust.Key, d doc) {
	is.sim.mu.Lock()
	old, ok := is.docs[target]
	newer := !ok || d.version > old.version
	if newer {
		is.docs[target] = d
	}
	is.sim.mu.Unlock()
	switch {
	case !newer:
	case d.s != nil:
		is.now().Seen(*d.s)
	default:
		is.now().Gone(target, d.by)
	}
}

// replicate is anti-entropy: every few seconds each island syncs with some other.
func (s *sim) replicate() {
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-s.ctx.Done():
			return
		}
		for i, is := range s.islands {
			s.mu.Lock()
			j := s.rng.IntN(len(s.islands))
			s.mu.Unlock()
			if i == j || !s.passes(i, j) || !s.passes(j, i) {
				continue
			}
			is.pull(s.islands[j])
			s.islands[j].pull(is)
		}
	}
}

func (is *island) pull(from *island) {
	is.sim.mu.Lock()
	docs := map[trust.Key]doc{}
	for k, d := range from.docs {
		docs[k] = d
	}
	is.sim.mu.Unlock()
	for k, d := range docs {
		is.merge(k, d)
	}
}

func (s *sim) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// acts are those about others than the writer that fit.
func (s *sim) acts(kind Kind, withdraw bool) []act {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []act
	for _, a := range s.log {
		if a.withdraw == withdraw && (withdraw || a.s.Kind == kind) {
			out = append(out, a)
		}
	}
	return out
}

// all are the acts so far.
func (s *sim) all() []act {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// simulate runs f in virtual time.
func simulate(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// testKey makes the same key from the same number.
func testKey(n int) trust.Key {
	seed := sha256.Sum256(fmt.Append(nil, "island", n))
	return trust.Key(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

func keys(members []Member) []trust.Key {
	var out []trust.Key
	for _, m := range members {
		out = append(out, m.Key)
	}
	return out
}
