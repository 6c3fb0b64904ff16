package conform

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/flow"
)

// room is the whole of aggregation as an island runs it: its loop in virtual
// time, its journal and checkpoints on a real disk, a store in memory. It lives
// inside a bubble of synctest.
type room struct {
	t          testing.TB
	set        *rule.Set
	checkpoint time.Duration // between two of them
	dir        string        // of the life that is on
	lives      int
	life       *life

	began  time.Time // virtual, as the next
	opened time.Time
	start  int64 // what a scenario calls the instant began

	mu    sync.Mutex
	skew  int64 // how far the arrival clock is off
	fresh bool  // no tick since the last restart
	hang  time.Time
	armed fatal
	// tripped: what was armed has killed.
	tripped bool
	got     []Point
	// stored is what a store that keeps the newest value of a timestamp holds,
	// times how often each was written.
	stored map[string]Row
	times  map[string]map[int64]uint32
}

// fatal is an instant to be killed at: around the next transaction of results.
type fatal uint8

const (
	never fatal = iota
	beforeStored
	afterStored
)

// loopTick is how often the loop looks at its windows.
const loopTick = 200

// life is one run of the process.
type life struct {
	*aggregate.Aggregator
	r      *room
	door   storage.AppendableV2
	refs   map[string]storage.SeriesRef
	cancel context.CancelFunc
	done   chan error
	dead   chan struct{} // closed when it is killed: nobody hears it any more
	left   string        // the directory as it was when it was killed, "" if it was not
}

var _ subject = (*room)(nil)

func newRoom(t testing.TB, text string, checkpoint time.Duration) *room {
	t.Helper()
	set, err := rule.Load("test.yml", []byte(text))
	if err != nil {
		t.Fatalf("load rules: %v", err)
	}
	r := &room{t: t, set: set, checkpoint: checkpoint, stored: map[string]Row{}, times: map[string]map[int64]uint32{}}
	r.dir = filepath.Join(t.TempDir(), "0")
	return r
}

func (r *room) open() error {
	l := &life{r: r, refs: map[string]storage.SeriesRef{}, done: make(chan error, 1), dead: make(chan struct{})}
	var err error
	l.Aggregator, err = aggregate.New(aggregate.Options{
		Config: r.config(), Rules: r.set, Dir: r.dir, Store: l, Registerer: prometheus.NewRegistry(), Now: r.now,
	})
	if err != nil {
		return err
	}
	l.door = l.Appendable(discard{})
	ctx, cancel := context.WithCancel(r.t.Context())
	l.cancel = cancel
	go func() { l.done <- l.Run(ctx) }()
	r.life, r.fresh, r.opened = l, true, time.Now()
	return nil
}

func (r *room) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.UnixMilli(Origin + r.skew + r.start + time.Since(r.began).Milliseconds())
}

// until lets time pass up to the scenario's now; the first call begins. Who was
// killed meanwhile is back then.
func (r *room) until(now int64) error {
	if r.life == nil {
		r.began, r.start = time.Now(), now
		return r.open()
	}
	time.Sleep(time.Duration(now-r.start)*time.Millisecond - time.Since(r.began))
	synctest.Wait()
	if r.life.left != "" {
		return r.reopen()
	}
	return nil
}

// reopen goes on with what a killed process has left.
func (r *room) reopen() error {
	l := r.life
	r.dir = l.left
	l.cancel()
	if err := <-l.done; err != nil {
		return fmt.Errorf("the life before: %w", err)
	}
	if err := r.open(); err != nil {
		return err
	}
	synctest.Wait()
	return nil
}

// Deliver sends one request as a receiver does it.
func (r *room) Deliver(now int64, req Request) error {
	if err := r.until(now); err != nil {
		return err
	}
	l := r.life
	app := l.door.AppenderV2(flow.WithSender(r.t.Context(), req.Sender))
	for _, a := range req.Items {
		st := a.ST
		if st != 0 {
			st += Origin
		}
		key := a.Labels.String()
		ref, err := app.Append(l.refs[key], a.Labels, st, a.T+Origin, a.V, nil, nil, storage.AOptions{})
		if err != nil {
			return fmt.Errorf("append to %s: %w", key, err)
		}
		l.refs[key] = ref
	}
	return app.Commit()
}

// Tick returns what the loop has published up to now.
func (r *room) Tick(now int64) ([]Point, error) {
	if err := r.until(now); err != nil {
		return nil, err
	}
	r.fresh = r.fresh && time.Since(r.opened).Milliseconds() < loopTick
	return r.taken(), nil
}

func (r *room) taken() []Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// Restart kills the process between two ticks.
func (r *room) Restart(now int64) ([]Point, error) {
	if err := r.until(now); err != nil {
		return nil, err
	}
	r.mu.Lock()
	err := r.life.die()
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	err = r.reopen()
	return r.taken(), err
}

// die keeps the directory as it is: what the process does from here on never
// happened. The caller holds mu.
func (l *life) die() error {
	if l.left != "" {
		return nil
	}
	r := l.r
	r.lives++
	l.left = filepath.Join(filepath.Dir(r.dir), fmt.Sprint(r.lives))
	close(l.dead)
	return os.CopyFS(filepath.Join(l.left, "state"), os.DirFS(filepath.Join(r.dir, "state")))
}

func (r *room) killedTick(now, by int64) ([]Point, bool, error) {
	r.mu.Lock()
	if r.armed == never && !r.tripped {
		r.armed = fatal(1 + by%2)
	}
	r.mu.Unlock()
	if err := r.until(now); err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	tripped := r.tripped
	r.tripped = false
	r.mu.Unlock()
	return r.taken(), tripped, nil
}

func (r *room) jump(by int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skew += by
}

// pause lets the store take nothing, and answer nothing, for a while.
func (r *room) pause(by int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hang = time.Now().Add(time.Duration(by) * time.Millisecond)
}

// Checkpoint does nothing: the loop writes its own.
func (r *room) Checkpoint(int) error { return nil }

func (r *room) restarted() bool { return r.fresh }

// reload waits while the store hangs: so does the loop, for nothing that synctest
// would take for waiting.
func (r *room) reload() error {
	r.mu.Lock()
	hang := r.hang
	r.mu.Unlock()
	time.Sleep(time.Until(hang))
	synctest.Wait()
	commit, _, err := r.life.Prepare(r.config(), r.set)
	if err == nil {
		commit()
	}
	return err
}

func (r *room) config() aggregate.Config {
	c := aggregate.Default()
	c.CheckpointInterval = model.Duration(r.checkpoint)
	return c
}

func (r *room) stop() error {
	if r.life == nil {
		return nil
	}
	r.life.cancel()
	return <-r.life.done
}

// AppenderV2 is where the results go.
func (l *life) AppenderV2(context.Context) storage.AppenderV2 {
	l.r.mu.Lock()
	wait := time.Until(l.r.hang)
	l.r.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-l.dead:
		}
	}
	return &results{life: l}
}

type results struct {
	life   *life
	points []Point
}

func (a *results) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, _ *histogram.Histogram, h *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	if h != nil {
		v = h.Sum
	}
	a.points = append(a.points, Point{Labels: ls, T: t - Origin, V: v})
	return 0, nil
}

func (*results) Rollback() error { return nil }

func (a *results) Commit() error {
	r := a.life.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.life.left != "" {
		return nil
	}
	at := r.armed
	if at != beforeStored {
		r.store(a.points)
	}
	if at == never {
		return nil
	}
	r.armed, r.tripped = never, true
	return a.life.die()
}

// store numbers what is published; after a restart what comes again to the letter
// keeps its number.
func (r *room) store(points []Point) {
	for _, p := range points {
		key := p.Labels.String()
		if r.stored[key] == nil {
			r.stored[key], r.times[key] = Row{}, map[int64]uint32{}
		}
		p.Revision = r.times[key][p.T]
		if old, ok := r.stored[key][p.T]; ok && r.fresh && Near(old, p.V, 1e-12) {
			p.Revision--
		} else {
			r.times[key][p.T]++
		}
		r.stored[key][p.T] = p.V
		r.got = append(r.got, p)
	}
}

// discard is a store of raw samples that nobody reads.
type discard struct{}

func (discard) AppenderV2(context.Context) storage.AppenderV2 { return discard{} }
func (discard) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}
func (discard) Commit() error   { return nil }
func (discard) Rollback() error { return nil }

// inRoom plays what f plays against a room in virtual time and says how the
// ledger differs from what the store was left with, "" for not at all.
func inRoom(t *testing.T, text string, checkpoint time.Duration, f func(*room) (*Ledger, error)) (*Ledger, error) {
	t.Helper()
	var l *Ledger
	var err error
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, text, checkpoint)
		l, err = f(r)
		if stopped := r.stop(); err == nil {
			err = stopped
		}
		if err != nil {
			return
		}
		for series := range maps.Keys(r.stored) {
			if diff := r.stored[series].Diff(l.Final(series), 1e-12, true); diff != "" {
				err = fmt.Errorf("%s is left in the store as:%s", series, diff)
			}
		}
	})
	return l, err
}

// roomModes are the rules under which TestFacts play the same scenarios.
var roomModes = []struct {
	name string
	more []string
}{
	{"patient", []string{"late: correct", "max_lag: 15m", "max_age: 2h"}},
	{"correct", []string{"late: correct"}},
	{"carry", nil},
}

// TestRoomFacts plays every scenario of one node through the loop of an island,
// undisturbed and killed again and again: the numbers are the same.
func TestRoomFacts(t *testing.T) {
	for _, killed := range []int64{0, 47} {
		for _, mode := range roomModes {
			for _, s := range Scenarios() {
				if s.Nodes != 1 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/killed every %d s", s.Name, mode.name, killed), func(t *testing.T) {
					t.Parallel()
					for at := 21*Second - loopTick; killed > 0 && at < s.Until; at += killed * Second {
						s.Restarts = append(s.Restarts, at)
					}
					l, err := inRoom(t, config(counters, mode.more...), 37*time.Second, func(r *room) (*Ledger, error) { return Play(s, r) })
					if err != nil {
						t.Fatal(err)
					}
					if mode.name == "carry" {
						once(t, s, l)
						return
					}
					if mode.name == "patient" {
						check(t, "increase, as first published", l.First(find(t, l, "increase", s.Group)), s.First, 1e-9, false)
					}
					exact(t, s, l)
				})
			}
		}
	}
}

// TestRoomChecker runs random schedules through the loop: kills between requests,
// around requests and around the store's transactions, a store that hangs, clocks
// that jump, reloads.
func TestRoomChecker(t *testing.T) {
	kills := 0
	for _, seed := range seeds(10, 1000) {
		s := NewSchedule(seed + 50_000)
		text, settle := s.rules()
		l, err := inRoom(t, text, time.Duration(3+seed%40)*time.Second, func(r *room) (*Ledger, error) {
			l, err := run(s, r, settle)
			kills += r.lives
			return l, err
		})
		if err != nil {
			t.Errorf("%s\n%v", s, err)
			continue
		}
		if wrong := verdict(l, Compute(params, s.Scrapes()), s.Ordered); wrong != "" {
			t.Errorf("%s\n%.1500s", s, wrong)
		}
	}
	if kills == 0 {
		t.Error("nothing was killed")
	}
	t.Logf("%d kills", kills)
}
