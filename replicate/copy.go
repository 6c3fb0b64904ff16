package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/durable"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// CopyStore keeps one copy.
type CopyStore interface {
	storage.AppendableV2
	storage.SampleAndChunkQueryable
	// Span is the times of the oldest and newest sample, 0 and 0 without any.
	Span() (oldest, newest int64)
	NumSeries() uint64
	Ready() <-chan struct{}
	Run(context.Context) error
}

// Origin is the island that a copy is of.
type Origin struct {
	// ID stays when the island's key or name changes.
	ID   string `json:"id"`
	Name string `json:"name"`
}

// About is what is known of a copy beside its samples.
type About struct {
	Origin   Origin            `json:"origin"`
	Stream   string            `json:"stream"`
	External map[string]string `json:"external,omitempty"`
	Match    []string          `json:"match,omitempty"`
	KeepMs   int64             `json:"keep_ms,omitempty"`
	// LateMs is how late the origin's samples can be.
	LateMs int64 `json:"late_ms,omitempty"`
	// Opened is when the stream last began anew, Unix ms.
	Opened int64 `json:"opened"`
}

const (
	aboutFile = "copy.json"
	// mostExternal bounds external labels, mostOf the streams of one origin.
	mostExternal = 64
	mostOf       = 8
	// readyWithin is how long a sender waits for its copy to be read from disk.
	readyWithin = 20 * time.Second
	mostLate    = 24 * time.Hour
)

// readOpen judges what a sender says of its stream.
func readOpen(origin Origin, m *replicatepb.Open) (About, error) {
	a := About{Origin: origin, Stream: m.GetStream(), Match: m.GetMatch(), KeepMs: m.GetKeep(), LateMs: m.GetOutOfOrder(), Opened: time.Now().UnixMilli()}
	if !streamName.MatchString(a.Stream) {
		return a, refuse("name", "stream %.80q: no name of a stream", a.Stream)
	}
	if _, err := parseMatch(a.Match); err != nil {
		return a, refuse("match", "match: %v", err)
	}
	if a.KeepMs < 0 || a.KeepMs > maxKeep.Milliseconds() || a.LateMs < 0 {
		return a, refuse("times", "keep %d ms, out of order %d ms: out of range", a.KeepMs, a.LateMs)
	}
	a.LateMs = min(a.LateMs, mostLate.Milliseconds())
	if len(m.GetExternal()) > mostExternal {
		return a, refuse("labels", "%d external labels: at most %d", len(m.GetExternal()), mostExternal)
	}
	for _, l := range m.GetExternal() {
		if len(l.GetName()) == 0 || len(l.GetName()) > 256 || len(l.GetValue()) > 4096 {
			return a, refuse("labels", "external label %.80q: its name or value is too long, or empty", l.GetName())
		}
		if a.External == nil {
			a.External = map[string]string{}
		}
		a.External[l.GetName()] = l.GetValue()
	}
	return a, nil
}

// kept is a copy of another island's series.
type kept struct {
	dir     string
	turn    chan struct{} // held by the stream that is served
	session *session      // of who holds turn

	// The store and what belongs to it change under mu, by who holds turn.
	mu    sync.Mutex
	store CopyStore
	end   context.CancelFunc
	done  chan struct{} // closed when the store has ended
	keep  int64         // that it was made for, ms
	err   error         // with which it ended
	about About
	leave context.CancelFunc // asks the stream that is served to end
	since time.Time          // when the stream came or went
}

// current is the store, for who does not hold turn.
func (c *kept) current() CopyStore {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store
}

func (c *kept) info() About {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.about
}

// enter asks the stream before to end and takes its place.
func (c *kept) enter(ctx context.Context) (mine context.Context, release func(), err error) {
	c.mu.Lock()
	if c.leave != nil {
		c.leave()
	}
	c.mu.Unlock()
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	mine, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	c.leave, c.since = cancel, time.Now()
	c.mu.Unlock()
	return mine, func() {
		cancel()
		c.mu.Lock()
		c.leave, c.since = nil, time.Now()
		c.mu.Unlock()
		<-c.turn
	}, nil
}

// served is whether a stream is open, and since when that is so.
func (c *kept) served() (open bool, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leave != nil, c.since
}

// ready waits until the copy's store is open.
func (c *kept) ready(ctx context.Context) error {
	limit := time.NewTimer(readyWithin)
	defer limit.Stop()
	select {
	case <-c.store.Ready():
		return nil
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return fmt.Errorf("the copy's store ended: %w: %w", errors.Join(c.err, errEnded), flow.ErrUnavailable)
	case <-limit.C:
		return fmt.Errorf("the copy is still being read from disk: %w", flow.ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errEnded = errors.New("it is not running")

// open starts the copy's store.
func (r *Replicator) open(c *kept) error {
	about := c.info()
	keep := time.Duration(about.KeepMs) * time.Millisecond
	store, err := r.o.OpenStore(filepath.Join(c.dir, "tsdb"), keep, r.cfg.Load().Receive.Size)
	if err != nil {
		return fmt.Errorf("open the copy in %s: %w", c.dir, err)
	}
	ctx, cancel := context.WithCancel(r.stores)
	done := make(chan struct{})
	c.mu.Lock()
	c.store, c.end, c.done, c.keep, c.err = store, cancel, done, about.KeepMs, nil
	c.mu.Unlock()
	r.running.Go(func() {
		defer close(done)
		err := store.Run(ctx)
		if err != nil {
			r.log.Error("the store of a copy ended", "dir", c.dir, "error", err)
		}
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
	})
	return nil
}

// find gives the copy for a stream, a new one where there is none.
func (r *Replicator) find(about About) (*kept, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stores == nil || r.stores.Err() != nil {
		return nil, fmt.Errorf("copies are not served now: %w", flow.ErrUnavailable)
	}
	key := copyKey{about.Origin.ID, about.Stream}
	if c := r.copies[key]; c != nil {
		return c, nil
	}
	of := 0
	for k := range r.copies {
		if k.origin == about.Origin.ID {
			of++
		}
	}
	if most := r.cfg.Load().Receive.Copies; len(r.copies) >= most || of >= mostOf {
		r.m.refused.WithLabelValues("copies").Inc()
		return nil, fmt.Errorf("keep another copy: there are %d of at most %d (replicate.receive.copies), %d of this island of at most %d: %w",
			len(r.copies), most, of, mostOf, flow.ErrOverLimit)
	}
	c := &kept{dir: r.copyDir(key), turn: make(chan struct{}, 1), about: about, since: time.Now()}
	if err := writeAbout(c.dir, about); err != nil {
		return nil, fmt.Errorf("make a copy: %w", err)
	}
	if err := r.open(c); err != nil {
		return nil, err
	}
	r.copies[key] = c
	r.tell()
	return c, nil
}

// renew takes over what the sender says now; the caller holds the copy's turn.
func (r *Replicator) renew(c *kept, about About) error {
	old := c.info()
	if same(old, about) {
		return nil
	}
	if err := writeAbout(c.dir, about); err != nil {
		return fmt.Errorf("keep what the sender says: %w", err)
	}
	c.mu.Lock()
	c.about = about
	c.mu.Unlock()
	r.tell()
	if about.KeepMs == c.keep {
		return nil
	}
	c.end()
	<-c.done
	c.session = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stores.Err() != nil {
		return fmt.Errorf("copies are not served now: %w", flow.ErrUnavailable)
	}
	return r.open(c)
}

// same is whether nothing changed that others are told.
func same(a, b About) bool {
	return a.Origin == b.Origin && slices.Equal(a.Match, b.Match) && a.KeepMs == b.KeepMs && a.LateMs == b.LateMs &&
		labels.Equal(labels.FromMap(a.External), labels.FromMap(b.External)) && b.Opened-a.Opened < time.Hour.Milliseconds()
}

func writeAbout(dir string, a About) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(dir, aboutFile), 0o600, text)
}

func readAbout(dir string) (a About, err error) {
	text, err := os.ReadFile(filepath.Join(dir, aboutFile))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err == nil && (a.Origin.ID == "" || !streamName.MatchString(a.Stream)) {
		err = errors.New("it names no island or stream")
	}
	return a, err
}
