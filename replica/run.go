package replica

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
)

const (
	wishDelay   = 50 * time.Millisecond // hints that come close together are fetched together
	yieldDelay  = 3 * time.Second       // on a new connection the lesser key starts
	lookEvery   = time.Minute           // at documents of the future, at the clock
	wishTries   = 5
	maxWishes   = 4096
	otherPeers  = 3 // tried in turn where one is busy or fails
	compareGap  = 2 * time.Second
	clockTooFar = 15 * time.Minute
)

// Run compares with other islands, announces what is new, follows hints, and
// forgets what is old, until ctx ends. It can be called once.
func (r *Replica) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("run the replica: it was started before")
	}
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){r.tellLoop, r.lookLoop} {
		wg.Go(func() { loop(ctx) })
	}
	if r.o.Peers != nil {
		f := &follower{r: r, wishes: map[uint64]wish{}}
		for _, loop := range []func(context.Context){r.compareLoop, r.connectLoop, f.loop} {
			wg.Go(func() { loop(ctx) })
		}
	}
	wg.Wait()
	return nil
}

// wait returns false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *Replica) compareLoop(ctx context.Context) {
	for {
		every := time.Duration(r.cfg.Load().Interval)
		if !wait(ctx, every*3/4+rand.N(every/2)) {
			return
		}
		r.compareWithAnybody(ctx, nil)
	}
}

// compareWithAnybody compares with first, or else with random islands, until one
// comparison goes through.
func (r *Replica) compareWithAnybody(ctx context.Context, first []trust.Key) {
	peers := r.o.Peers.Connected()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	peers = slices.DeleteFunc(peers, func(k trust.Key) bool { return slices.Contains(first, k) })
	peers = append(slices.Clone(first), peers...)
	for _, peer := range peers[:min(len(peers), otherPeers)] {
		res, err := r.Sync(ctx, peer)
		if err == nil && !res.Stale || ctx.Err() != nil {
			return
		}
		if err != nil {
			r.logger.Debug("comparison failed", "peer", peer, "err", err)
		}
	}
}

// Connected says that a connection to an island came up: it is compared with at
// once, unless it has told that it holds the same. It never blocks.
func (r *Replica) Connected(peer trust.Key) {
	select {
	case r.connected <- arrival{peer, r.o.wall()}:
	default: // the next round of comparisons makes up for it
	}
}

type arrival struct {
	peer trust.Key
	at   time.Time
}

// connectLoop lets the lesser key start, so that two islands that meet compare
// once; the other one starts where that did not happen.
func (r *Replica) connectLoop(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-r.connected:
			if !r.holdsSame(a.peer) {
				wg.Go(func() { r.meet(ctx, a) })
			}
		}
	}
}

func (r *Replica) meet(ctx context.Context, a arrival) {
	if r.o.Author().Public().Compare(a.peer) > 0 {
		if !wait(ctx, yieldDelay) || !r.sessions.agreedAt(a.peer).Before(a.at.Add(-yieldDelay)) {
			return
		}
	}
	if _, err := r.Sync(ctx, a.peer); err != nil && ctx.Err() == nil {
		r.logger.Debug("comparison on a new connection failed", "peer", a.peer, "err", err)
	}
}

// holdsSame reports whether a peer that just connected told the root that is held
// here. An island that was away for too long compares all the same: only that
// tells whether the other was, too.
func (r *Replica) holdsSame(peer trust.Key) bool {
	if r.stale() || !bytes.Equal(r.o.RootOf(peer), r.Root()) {
		return false
	}
	r.m.syncs.WithLabelValues("spared").Inc()
	r.sessions.agreed(peer, r.o.wall())
	return true
}

func (r *Replica) tellLoop(ctx context.Context) {
	for {
		h, next := r.rumours.hint(time.Now())
		if h != nil && r.o.Announce != nil {
			raw, err := proto.Marshal(h)
			if err == nil {
				r.o.Announce(ctx, raw)
				r.m.hints.WithLabelValues("out").Inc()
			}
			continue
		}
		if next == 0 {
			next = time.Hour
		}
		t := time.NewTimer(next)
		select {
		case <-t.C:
		case <-r.rumours.wake:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// lookLoop does what time alone brings about.
func (r *Replica) lookLoop(ctx context.Context) {
	var collected time.Time
	for {
		r.warnStale()
		if docs := r.waiting.due(r.clock.tooFar); len(docs) > 0 {
			r.offer(sourceSync, docs, false)
		}
		if ahead := r.clock.ahead(); ahead > clockTooFar {
			r.warn.clock.Set("the newest document is %s ahead of this island's clock", ahead.Round(time.Second))
		} else if r.waiting.len() == 0 {
			r.warn.clock.Clear()
		}
		r.clearFull()
		if now := r.o.wall().Truncate(collectEvery); now.After(collected) {
			if err := errors.Join(r.collect(), r.saveSync()); err != nil {
				r.logger.Warn("forget old tombstones", "err", err)
			} else {
				collected = now
			}
		}
		if !wait(ctx, lookEvery) {
			return
		}
	}
}

// clearFull takes the warning back once a twentieth of each limit is free, and lets
// what was refused come again.
func (r *Replica) clearFull() {
	c := r.cfg.Load()
	for s := range 2 {
		t := r.index.section(s)
		if t.documents > c.MaxDocuments*19/20 || t.bytes > int64(c.MaxBytes)*19/20 {
			return
		}
	}
	if r.wasFull.Swap(false) {
		r.refusals.clear()
		r.warn.full.Clear()
	}
}

// follower turns hints into fetches. Its state belongs to its loop.
type follower struct {
	r        *Replica
	wishes   map[uint64]wish
	compare  []trust.Key // who hinted at more than was named
	earliest time.Time   // no comparison because of a hint before
}

func (f *follower) loop(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-f.r.rumours.in:
			f.hear(h)
		case <-t.C:
			f.follow(ctx)
		}
		t.Reset(f.next())
	}
}

func (f *follower) hear(h rumour) {
	want, compare := f.r.hear(h.from, h.raw)
	for _, w := range want {
		if _, dup := f.wishes[w.hash]; dup {
			continue
		}
		if len(f.wishes) >= maxWishes {
			compare = true
			break
		}
		w.due = time.Now().Add(wishDelay)
		f.wishes[w.hash] = w
	}
	if compare && len(f.compare) < otherPeers && !slices.Contains(f.compare, h.from) {
		f.compare = append(f.compare, h.from)
		if soon := time.Now().Add(wishDelay); soon.After(f.earliest) {
			f.earliest = soon
		}
	}
}

func (f *follower) next() time.Duration {
	next := time.Now().Add(time.Hour)
	if len(f.compare) > 0 {
		next = f.earliest
	}
	for _, w := range f.wishes {
		if w.due.Before(next) {
			next = w.due
		}
	}
	return max(time.Until(next), 0)
}

func (f *follower) follow(ctx context.Context) {
	now := time.Now()
	by := map[trust.Key][]wish{}
	for hash, w := range f.wishes {
		switch {
		case f.r.granted(w):
			delete(f.wishes, hash)
		case w.tries >= wishTries:
			delete(f.wishes, hash)
			f.r.m.hintDrops.WithLabelValues("given_up").Inc()
		case !w.due.After(now):
			w.tries++
			w.due = now.Add(100*time.Millisecond<<w.tries + rand.N(200*time.Millisecond))
			f.wishes[hash] = w
			by[w.from] = append(by[w.from], w)
		}
	}
	for from, wishes := range by {
		f.fetch(ctx, from, wishes)
	}
	if len(f.compare) > 0 && !now.Before(f.earliest) {
		first := slices.DeleteFunc(f.compare, func(k trust.Key) bool { return !slices.Contains(f.r.o.Peers.Connected(), k) })
		f.compare, f.earliest = nil, time.Now().Add(compareGap)
		f.r.compareWithAnybody(ctx, first)
	}
}

// fetch asks the announcer first; where it is out of reach, or has too many
// asking, somebody else may have the documents by now.
func (f *follower) fetch(ctx context.Context, from trust.Key, wishes []wish) {
	if wishes[0].tries%2 == 1 && slices.Contains(f.r.o.Peers.Connected(), from) {
		heads := make([]head, 0, len(wishes))
		for _, w := range wishes {
			heads = append(heads, head{placeOf(w.key), w.time, w.hash})
		}
		if _, err := f.r.session(ctx, from, func(c *comparing) { c.fetchOnly(heads) }); err == nil {
			return
		}
	}
	f.r.compareWithAnybody(ctx, nil)
}

func (c *comparing) fetchOnly(heads []head) {
	c.trusted = true
	for i := range c.parts {
		c.parts[i].moved = true
	}
	c.want(otherTree, heads)
}
