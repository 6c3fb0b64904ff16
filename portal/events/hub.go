package events

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// Topic is what an event is about.
type Topic string

// The topics.
const (
	Alerts    Topic = "alerts"
	Peers     Topic = "peers"
	Probes    Topic = "probes"
	Documents Topic = "documents"
	Health    Topic = "health"
)

// Topics lists all.
func Topics() []Topic { return []Topic{Alerts, Peers, Probes, Documents, Health} }

// Event is one thing that happened.
type Event struct {
	Topic Topic `json:"topic"`
	// Kind is what happened, as "firing" or "connected"; ID names to what.
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// At is set by Publish where it is zero.
	At time.Time `json:"at"`
	// Summary is a line for people.
	Summary string `json:"summary"`
}

// Options are what a Hub is made of. What is 0 takes the default.
type Options struct {
	Registerer prometheus.Registerer
	// Kept is how many events are kept for who comes back, MaxClients how many
	// browsers may look at the same time.
	Kept, MaxClients int
}

const (
	defaultKept       = 4096
	defaultMaxClients = 256
	// maxText bounds each text of an event.
	maxText = 300
)

// Hub keeps the events of the last while. All browsers read from the one ring, each
// at its own place in it, so that a slow one costs nothing.
type Hub struct {
	metrics    *metrics
	maxClients int
	// epoch tells this life of the island from others: numbers begin anew with each.
	epoch string

	mu      sync.Mutex
	ring    []Event
	next    uint64        // number of the next event; they count from 1
	news    chan struct{} // closed when there is another event
	clients int
	closed  bool
}

// New makes a hub. Streams are served until Run ends.
func New(o Options) (*Hub, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of events: %w", err)
	}
	h := &Hub{metrics: m, maxClients: o.MaxClients, epoch: strings.ToLower(rand.Text()[:8]), next: 1, news: make(chan struct{})}
	if h.maxClients == 0 {
		h.maxClients = defaultMaxClients
	}
	kept := o.Kept
	if kept == 0 {
		kept = defaultKept
	}
	h.ring = make([]Event, 0, kept)
	return h, nil
}

// Run ends all streams when ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	<-ctx.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.news)
	}
	return nil
}

// Publish tells everybody of an event. It does not wait.
func (h *Hub) Publish(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.At = e.At.UTC().Truncate(time.Millisecond)
	e.Kind, e.ID, e.Summary = cut(e.Kind), cut(e.ID), cut(e.Summary)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	if len(h.ring) < cap(h.ring) {
		h.ring = append(h.ring, e)
	} else {
		h.ring[(h.next-1)%uint64(cap(h.ring))] = e
	}
	h.next++
	h.metrics.published.WithLabelValues(string(e.Topic)).Inc()
	close(h.news)
	h.news = make(chan struct{})
}

func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	s = s[:maxText-len("…")]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + "…"
}

// oldest is the number of the oldest event that is kept.
func (h *Hub) oldest() uint64 { return h.next - uint64(len(h.ring)) }

// after returns the first event behind a number that is about one of the topics.
// missed is how many were forgotten before they were read; they may have been about
// anything. Where there is none yet, news is closed when there is.
func (h *Hub) after(last uint64, topics []Topic) (e Event, number, missed uint64, news <-chan struct{}, closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number = last + 1
	if oldest := h.oldest(); number < oldest {
		missed, number = oldest-number, oldest
	}
	for ; number < h.next; number++ {
		if e = h.ring[(number-1)%uint64(cap(h.ring))]; slices.Contains(topics, e.Topic) {
			return e, number, missed, nil, h.closed
		}
	}
	return Event{}, h.next - 1, missed, h.news, h.closed
}

// Since lists the events from a time on, the newest first, at most so many. whole
// tells that none of that time was forgotten.
func (h *Hub) Since(at time.Time, most int) (all []Event, whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for number := h.next - 1; number >= h.oldest() && number > 0; number-- {
		e := h.ring[(number-1)%uint64(cap(h.ring))]
		if e.At.Before(at) {
			return all, true
		}
		if len(all) == most {
			return all, false
		}
		all = append(all, e)
	}
	return all, h.oldest() == 1
}

// name is the ID of an event towards browsers.
func (h *Hub) name(number uint64) string { return h.epoch + "-" + strconv.FormatUint(number, 10) }

// place reads the ID that a browser saw last; false where it is of another life.
func (h *Hub) place(name string) (number uint64, ok bool) {
	epoch, text, _ := strings.Cut(name, "-")
	number, err := strconv.ParseUint(text, 10, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	return number, err == nil && epoch == h.epoch && number < h.next
}

// enter counts a browser in, or refuses it.
func (h *Hub) enter() (last uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.clients >= h.maxClients {
		return 0, false
	}
	h.clients++
	h.metrics.clients.Set(float64(h.clients))
	return h.next - 1, true
}

func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients--
	h.metrics.clients.Set(float64(h.clients))
}
