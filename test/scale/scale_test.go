package scale

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/trust"
)

const (
	// patience is how long anything may take on a machine that does other things too.
	patience = 10 * time.Minute
	changes  = 10
	// idleBytes are allowed per connection and second, both directions together.
	idleBytes = 100
	// connectedSet is what 8 connected peers may cost in memory.
	connectedSet = 1.2e6
)

// size returns how many islands to run, and how long to watch them idle.
func size(t *testing.T) (n int, idle time.Duration) {
	if text := os.Getenv("ATOLL_SCALE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			t.Fatalf("ATOLL_SCALE is %q: must be a number of islands from 2", text)
		}
		return n, time.Minute
	}
	if os.Getenv("ATOLL_LONG") != "" {
		return 1000, time.Minute
	}
	return 100, 45 * time.Second // calls that began with the connections leave links for 10 to 20 s
}

// run is one test's archipelago.
type run struct {
	t     *testing.T
	w     *network
	isles []*isle
	heard chan heard
	idle  cost // of all islands per second
}

// TestArchipelago starts many islands at once that knew each other before, leaves
// them alone, changes documents, and revokes one.
func TestArchipelago(t *testing.T) {
	n, idle := size(t)
	alone := lonely(t, n)
	r := newRun(t, n)
	own := r.connect(n)
	r.t.Logf("%d goroutines per island", runtime.NumGoroutine()/n)
	r.holdsTogether("connected")
	r.leaveAlone(idle)
	r.remembers(own, alone)
	r.change()
	r.revoke(n / 2)
	r.holdsTogether("one revoked")
}

// TestAcquaintances has islands find their neighbours that know only three others
// each, like those that joined with a token.
func TestAcquaintances(t *testing.T) {
	r := newRun(t, 50)
	r.connect(3)
}

// lonely returns the memory of an island that knows the same roster and is
// connected with nobody.
func lonely(t *testing.T, roster int) (each int64) {
	n := min(20, roster)
	w, isles := newNetwork(t, roster), make([]*isle, n)
	must(t, forEach(n, 2, func(i int) (err error) { isles[i], err = w.open(i, nil); return err }))
	before, _ := resident(t)
	must(t, forEach(n, 4, func(i int) error { return isles[i].run(0) }))
	settle(t)
	after, _ := resident(t)
	_ = forEach(n, n, func(i int) error { isles[i].close(); return nil })
	return (after - before) / int64(n)
}

func newRun(t *testing.T, n int) *run {
	r := &run{t: t, heard: make(chan heard, n*changes)}
	r.w = newNetwork(t, n)
	r.openAll(n)
	return r
}

func (r *run) openAll(n int) {
	begun := time.Now()
	bare, _ := resident(r.t)
	r.isles = make([]*isle, n)
	must(r.t, forEach(n, runtime.NumCPU(), func(i int) (err error) {
		r.isles[i], err = r.w.open(i, r.heard)
		return err
	}))
	own, mapped := resident(r.t)
	r.t.Logf("%d islands with %d documents of trust: opened in %.1f s; %d KiB of memory each, and %d KiB of file mapped",
		n, len(r.w.docs), time.Since(begun).Seconds(), (own-bare)/int64(n)>>10, mapped/int64(n)>>10)
}

// connect runs all islands until each has its neighbours, and returns the memory
// in use before.
func (r *run) connect(acquaintances int) (own int64) {
	own, _ = resident(r.t)
	begun, before, n := time.Now(), spent(r.t), len(r.isles)
	must(r.t, forEach(n, 4, func(i int) error { return r.isles[i].run(acquaintances) }))
	all := r.isles
	r.t.Cleanup(func() {
		_ = forEach(n, 16, func(i int) error { all[i].close(); return nil })
	})
	listening := time.Since(begun)
	least := min((mesh.Default().Discovery.Neighbours+1)/2, n-1)
	eventually(r.t, "every island has its neighbours", func() bool {
		return !slices.ContainsFunc(r.isles, func(i *isle) bool { return len(i.Connected()) < least }) && len(r.parts()) == 1
	})
	took, used := time.Since(begun), spent(r.t).since(before)
	r.t.Logf("listening after %.1f s, all with %d neighbours or more after %.1f s, %.1f connections; %.1f CPU-ms and %d bytes per island",
		listening.Seconds(), least, took.Seconds(), 2*float64(established(r.t))/float64(n), ms(used.cpu, n), used.bytes/int64(n))
	return own
}

// leaveAlone measures islands that have nothing to say, once those who only asked
// the way are gone.
func (r *run) leaveAlone(d time.Duration) {
	settle(r.t)
	n, before := len(r.isles), spent(r.t)
	<-time.After(d)
	after := spent(r.t)
	used, seconds := after.since(before), after.at.Sub(before.at).Seconds()
	r.idle = cost{cpu: time.Duration(float64(used.cpu) / seconds), bytes: int64(float64(used.bytes) / seconds)}
	rate := float64(used.bytes) / seconds / float64(established(r.t))
	r.t.Logf("idle for %.0f s: %.1f connections, %d goroutines, %.0f bytes/s and %.2f CPU-ms/s per island; %.1f bytes/s per connection",
		seconds, 2*float64(established(r.t))/float64(n), runtime.NumGoroutine()/n,
		float64(used.bytes)/seconds/float64(n), ms(used.cpu, n)/seconds, rate)
	if rate > idleBytes {
		r.t.Errorf("%.1f bytes/s per idle connection, at most %d", rate, idleBytes)
	}
}

// remembers holds the memory of connected islands to its bound.
func (r *run) remembers(before, alone int64) {
	settle(r.t)
	n, conns := len(r.isles), established(r.t)
	own, _ := resident(r.t)
	each, ends := float64(own-before)/float64(n), float64(conns+established(r.t))/float64(n) // each has two ends
	set := (each - float64(alone)) * 8 / ends
	r.t.Logf("memory per island: %.2f MB of mesh when alone, %.2f MB with %.1f connections: %.2f MB for each 8; %.2f MB with its documents",
		float64(alone)/1e6, each/1e6, ends, set/1e6, float64(own)/float64(n)/1e6)
	live, holes, stacks := heap(n)
	r.t.Logf("of the process per island: %.2f MB that are alive, %.2f MB of holes between them, %.2f MB of stacks", live, holes, stacks)
	if set > connectedSet {
		r.t.Errorf("%.2f MB for each 8 connections, at most %.2f", set/1e6, connectedSet/1e6)
	}
}

// change sets documents on one island after the other and waits for each to be
// everywhere.
func (r *run) change() {
	n := len(r.isles)
	var all []time.Duration
	before := spent(r.t)
	for c := range changes {
		key, from := fmt.Sprintf("rules/scale-%d", c), r.isles[(c*7919)%n]
		begun := time.Now()
		_, err := from.docs.Set(r.t.Context(), key, fmt.Appendf(nil, "groups: [] # %0200d\n", c), 0)
		must(r.t, err)
		all = append(all, r.everywhere(key, begun)...)
	}
	after := spent(r.t)
	used, took := after.since(before), after.at.Sub(before.at)
	p50, most := spread(all)
	cpu := used.cpu - time.Duration(float64(r.idle.cpu)*took.Seconds())
	bytes := used.bytes - int64(float64(r.idle.bytes)*took.Seconds())
	r.t.Logf("a change: p50 %v, everywhere after %v at most; %d bytes and %.2f CPU-ms per island and change",
		p50, most, bytes/int64(n)/changes, ms(cpu, n)/changes)
}

// everywhere waits until all islands have a document.
func (r *run) everywhere(key string, begun time.Time) []time.Duration {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	at := map[int]time.Duration{}
	for len(at) < len(r.isles) {
		select {
		case h := <-r.heard:
			if _, again := at[h.isle]; h.key == key && !again {
				at[h.isle] = h.at.Sub(begun)
			}
		case <-deadline.C:
			r.t.Fatalf("%s is on %d of %d islands after %v", key, len(at), len(r.isles), patience)
		}
	}
	var all []time.Duration
	for _, d := range at {
		all = append(all, d)
	}
	return all
}

func (r *run) revoke(number int) {
	victim, signer := r.isles[number], r.isles[0]
	k := victim.key.Public()
	for _, i := range r.isles {
		i.victim.Store(&k)
	}
	value, err := trust.EncodeRevoked(trust.RevokedValue{Name: name(number), Reason: "stolen", At: time.Now().UTC().Truncate(time.Millisecond)})
	must(r.t, err)
	r.w.clock = trust.TimeOfDocument(time.Now())
	before, begun := spent(r.t), time.Now()
	must(r.t, signer.docs.Put(r.t.Context(), r.w.sign(trust.RevokedDocument(k), value)))
	eventually(r.t, "everybody knows of the revocation, and nobody is connected with the victim", func() bool {
		return len(victim.Connected()) == 0 && !slices.ContainsFunc(r.isles, func(i *isle) bool {
			return i != victim && (i.revoked.Load() == 0 || slices.Contains(i.Connected(), k))
		})
	})
	after := spent(r.t)
	var all []time.Duration
	for _, i := range r.isles {
		if i != victim {
			all = append(all, time.Unix(0, i.revoked.Load()).Sub(begun))
		}
	}
	used := after.since(before)
	p50, most := spread(all)
	r.t.Logf("a revocation: p50 %v, everywhere after %v; victim without connections after %v; %d bytes and %.2f CPU-ms per island",
		p50, most, after.at.Sub(begun).Round(time.Millisecond), used.bytes/int64(len(r.isles)), ms(used.cpu, len(r.isles)))
	r.isles = slices.Delete(slices.Clone(r.isles), number, number+1)
}

// parts returns how many islands each part of the graph has.
func (r *run) parts() (sizes []int) {
	byKey := map[trust.Key]*isle{}
	for _, i := range r.isles {
		byKey[i.key.Public()] = i
	}
	seen := map[*isle]bool{}
	for _, first := range r.isles {
		if seen[first] {
			continue
		}
		seen[first] = true
		queue := []*isle{first}
		for at := 0; at < len(queue); at++ {
			for _, k := range queue[at].Connected() {
				if next := byKey[k]; next != nil && !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
		sizes = append(sizes, len(queue))
	}
	return sizes
}

func (r *run) holdsTogether(when string) {
	if parts := r.parts(); len(parts) != 1 {
		r.t.Errorf("%s: the graph of %d islands is in parts of %v", when, len(r.isles), parts)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

func ms(d time.Duration, islands int) float64 { return d.Seconds() * 1e3 / float64(islands) }
