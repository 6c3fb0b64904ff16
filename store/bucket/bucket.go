package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/health"
)

// Options is what a bucket is made of. Logger, Registerer and Health may be nil.
type Options struct {
	Config Config
	// Labels are the external labels, which tell this island's blocks from those of
	// others.
	Labels map[string]string
	// Blocks are the TSDB's blocks at the moment, and StoreDir is where they lie.
	Blocks   func() ([]tsdb.BlockMeta, error)
	StoreDir string
	// Dir is the bucket's own directory, for its notes and its cache.
	Dir string
	// Pressed reports whether the disk is so full that what waits for its upload
	// must not hold back deletions any more, and nothing is cached. Nil never.
	Pressed    func() bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

// Bucket is the store's other place. All methods are safe for concurrent use.
type Bucket struct {
	o     Options
	log   *slog.Logger
	m     *metrics
	warn  *warnings
	cur   atomic.Pointer[place]
	kick  chan struct{}
	state *state
	cache *cache

	mu   sync.Mutex // one round at a time
	view atomic.Pointer[view]
	now  func() time.Time
}

// place is one configuration with its connection; objects is nil for none.
type place struct {
	cfg    Config
	labels map[string]string
	objects
}

// New checks the configuration and prepares a bucket. It reads the secret key and
// the certificates, and nothing else.
func New(o Options) (*Bucket, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	if o.Pressed == nil {
		o.Pressed = func() bool { return false }
	}
	p, err := newPlace(o.Config, o.Labels)
	if err != nil {
		return nil, err
	}
	b := &Bucket{
		o: o, log: o.Logger, m: newMetrics(o.Registerer), warn: declare(o.Health), kick: make(chan struct{}, 1),
		state: &state{path: filepath.Join(o.Dir, "uploads.json")}, now: time.Now,
	}
	b.cache = newCache(filepath.Join(o.Dir, "cache"), b)
	b.cur.Store(p)
	b.view.Store(&view{})
	return b, b.state.load(p.cfg.target())
}

func newPlace(c Config, labels map[string]string) (*place, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &place{cfg: c, labels: maps.Clone(labels)}
	if c.Type == None {
		return p, nil
	}
	if len(labels) == 0 {
		return nil, errors.New("bucket.type: blocks need an external label that says whose they are; set island.name or prometheus.global.external_labels")
	}
	if c.Type == Filesystem {
		p.objects = directory{c.Directory, filepath.Join(c.Directory, filepath.FromSlash(c.Prefix))}
		return p, nil
	}
	s, err := newS3(c)
	if err != nil {
		return nil, err
	}
	p.objects = s
	return p, nil
}

func (p *place) none() bool { return p.objects == nil }

// idle closes connections that nobody uses.
func (p *place) idle() {
	if s, ok := p.objects.(*s3); ok {
		s.transport.CloseIdleConnections()
	}
}

// Prepare checks a new configuration and new external labels; commit puts them in
// force. What is being sent goes on to where it was begun.
func (b *Bucket) Prepare(next Config, labels map[string]string) (commit, discard func(), err error) {
	p, err := newPlace(next, labels)
	if err != nil {
		return nil, nil, err
	}
	return func() {
		old := b.cur.Swap(p)
		b.keepView(old, p)
		old.idle()
		b.Kick()
	}, func() {}, nil
}

// keepView spares the new configuration of the same place a look from nothing.
func (b *Bucket) keepView(old, next *place) {
	v := b.view.Load()
	if v.place != old || old.cfg.target() != next.cfg.target() || !maps.Equal(old.labels, next.labels) ||
		!slices.EqualFunc(old.cfg.AlsoRead, next.cfg.AlsoRead, maps.Equal) {
		return
	}
	kept := *v
	kept.place = next
	b.view.CompareAndSwap(v, &kept)
}

// Kick looks for new blocks now.
func (b *Bucket) Kick() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Run uploads until ctx ends. Errors of the storage are told by metrics and a
// warning; it tries again.
func (b *Bucket) Run(ctx context.Context) error {
	if err := b.cache.clear(); err != nil {
		return fmt.Errorf("clear the cache of the bucket: %w", err)
	}
	defer b.cache.close()
	defer func() { b.cur.Load().idle() }()
	for {
		b.runRound(ctx)
		t := time.NewTimer(time.Duration(b.cur.Load().cfg.Interval))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-b.kick:
			t.Stop()
		case <-t.C:
		}
	}
}

func (b *Bucket) runRound(ctx context.Context) {
	p := b.cur.Load()
	if p.none() {
		b.warn.upload.Clear()
		b.m.waiting.Set(0)
		b.view.Store(&view{})
		return
	}
	err := b.round(ctx, p)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		b.m.rounds.WithLabelValues("failed").Inc()
		b.warn.upload.Set("%v", err)
		b.log.Warn("bucket", "err", err)
	default:
		b.m.rounds.WithLabelValues("ok").Inc()
		b.warn.upload.Clear()
		b.m.lastOK.Set(float64(b.now().Unix()))
	}
}

// Uploaded reports whether all samples of a block are in the bucket, or nobody
// asks for that.
func (b *Bucket) Uploaded(m tsdb.BlockMeta) bool {
	p := b.cur.Load()
	return p.none() || m.Stats.NumSamples == 0 || b.state.has(p.cfg.target(), m)
}

// Deletable reports whether the TSDB may delete a block that is beyond its
// retention: once it is uploaded, and before that only to keep the disk from
// filling up, which is counted.
func (b *Bucket) Deletable(m tsdb.BlockMeta) bool {
	if b.Uploaded(m) {
		return true
	}
	if !b.o.Pressed() {
		return false
	}
	b.m.lost.Inc()
	b.warn.lost.Set("block %s (%s to %s) was deleted before it was uploaded: the disk is nearly full", m.ULID, stamp(m.MinTime), stamp(m.MaxTime))
	b.log.Error("block deleted before its upload", "block", m.ULID, "mint", m.MinTime, "maxt", m.MaxTime)
	return true
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
