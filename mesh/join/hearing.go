package join

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	mss "github.com/multiformats/go-multistream"
	"golang.org/x/time/rate"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// WordProtocol is what somebody speaks whom the roster keeps out.
const WordProtocol = protocol.ID("/atoll/word/1")

// Limits of hearings.
const (
	// MaxWord is what a word may take on the wire: its documents, and some.
	MaxWord = trust.MaxWord + 64<<10
	// patienceForWord is how long somebody may take to say it.
	patienceForWord = 5 * time.Second
	// seats are the hearings at once, and those of one key: who has been silent for the
	// longest of those with the most seats gives way to who comes.
	seats       = 32
	seatsOfOne  = 8
	wordsPerS   = 4 // words that are read, of everybody
	wordsBurst  = 8
	eachPerS    = 0.5 // and of one key
	eachBurst   = 4
	maxLimiters = 1024
)

// Answer looks into a word that a key has brought. A refusal belongs into the answer.
type Answer func(ctx context.Context, from trust.Key, w *meshpb.Word) *meshpb.Word

// Hearing hears those whom the roster keeps out though its documents name them: one
// request, one answer, on a connection that carries nothing else. It is for words of
// the roots, which are believed for their signatures, whoever brings them.
type Hearing struct {
	answer Answer
	log    *slog.Logger
	heard  func(outcome string)

	mu     sync.Mutex
	ctx    context.Context // of all hearings; nil once closed
	cancel context.CancelFunc
	wg     sync.WaitGroup
	taken  []*seat // the oldest first
	all    *rate.Limiter
	each   map[trust.Key]*rate.Limiter
}

type seat struct {
	key      trust.Key
	leave    func()
	speaking bool // its word is read
}

// NewHearing returns an open one. heard is told the outcome of each: heard, busy,
// malformed, displaced.
func NewHearing(answer Answer, log *slog.Logger, heard func(string)) *Hearing {
	h := &Hearing{answer: answer, log: log, heard: heard,
		all: rate.NewLimiter(wordsPerS, wordsBurst), each: map[trust.Key]*rate.Limiter{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Take hears who is behind a connection, in the background, and closes it. What is
// first said on it must be a word.
func (h *Hearing) Take(c transport.CapableConn) {
	k, ok := ident.Key(c.RemotePeer())
	if !ok || !h.begin(k, func(ctx context.Context, at *seat) error { return h.converse(ctx, at, c) }) {
		_ = c.Close()
	}
}

// Serve hears a member on a stream of its own, in the foreground, and closes it.
func (h *Hearing) Serve(s network.Stream) {
	done := make(chan struct{})
	k, ok := ident.Key(s.Conn().RemotePeer())
	if !ok || !h.begin(k, func(ctx context.Context, at *seat) error {
		defer close(done)
		defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
		_ = s.SetDeadline(time.Now().Add(patienceForWord))
		return h.hear(ctx, at, s)
	}) {
		_ = s.Reset()
		return
	}
	<-done
	_ = s.Close()
}

// Close ends all hearings and waits for them.
func (h *Hearing) Close() {
	h.mu.Lock()
	h.ctx = nil
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
}

// begin seats a key and runs its hearing, whose context ends when it must leave.
func (h *Hearing) begin(k trust.Key, run func(context.Context, *seat) error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(h.ctx, patienceForWord)
	s := &seat{key: k, leave: cancel}
	h.makeRoomLocked(k)
	h.taken = append(h.taken, s)
	h.wg.Go(func() {
		defer cancel()
		defer h.vacate(s)
		if err := run(ctx, s); err != nil {
			h.log.Debug("hearing of a peer that is kept out", "peer", k, "err", err)
		}
	})
	return true
}

// makeRoomLocked has the oldest of a key leave where it has all that one may have, or
// of the key with the most where all are taken. So who holds seats in silence loses
// them to who comes to speak, and a crowd of one key takes none from others.
func (h *Hearing) makeRoomLocked(k trust.Key) {
	count := map[trust.Key]int{}
	greedy := k
	for _, s := range h.taken {
		if count[s.key]++; count[s.key] > count[greedy] {
			greedy = s.key
		}
	}
	switch {
	case count[k] >= seatsOfOne:
		greedy = k
	case len(h.taken) < seats:
		return
	}
	of := func(s *seat) bool { return s.key == greedy }
	i := slices.IndexFunc(h.taken, func(s *seat) bool { return of(s) && !s.speaking })
	if i < 0 {
		i = slices.IndexFunc(h.taken, of)
	}
	h.taken[i].leave()
	h.taken = slices.Delete(h.taken, i, i+1)
	h.heard("displaced")
}

func (h *Hearing) vacate(gone *seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = slices.DeleteFunc(h.taken, func(s *seat) bool { return s == gone })
}

// converse takes the first stream and nothing after it.
func (h *Hearing) converse(ctx context.Context, at *seat, c transport.CapableConn) error {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // AcceptStream takes no context
	s, err := c.AcceptStream()
	if err != nil {
		h.heard("malformed")
		return fmt.Errorf("wait for a word: %w", err)
	}
	_ = s.SetDeadline(time.Now().Add(patienceForWord))
	if err := agree(s); err != nil {
		h.heard("malformed")
		return err
	}
	if err := h.hear(ctx, at, s); err != nil {
		return err
	}
	linger(c, s)
	return nil
}

// agree is multistream's negotiation for who knows one protocol and has no patience
// with those who try others.
func agree(s io.ReadWriter) error {
	for _, want := range []string{mss.ProtocolID, string(WordProtocol)} {
		got, err := mss.ReadNextToken[string](s)
		if err != nil {
			return fmt.Errorf("agree on %s: %w", WordProtocol, err)
		}
		if got != want {
			return fmt.Errorf("agree on %s: the peer wants %.60q", WordProtocol, got)
		}
		if _, err := s.Write(token(want)); err != nil {
			return fmt.Errorf("agree on %s: %w", WordProtocol, err)
		}
	}
	return nil
}

// token frames a short text as multistream does.
func token(text string) []byte { return append([]byte{byte(len(text) + 1)}, text+"\n"...) }

// hear reads a word and answers it.
func (h *Hearing) hear(ctx context.Context, at *seat, s io.ReadWriter) error {
	if !h.allow(at) {
		h.heard("busy")
		return frame.Write(s, MaxWord, &meshpb.Word{Refusal: "too many words of late: come again later"})
	}
	var w meshpb.Word
	if err := frame.Read(s, MaxWord, &w); err != nil {
		h.heard("malformed")
		return err
	}
	h.heard("heard")
	return frame.Write(s, MaxWord, h.answer(ctx, at.key, &w))
}

// allow bounds what looking into words costs, before a byte of one is read.
func (h *Hearing) allow(at *seat) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.each[at.key]
	if l == nil {
		if len(h.each) >= maxLimiters {
			clear(h.each) // the limit of all holds on
		}
		l = rate.NewLimiter(eachPerS, eachBurst)
		h.each[at.key] = l
	}
	at.speaking = l.Allow() && h.all.Allow()
	return at.speaking
}
