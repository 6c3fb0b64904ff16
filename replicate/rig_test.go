package replicate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// disk is a TSDB in a directory, as an island's store or as that of a copy.
type disk struct {
	dir   string
	late  time.Duration
	keep  time.Duration
	db    atomic.Pointer[tsdb.DB]
	ready chan struct{}
}

func newDisk(dir string, late, keep time.Duration) *disk {
	return &disk{dir: dir, late: late, keep: keep, ready: make(chan struct{})}
}

func (d *disk) Run(ctx context.Context) error {
	o := tsdb.DefaultOptions()
	o.OutOfOrderTimeWindow = d.late.Milliseconds()
	o.RetentionDuration = d.keep.Milliseconds()
	o.NoLockfile = true
	db, err := tsdb.Open(d.dir, slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		return err
	}
	d.db.Store(db)
	close(d.ready)
	<-ctx.Done()
	return db.Close()
}

func (d *disk) Ready() <-chan struct{} { return d.ready }
func (d *disk) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return d.db.Load().AppenderV2(ctx)
}
func (d *disk) NumSeries() uint64 { return d.db.Load().Head().NumSeries() }
func (d *disk) Span() (oldest, newest int64) {
	db := d.db.Load()
	if db == nil || db.Head().MinTime() > db.Head().MaxTime() {
		return 0, 0
	}
	return db.Head().MinTime(), db.Head().MaxTime()
}

func (d *disk) Querier(mint, maxt int64) (storage.Querier, error) {
	if db := d.db.Load(); db != nil {
		return db.Querier(mint, maxt)
	}
	return nil, flow.ErrUnavailable
}

func (d *disk) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return d.db.Load().ChunkQuerier(mint, maxt)
}

// pipe is one link.
type pipe struct {
	ctx  context.Context
	end  context.CancelCauseFunc
	up   chan *replicatepb.Push
	down chan *replicatepb.Reply
}

type senderEnd struct{ *pipe }

func (p senderEnd) Send(m *replicatepb.Push) error     { return put(p.ctx, p.up, m) }
func (p senderEnd) Recv() (*replicatepb.Reply, error)  { return get(p.ctx, p.down) }
func (p receiverEnd) Send(m *replicatepb.Reply) error  { return put(p.ctx, p.down, m) }
func (p receiverEnd) Recv() (*replicatepb.Push, error) { return get(p.ctx, p.up) }
func (p receiverEnd) Context() context.Context         { return p.ctx }
func put[T any](ctx context.Context, c chan T, m T) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case c <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func get[T any](ctx context.Context, c chan T) (m T, err error) {
	if ctx.Err() != nil {
		return m, context.Cause(ctx)
	}
	select {
	case m = <-c:
		return m, nil
	case <-ctx.Done():
		return m, context.Cause(ctx)
	}
}

type receiverEnd struct{ *pipe }

var errCut = errors.New("the link is cut")

// world is an origin with its store, and a receiver.
type world struct {
	t      *testing.T
	late   time.Duration
	config Config

	fleet   *fleet.Fleet
	targets []*fleet.Target
	refs    map[*fleet.Target][]storage.SeriesRef

	origin, receiver *isle

	mu    sync.Mutex
	cut   bool
	pipes []*pipe
	bytes atomic.Int64
	gone  atomic.Pointer[time.Time]
	fuse  atomic.Int64 // messages until the link breaks; 0 for never
}

// isle is one running side.
type isle struct {
	dir   string
	store *disk
	r     *Replicator
	reg   *prometheus.Registry
	stop  func() error
	tap   storage.AppendableV2
}

func newWorld(t *testing.T, streams ...Stream) *world {
	w := &world{t: t, config: Config{Streams: streams, Receive: Default().Receive}, refs: map[*fleet.Target][]storage.SeriesRef{}}
	w.fleet = fleet.New(1, time.Now().UnixMilli())
	w.targets = append(w.fleet.Targets[:1:1], w.fleet.Targets[12:14]...)
	return w
}

func (w *world) begin() {
	w.receiver = w.start(w.t.TempDir(), Default())
	w.origin = w.start(w.t.TempDir(), w.config)
}

func (w *world) start(dir string, cfg Config) *isle {
	w.t.Helper()
	i := &isle{dir: dir, store: newDisk(filepath.Join(dir, "tsdb"), w.late, 0), reg: prometheus.NewRegistry()}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	i.r, err = New(Options{
		Config: cfg, Dir: filepath.Join(dir, "replicate"), Store: i.store,
		OpenStore: func(dir string, keep time.Duration, _ flow.Bytes) (CopyStore, error) {
			return newDisk(dir, 24*time.Hour, keep), nil
		},
		Members: func() (Member, []Member, bool) {
			return Member{ID: "o@1", Name: "origin", Labels: map[string]string{"region": "eu"}},
				[]Member{{ID: "r@1", Name: "receiver", Role: "admin", Labels: map[string]string{"region": "us"}}}, true
		},
		Dial:     w.dial,
		External: func() labels.Labels { return labels.FromStrings("region", "eu") },
		Late:     func() time.Duration { return w.late },
		Gone: func(string) (time.Time, bool) {
			if at := w.gone.Load(); at != nil {
				return *at, true
			}
			return time.Time{}, false
		},
		Retention:  func() time.Duration { return 24 * time.Hour },
		Registerer: i.reg,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	i.tap = i.r.Tap(i.store)
	done := make(chan error, 2)
	go func() { done <- i.store.Run(ctx) }()
	select {
	case <-i.store.ready:
	case err := <-done:
		w.t.Fatal(err)
	}
	go func() { done <- i.r.Run(ctx) }()
	i.stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, <-done)
	})
	return i
}

func (w *world) dial(ctx context.Context, to Member) (Pushes, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, errCut
	}
	p := &pipe{up: make(chan *replicatepb.Push, 4), down: make(chan *replicatepb.Reply, 4)}
	p.ctx, p.end = context.WithCancelCause(ctx)
	w.pipes = append(w.pipes, p)
	r := w.receiver.r
	go func() { p.end(r.Receive(Origin{"o@1", "origin"}, counting{receiverEnd{p}, w})) }()
	return senderEnd{p}, nil
}

// counting counts the bytes of frames that arrive.
type counting struct {
	receiverEnd
	w *world
}

func (c counting) Send(m *replicatepb.Reply) error {
	if c.w.fuse.Add(-1) == 0 {
		c.end(errCut)
		return errCut
	}
	return c.receiverEnd.Send(m)
}

func (c counting) Recv() (*replicatepb.Push, error) {
	m, err := c.receiverEnd.Recv()
	c.w.bytes.Add(int64(len(m.GetFrame())))
	if c.w.fuse.Add(-1) == 0 {
		c.end(errCut)
		return nil, errCut
	}
	return m, err
}

// sever breaks all links; with stay set no new one comes about.
func (w *world) sever(stay bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = stay
	for _, p := range w.pipes {
		p.end(errCut)
	}
	w.pipes = nil
}

// scrape stores a round of scrapes, and lets the interval pass.
func (w *world) scrape(rounds int) {
	w.t.Helper()
	for range rounds {
		for _, target := range w.targets {
			w.fleet.Scrape(target)
			app := w.origin.tap.AppenderV2(context.Background())
			refs := w.refs[target]
			if refs == nil {
				refs = make([]storage.SeriesRef, len(target.Labels))
				w.refs[target] = refs
			}
			for k, v := range target.Values {
				ref, err := app.Append(refs[k], target.Labels[k], 0, target.T, v, nil, nil, storage.AOptions{})
				if err != nil {
					w.t.Fatal(err)
				}
				refs[k] = ref
			}
			if err := app.Commit(); err != nil {
				w.t.Fatal(err)
			}
		}
		time.Sleep(fleet.IntervalMs * time.Millisecond)
	}
}

// settle waits until the receiver has everything, and compares.
func (w *world) settle() {
	w.t.Helper()
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	want, got := dump(w.t, w.origin.store), dump(w.t, w.copy())
	if err := equal(want, got); err != nil {
		w.t.Fatalf("the copy differs: %v; streams %+v", err, w.origin.r.Streams())
	}
}

func (w *world) copy() CopyStore {
	w.t.Helper()
	all := w.receiver.r.Copies()
	if len(all) != 1 {
		w.t.Fatalf("%d copies, want 1; streams %+v", len(all), w.origin.r.Streams())
	}
	return all[0].Store
}

type point struct {
	t    int64
	bits uint64
	text string // of a histogram
}

// dump reads every sample with every duplicate that chunks hold.
func dump(t *testing.T, s Store) map[string][]point {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	all := map[string][]point{}
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".*"))
	for set.Next() {
		it := set.At().Iterator(nil)
		var ps []point
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			switch kind {
			case chunkenc.ValFloat:
				at, v := it.At()
				ps = append(ps, point{t: at, bits: math.Float64bits(v)})
			case chunkenc.ValHistogram:
				at, h := it.AtHistogram(nil)
				ps = append(ps, point{t: at, text: h.String()})
			case chunkenc.ValFloatHistogram:
				at, h := it.AtFloatHistogram(nil)
				ps = append(ps, point{t: at, text: h.String()})
			}
		}
		all[set.At().Labels().String()] = ps
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all
}

// samples is how many the origin has.
func (w *world) samples() (n int) {
	w.t.Helper()
	for _, ps := range dump(w.t, w.origin.store) {
		n += len(ps)
	}
	return n
}

func equal(want, got map[string][]point) error {
	n := 0
	for ls, ps := range want {
		have := got[ls]
		for i := range ps {
			if i >= len(have) || have[i] != ps[i] {
				return fmt.Errorf("series %s: %d samples, want %d; the first difference is at %d: %v, want %v", ls, len(have), len(ps), i, at(have, i), ps[i])
			}
		}
		if len(have) != len(ps) {
			return fmt.Errorf("series %s: %d samples, want %d", ls, len(have), len(ps))
		}
		n += len(ps)
	}
	if len(want) != len(got) || n == 0 {
		return fmt.Errorf("%d series, want %d, of %d samples", len(got), len(want), n)
	}
	return nil
}

func at(ps []point, i int) any {
	if i < len(ps) {
		return ps[i]
	}
	return "none"
}

// killed is what kill -9 leaves of a directory.
func killed(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was replaced meanwhile
		} else if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// crash ends a side as kill -9 does, and starts it again.
func (w *world) crash(i *isle, cfg Config) {
	w.t.Helper()
	dir := killed(w.t, i.dir)
	w.sever(true)
	if err := i.stop(); err != nil {
		w.t.Fatal(err)
	}
	next := w.start(dir, cfg)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = false; i == w.receiver {
		w.receiver = next
	} else {
		w.origin = next
		clear(w.refs)
	}
}

func (w *world) stop() {
	w.t.Helper()
	w.sever(true)
	if err := errors.Join(w.origin.stop(), w.receiver.stop()); err != nil {
		w.t.Error(err)
	}
}
