package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// maxRequests of a page are followed; what comes after is counted only.
const maxRequests = 10_000

// tally counts what a page asks for.
type tally struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and made anew by each change
	open     map[string]bool
	last     time.Time // when the network was last busy
	loaded   bool
	requests int
	failures int
	bytes    float64
	code     int    // of the page itself
	main     string // its request
	first    string // what failed first, in words
}

func newTally() *tally {
	t := &tally{changed: make(chan struct{})}
	t.reset()
	return t
}

func (t *tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open, t.last, t.loaded = map[string]bool{}, time.Now(), false
	t.requests, t.failures, t.bytes, t.code, t.main, t.first = 0, 0, 0, 0, "", ""
}

// happening is what is used of the events of the domains Network and Page.
type happening struct {
	RequestID string  `json:"requestId"`
	LoaderID  string  `json:"loaderId"`
	Type      string  `json:"type"`
	Bytes     float64 `json:"encodedDataLength"`
	ErrorText string  `json:"errorText"`
	Canceled  bool    `json:"canceled"`
	Response  struct {
		Status int    `json:"status"`
		URL    string `json:"url"`
	} `json:"response"`
}

func (t *tally) event(method string, params json.RawMessage) {
	var h happening
	if json.Unmarshal(params, &h) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch method {
	case "Network.requestWillBeSent":
		t.requests++
		if len(t.open) < maxRequests {
			t.open[h.RequestID] = true
		}
		if t.main == "" && h.RequestID == h.LoaderID {
			t.main = h.RequestID
		}
	case "Network.responseReceived":
		t.response(&h)
	case "Network.loadingFinished":
		delete(t.open, h.RequestID)
		t.bytes += max(h.Bytes, 0)
	case "Network.loadingFailed":
		delete(t.open, h.RequestID)
		if !h.Canceled {
			t.fail(h.ErrorText)
		}
	case "Page.loadEventFired":
		t.loaded = true
	default:
		return
	}
	t.last = time.Now()
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tally) response(h *happening) {
	if h.RequestID == t.main {
		t.code = h.Response.Status
		return
	}
	if h.Response.Status >= 400 {
		t.fail(fmt.Sprintf("status %d of %.100q", h.Response.Status, h.Response.URL))
	}
}

func (t *tally) fail(words string) {
	t.failures++
	if t.first == "" {
		t.first = words
	}
}

func (t *tally) status() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.code
}

func (t *tally) words() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%d of %d requests are under way", len(t.open), t.requests)
}

// await waits until a condition holds; false if ctx ends before.
func (t *tally) await(ctx context.Context, holds func(*tally) bool) bool {
	for {
		t.mu.Lock()
		ok, changed := holds(t), t.changed
		t.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// quiet waits until the page is loaded and has asked for nothing for so long.
func (t *tally) quiet(ctx context.Context, gone <-chan struct{}, settle time.Duration) bool {
	for {
		t.mu.Lock()
		rest, changed := time.Duration(-1), t.changed
		if t.loaded && len(t.open) == 0 {
			rest = settle - time.Since(t.last)
			if rest <= 0 {
				t.mu.Unlock()
				return true
			}
		}
		t.mu.Unlock()
		var timer <-chan time.Time
		if rest > 0 {
			timer = time.After(rest)
		}
		select {
		case <-changed:
		case <-timer:
		case <-gone:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
