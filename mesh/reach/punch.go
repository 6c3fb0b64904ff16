package reach

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	punchTimeout = 5 * time.Second
	// spareAfter is how long a relayed connection without streams stays beside a
	// direct one.
	spareAfter   = 30 * time.Second
	punchTick    = 5 * time.Second
	punchAtOnce  = 4
	maxCut       = 3
	maxPunchRows = 4096
)

// punchAfter is the wait after each attempt; the last one repeats. The first is made
// when a relayed peer has said what it speaks.
var punchAfter = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// lastOnce is the step that repeats where there was a direct connection before: it is
// likely that there will be one again.
const lastOnce = 1

// row is what is known about the way to one peer.
type row struct {
	attempts int // since the relayed connection began, or the network changed
	step     int
	next     time.Time
	running  bool
	again    bool // there was news while an attempt was running
	cut      int  // attempts in a row that ended before a hole was tried
	last     time.Time
	theirTry time.Time // the last that the other side began
	err      string    // of the last attempt
	at       uint64    // digest of the peer's addresses
	dialErr  string    // of dialling the peer's own public addresses
	theirs   []ma.Multiaddr
	direct   time.Time // since when there is a direct connection
	once     bool      // there was one
}

// puncher turns relayed connections into direct ones, again and again.
type puncher struct {
	host    host.Host
	ids     identify.IDService
	enabled bool
	addrs   func() []ma.Multiaddr // ours, that peers should punch towards
	log     *slog.Logger
	metrics *metrics
	kick    chan struct{}

	mu   sync.Mutex
	rows map[peer.ID]*row
	mine []ma.Multiaddr // last addresses that were not none
	svc  *holepunch.Service
}

// run tries until ctx ends.
func (p *puncher) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		if svc := p.service(false); svc != nil {
			svc.Close()
		}
	}()
	slots := make(chan struct{}, punchAtOnce)
	tick := time.NewTicker(punchTick)
	defer tick.Stop()
	for {
		for _, id := range p.look(time.Now()) {
			select {
			case slots <- struct{}{}:
			default:
				p.postpone(id)
				continue
			}
			wg.Go(func() {
				defer func() { <-slots }()
				p.attempt(id)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.kick:
		}
	}
}

// service returns the library's service, made as soon as there is an address to
// punch towards. It must not exist earlier: its DirectConnect would wait for one,
// deaf to any context.
func (p *puncher) service(make bool) *holepunch.Service {
	p.mu.Lock()
	defer p.mu.Unlock()
	if addrs := p.addrs(); len(addrs) > 0 {
		p.mine = addrs
	}
	if p.svc != nil || !make || len(p.mine) == 0 {
		return p.svc
	}
	svc, err := holepunch.NewService(arranged{p.host}, p.ids, p.lastAddrs,
		holepunch.WithTracer(p), holepunch.DirectDialTimeout(punchTimeout))
	if err != nil {
		p.log.Warn("hole punching is not possible", "err", err)
		return nil
	}
	p.svc = svc
	return svc
}

// lastAddrs never goes back to none, see service.
func (p *puncher) lastAddrs() []ma.Multiaddr {
	addrs := p.addrs()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(addrs) == 0 {
		return append([]ma.Multiaddr(nil), p.mine...)
	}
	p.mine = addrs
	return append([]ma.Multiaddr(nil), addrs...)
}

// look brings the rows in line with the connections, closes relayed ones that a
// direct one has replaced, and returns the peers whose attempt is due.
func (p *puncher) look(now time.Time) []peer.ID {
	svc := p.enabled && p.service(true) != nil
	byPeer := map[peer.ID][]network.Conn{}
	for _, c := range p.host.Network().Conns() {
		byPeer[c.RemotePeer()] = append(byPeer[c.RemotePeer()], c)
	}
	var due []peer.ID
	var spare []network.Conn
	p.mu.Lock()
	for id := range p.rows {
		if byPeer[id] == nil {
			delete(p.rows, id)
		}
	}
	for id, conns := range byPeer {
		r := p.rows[id]
		if direct(conns) != nil {
			switch {
			case r != nil && r.direct.IsZero():
				*r = row{direct: now, once: true}
			case r != nil && now.Sub(r.direct) > spareAfter:
				spare = append(spare, relayedIdle(conns)...)
			case r == nil && slices.ContainsFunc(conns, Relayed):
				p.rows[id] = &row{direct: now, once: true}
			}
			continue
		}
		if r == nil && len(p.rows) < maxPunchRows {
			r = &row{next: now}
			p.rows[id] = r
		}
		if r == nil {
			continue
		}
		if !r.direct.IsZero() { // it is lost: what was tried before counts no more
			*r = row{next: now, once: true, running: r.running}
		}
		if at := whereabouts(p.host, id); at != r.at {
			// It moved, or said more of itself: waiting longer makes no sense.
			if r.at != 0 {
				r.renew(now)
			}
			r.at = at
		}
		later, may := turn(p.host.ID(), id, conns)
		if svc && may && !r.running && !now.Before(r.next.Add(later)) && identified(p.host, id) {
			r.running = true
			due = append(due, id)
		}
	}
	p.mu.Unlock()
	for _, c := range spare {
		c.Close()
	}
	return due
}

// whereabouts is a digest of the direct addresses that a peer signed, whatever
// their order. The address book is no measure: it also holds what was only tried.
func whereabouts(h host.Host, id peer.ID) uint64 {
	book, ok := peerstore.GetCertifiedAddrBook(h.Peerstore())
	if !ok {
		return 0
	}
	envelope := book.GetPeerRecord(id)
	if envelope == nil {
		return 0
	}
	rec, err := envelope.Record()
	if err != nil {
		return 0
	}
	signed, ok := rec.(*peer.PeerRecord)
	if !ok {
		return 0
	}
	var sum uint64
	for _, a := range signed.Addrs {
		if !relayed(a) {
			f := fnv.New64a()
			f.Write(a.Bytes())
			sum += f.Sum64()
		}
	}
	return sum
}

func relayedIdle(conns []network.Conn) []network.Conn {
	var out []network.Conn
	for _, c := range conns {
		if Relayed(c) && len(c.GetStreams()) == 0 {
			out = append(out, c)
		}
	}
	return out
}

func (p *puncher) postpone(id peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.rows[id]; r != nil {
		r.running = false
		r.next = time.Now().Add(punchTick)
	}
}

func (p *puncher) attempt(id peer.ID) {
	svc := p.service(false)
	if svc == nil {
		p.postpone(id)
		return
	}
	ClearBackoff(p.host, id)
	before, _ := p.row(id)
	err := svc.DirectConnect(id)
	if errors.Is(err, holepunch.ErrHolePunchActive) {
		p.postpone(id) // the library is at it, perhaps over a connection that is dead
		return
	}
	p.mu.Lock()
	r := p.rows[id]
	if r != nil {
		r.running = false
		r.wait(err != nil && r.attempts == before.attempts, time.Now())
		if err != nil && r.err == "" {
			r.err = err.Error()
		}
	}
	p.mu.Unlock()
	if err != nil {
		p.log.Debug("path stays relayed", "peer", id, "err", err)
	}
}

// wait sets when the next attempt is due. One that was cut off, as by the end of
// the connection over which it was arranged, is made again soon, but not for ever:
// some peers cannot punch.
func (r *row) wait(cut bool, now time.Time) {
	switch {
	case r.again:
		r.again, r.cut, r.step, r.next = false, 0, 0, now
	case cut && r.cut < maxCut:
		r.cut++
		r.next = now.Add(punchTick)
	default:
		r.pause(now)
	}
}

// pause begins the wait after an attempt that was in vain.
func (r *row) pause(now time.Time) {
	last := len(punchAfter) - 1
	if r.once {
		last = lastOnce
	}
	r.next = now.Add(punchAfter[r.step])
	r.cut, r.step = 0, min(r.step+1, last)
}

// renew ends the wait for a further attempt, after news. One that is running may
// have missed them: it is made again when it is over.
func (r *row) renew(now time.Time) {
	r.step, r.next, r.again = 0, now, r.running
}

// follow notes that the other side is at it, with one of the tries that an attempt
// is made of. It counts for both, and two at once are none.
func (r *row) follow(now time.Time) {
	if now.Sub(r.theirTry) > secondTurn {
		r.pause(now)
	}
	r.theirTry = now
	if over := now.Add(2 * punchTimeout); r.next.Before(over) {
		r.next = over
	}
}

// again forgets the waits: of one peer, or of all when the id is empty.
func (p *puncher) again(id peer.ID) {
	p.mu.Lock()
	for q, r := range p.rows {
		if id == "" || q == id {
			r.renew(time.Now())
		}
	}
	p.mu.Unlock()
	poke(p.kick)
}

// anew ends the wait of one peer, if holes were tried to it in vain.
func (p *puncher) anew(id peer.ID) {
	p.mu.Lock()
	r := p.rows[id]
	tried := r != nil && (r.running || r.attempts > 0)
	if tried {
		r.renew(time.Now())
	}
	p.mu.Unlock()
	if tried {
		poke(p.kick)
	}
}

// Trace is called by the library for each step of each attempt, its own and
// those of the other side.
func (p *puncher) Trace(e *holepunch.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rows[e.Remote]
	if r == nil {
		if len(p.rows) >= maxPunchRows {
			return
		}
		r = &row{next: time.Now()}
		p.rows[e.Remote] = r
	}
	switch ev := e.Evt.(type) {
	case *holepunch.DirectDialEvt:
		r.dialErr = ev.Error
		p.count(ev.Success)
	case *holepunch.ProtocolErrorEvt:
		r.err, r.last = ev.Error, time.Now()
	case *holepunch.StartHolePunchEvt:
		p.log.Debug("punching a hole", "peer", e.Remote, "towards", ev.RemoteAddrs, "rtt", ev.RTT)
		if !r.running {
			r.follow(time.Now())
		}
		r.theirs = r.theirs[:0]
		for _, s := range ev.RemoteAddrs {
			if a, err := ma.NewMultiaddr(s); err == nil && len(r.theirs) < 32 {
				r.theirs = append(r.theirs, a)
			}
		}
	case *holepunch.EndHolePunchEvt:
		p.log.Debug("a hole was punched, or not", "peer", e.Remote, "ok", ev.Success, "after", ev.EllapsedTime, "err", ev.Error)
		r.attempts++
		r.last, r.err = time.Now(), ev.Error
		p.count(ev.Success)
	}
}

func (p *puncher) count(ok bool) {
	if ok {
		p.metrics.punches.WithLabelValues("direct").Inc()
	} else {
		p.metrics.punches.WithLabelValues("failed").Inc()
	}
}

func (p *puncher) row(id peer.ID) (row, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rows[id]
	if r == nil {
		return row{}, false
	}
	return *r, true
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// String is for logs.
func (r row) String() string {
	return fmt.Sprintf("%d attempts, last %s: %s", r.attempts, r.last.Format(time.TimeOnly), r.err)
}
