package replica

import (
	"context"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	maxSessions = 2  // started here at a time
	maxServed   = 16 // started by others at a time
	maxPerPeer  = 2  // of those by one: its last one may not have ended here yet
	maxPeers    = 4096
	maxSnubbed  = 4096
	snubFor     = 10 * time.Minute
)

// sessions keeps to the limits of comparisons, and what became of them.
type sessions struct {
	free chan struct{}

	mu      sync.Mutex
	started map[trust.Key]bool
	serving map[trust.Key]int
	total   int // of serving
	peers   map[trust.Key]*peerState
}

type peerState struct {
	PeerStatus
	// snubs are hashes that the peer did not take over, until when.
	snubs map[uint64]time.Time
}

// PeerStatus is what is known of the comparisons with one island.
type PeerStatus struct {
	Key trust.Key `json:"key"`
	// Tried is when a comparison was last started from here; Agreed when one in
	// either direction last went through, or the island told an equal root as it
	// connected: since then nothing is known to differ.
	Tried  time.Time `json:"tried,omitzero"`
	Agreed time.Time `json:"agreed,omitzero"`
	// Last is the outcome of the last comparison started from here.
	Last  SyncResult `json:"last"`
	Error string     `json:"error,omitempty"`
}

func newSessions() *sessions {
	return &sessions{free: make(chan struct{}, maxSessions), started: map[trust.Key]bool{}, serving: map[trust.Key]int{},
		peers: map[trust.Key]*peerState{}}
}

func (s *sessions) begin(ctx context.Context, peer trust.Key) error {
	s.mu.Lock()
	if s.started[peer] {
		s.mu.Unlock()
		return ErrBusy
	}
	s.started[peer] = true
	s.mu.Unlock()
	select {
	case s.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.started, peer)
		s.mu.Unlock()
		return ctx.Err()
	}
}

func (s *sessions) end(peer trust.Key) {
	s.mu.Lock()
	delete(s.started, peer)
	s.mu.Unlock()
	<-s.free
}

func (s *sessions) serve(peer trust.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving[peer] >= maxPerPeer || s.total >= maxServed {
		return false
	}
	s.serving[peer]++
	s.total++
	return true
}

func (s *sessions) served(peer trust.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.serving[peer]--; s.serving[peer] == 0 {
		delete(s.serving, peer)
	}
}

func (s *sessions) peer(key trust.Key) *peerState {
	p := s.peers[key]
	if p == nil {
		if len(s.peers) >= maxPeers {
			clear(s.peers)
		}
		p = &peerState{PeerStatus: PeerStatus{Key: key}, snubs: map[uint64]time.Time{}}
		s.peers[key] = p
	}
	return p
}

func (s *sessions) note(key trust.Key, res SyncResult, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peer(key)
	p.Tried, p.Last, p.Error = now, res, ""
	if err != nil {
		p.Error = err.Error()
	}
}

func (s *sessions) agreed(key trust.Key, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer(key).Agreed = now
}

func (s *sessions) agreedAt(key trust.Key) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer(key).Agreed
}

func (s *sessions) snub(key trust.Key, hash uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peer(key)
	if len(p.snubs) >= maxSnubbed {
		clear(p.snubs)
	}
	p.snubs[hash] = time.Now().Add(snubFor)
}

func (s *sessions) snubbed(key trust.Key, hash uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peer(key)
	until, ok := p.snubs[hash]
	if ok && time.Now().After(until) {
		delete(p.snubs, hash)
		ok = false
	}
	return ok
}

// forgive makes every document be offered again: rights changed.
func (s *sessions) forgive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		clear(p.snubs)
	}
}

func (s *sessions) status() (out []PeerStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		out = append(out, p.PeerStatus)
	}
	return out
}

// outbox is what one session still has to send.
type outbox struct {
	mu     sync.Mutex
	jobs   []job
	closed bool
	wake   chan struct{}
}

// job is a request, or documents to be read and pushed.
type job struct {
	request *replicapb.SyncRequest
	push    []*entry
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) put(j job) {
	o.mu.Lock()
	o.jobs = append(o.jobs, j)
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next waits for a job; false once the box is closed and empty, or ctx ended.
func (o *outbox) next(ctx context.Context) (job, bool) {
	for {
		o.mu.Lock()
		if len(o.jobs) > 0 && ctx.Err() == nil {
			j := o.jobs[0]
			o.jobs = o.jobs[1:]
			o.mu.Unlock()
			return j, true
		}
		closed := o.closed
		o.mu.Unlock()
		if closed {
			return job{}, false
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return job{}, false
		}
	}
}
