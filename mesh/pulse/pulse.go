package pulse

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// Interval is between probes of an idle connection; each is off by up to a fifth.
	Interval = 15 * time.Second
	// Patience is how long a probe is waited for.
	Patience = 4 * time.Second
	// misses is how many probes in a row an idle connection may leave unanswered. One
	// on which a call waits has had two seconds already, and gets one probe.
	misses = 3
	// starved is how late this process may wake up and still judge others: with
	// too little CPU here every answer is late, and new handshakes would make it worse.
	starved = 200 * time.Millisecond
	// tick is how often due probes are looked for.
	tick = time.Second
)

// Options is what a Watch is made of.
type Options struct {
	// Probe sends something that the other end answers, and waits for it.
	Probe func(context.Context, network.Conn) (time.Duration, error)
	// Received says how much came over a connection so far, in any unit, or false
	// where that is not known.
	Received func(network.Conn) (uint64, bool)
	// Dead is told of a connection that should be closed.
	Dead func(network.Conn)
	// Probed counts probes by outcome: answered, failed, late, starved, missed, dead,
	// and over where the connection ended meanwhile.
	Probed func(outcome string)
}

// Watch probes connections. All methods are safe for concurrent use.
type Watch struct {
	o  Options
	wg sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context // of Run; nil while it does not run
	lines map[network.Conn]*line
}

// line is a watched connection.
type line struct {
	due     time.Time
	probing chan struct{} // closed when the probe under way is over; nil without one
	urgent  bool          // somebody waits for bytes of this connection
	joined  bool          // and began to when the probe under way had been sent
	missed  int           // probes in a row without an answer
	vitals  Vitals
}

// Vitals is what the probes of a connection found.
type Vitals struct {
	// RTT is smoothed, Jitter its mean deviation, as in RFC 6298.
	RTT, Jitter time.Duration
	// Suspect is set while a probe is late.
	Suspect bool
	// Answered is when a probe last was.
	Answered time.Time
}

// New returns a watch over nothing.
func New(o Options) *Watch { return &Watch{o: o, lines: map[network.Conn]*line{}} }

// Add begins to watch a connection. Its first probe is due at once, for its
// round trip.
func (w *Watch) Add(c network.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lines[c] == nil {
		w.lines[c] = &line{due: time.Now()}
	}
}

// Remove ends watching a connection.
func (w *Watch) Remove(c network.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.lines, c)
}

// Of returns what is known of a connection.
func (w *Watch) Of(c network.Conn) Vitals {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lines[c]; l != nil {
		return l.vitals
	}
	return Vitals{}
}

// Check probes all connections of a peer now, for somebody who waits for bytes,
// and returns when the probes are over.
func (w *Watch) Check(p peer.ID) {
	w.mu.Lock()
	var probes []<-chan struct{}
	for c, l := range w.lines {
		if c.RemotePeer() == p {
			l.urgent, l.joined = true, l.probing != nil
			if done := w.probe(c, l); done != nil {
				probes = append(probes, done)
			}
		}
	}
	w.mu.Unlock()
	for _, done := range probes {
		<-done
	}
}

// Doubt has a connection count as suspect until it answers a probe.
func (w *Watch) Doubt(c network.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lines[c]; l != nil {
		l.vitals.Suspect = true
	}
}

// Run probes what is due until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	w.mu.Lock()
	w.ctx = ctx
	w.mu.Unlock()
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			w.ctx = nil
			w.mu.Unlock()
			w.wg.Wait()
			return
		case now := <-t.C:
			w.mu.Lock()
			for c, l := range w.lines {
				if !now.Before(l.due) {
					w.probe(c, l)
				}
			}
			w.mu.Unlock()
		}
	}
}

// probe begins a probe, or joins the one under way; nil where none runs.
func (w *Watch) probe(c network.Conn, l *line) <-chan struct{} {
	if l.probing != nil {
		return l.probing
	}
	if w.ctx == nil {
		return nil
	}
	ctx, done := w.ctx, make(chan struct{})
	l.probing = done
	l.due = time.Now().Add(Interval*4/5 + rand.N(Interval*2/5))
	w.wg.Go(func() {
		defer close(done)
		w.examine(ctx, c, l)
	})
	return done
}

func (w *Watch) examine(ctx context.Context, c network.Conn, l *line) {
	before, counted := w.o.Received(c)
	probing, cancel := context.WithTimeout(ctx, Patience)
	begun := time.Now()
	rtt, err := w.o.Probe(probing, c)
	took, late := time.Since(begun), probing.Err() != nil || errors.Is(err, context.DeadlineExceeded)
	cancel()
	after, _ := w.o.Received(c)

	outcome := "missed"
	switch {
	case err == nil:
		outcome = "answered"
	case ctx.Err() != nil, c.IsClosed():
		outcome = "over"
	case !late:
		outcome = "failed" // refused on the spot: somebody is there
	case counted && after != before:
		outcome = "late" // a full buffer, not a dead path
	case took > Patience+starved:
		outcome = "starved"
	}
	if w.note(l, outcome, rtt) {
		outcome = "dead"
		w.o.Dead(c)
	}
	w.o.Probed(outcome)
}

// note keeps a probe's outcome and reports whether the connection is dead.
func (w *Watch) note(l *line, outcome string, rtt time.Duration) (dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	urgent, joined := l.urgent, l.joined
	l.probing, l.urgent, l.joined = nil, false, false
	switch outcome {
	case "answered":
		l.vitals.answer(rtt)
		l.missed = 0
	case "failed":
		l.missed = 0
	case "late":
		l.missed = 0
		if joined { // what came may have come before anybody waited
			l.urgent, l.due = true, time.Now()
		}
	case "starved":
		l.due = time.Now().Add(Patience)
	case "missed":
		l.missed++
		l.vitals.Suspect = true
		l.due = time.Now() // the next tick asks again
		return urgent || l.missed >= misses
	}
	return false
}

func (v *Vitals) answer(rtt time.Duration) {
	if v.RTT == 0 {
		v.RTT, v.Jitter = rtt, rtt/2
	} else {
		v.Jitter += ((rtt - v.RTT).Abs() - v.Jitter) / 4
		v.RTT += (rtt - v.RTT) / 8
	}
	v.Suspect = false
	v.Answered = time.Now()
}
