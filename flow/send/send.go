package send

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/atoll-mesh/atoll/health"
)

// Options is what a Sender needs from the rest of the island.
type Options struct {
	Config Config
	// Dir is the TSDB's directory; its WAL is in Dir/wal.
	Dir string
	// CursorDir holds the cursors; empty means "send" beside Dir.
	CursorDir string
	// Store answers for what has left the WAL.
	Store storage.Queryable
	// Exemplars, if set, is asked for exemplars when a gap is filled.
	Exemplars storage.ExemplarQueryable
	// Retention returns how long the store keeps samples, 0 if without a time
	// limit: what is older is given up. nil is the same as 0.
	Retention func() time.Duration
	// ScrapeManager gives the metadata for remote write 1.0; nil sends none.
	ScrapeManager func() (*scrape.Manager, error)
	Logger        *slog.Logger
	Registerer    prometheus.Registerer
	Health        *health.List
}

// Sender runs one queue per configured remote.
type Sender struct {
	opts        Options
	log         *slog.Logger
	m           *metrics
	reader      *wlog.LiveReaderMetrics
	unreachable *health.Handle
	refusing    *health.Handle
	// start is the end of the WAL when the sender was made: new remotes of the first
	// configuration begin there, those of a later one at the end of the WAL then.
	start position
	// wake tells Run that want changed.
	wake chan struct{}

	mu      sync.Mutex
	want    map[string]*spec
	running map[string]*running
}

// running is one remote at work.
type running struct {
	pump *pump
	stop context.CancelFunc
	done chan struct{}
}

// New checks the options and remembers where the WAL ends. It starts nothing;
// remotes come with Prepare.
func New(opts Options) (*Sender, error) {
	switch {
	case opts.Dir == "":
		return nil, errors.New("send.Options.Dir is empty; give the TSDB's directory")
	case opts.Store == nil:
		return nil, errors.New("send.Options.Store is nil; give the store to fill gaps from")
	case opts.Health == nil:
		return nil, errors.New("send.Options.Health is nil; give the island's list of warnings")
	}
	if opts.Config == (Config{}) {
		opts.Config = Default()
	}
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	if opts.CursorDir == "" {
		opts.CursorDir = filepath.Join(filepath.Dir(filepath.Clean(opts.Dir)), "send")
	}
	if opts.Retention == nil {
		opts.Retention = func() time.Duration { return 0 }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of remote write: %w", err)
	}
	start, err := walEnd(walDir(opts.Dir))
	if err != nil {
		return nil, err
	}
	return &Sender{
		opts: opts, log: opts.Logger, m: m, start: start,
		// Upstream's reader metrics carry fixed names that the TSDB may use too.
		reader:  wlog.NewLiveReaderMetrics(nil),
		wake:    make(chan struct{}, 1),
		running: map[string]*running{},
		unreachable: opts.Health.Declare(health.Warning{
			Code: "send-remote-unreachable", Severity: health.SeverityWarning,
			Title:  "a remote-write receiver does not take samples",
			Remedy: "Check the receiver and the way to it. Samples wait in the store and are sent once it answers, as long as the store keeps them.",
		}),
		refusing: opts.Health.Declare(health.Warning{
			Code: "send-remote-refuses", Severity: health.SeverityWarning,
			Title:  "a remote-write receiver refuses samples for good",
			Remedy: "Read the receiver's answer: it names what it does not accept (credentials, tenant, labels, out-of-order samples). Refused samples are not sent again.",
		}),
	}, nil
}

// Prepare checks the remote_write section and builds every client. commit makes it
// the one that runs; remotes whose entry did not change go on undisturbed.
func (s *Sender) Prepare(cfg *promconfig.Config) (commit, discard func(), err error) {
	if cfg == nil {
		return nil, nil, errors.New("prepare remote write: no configuration was given")
	}
	specs, err := buildSpecs(cfg)
	if err != nil {
		return nil, nil, err
	}
	if len(specs) > 0 {
		if err := os.MkdirAll(s.opts.CursorDir, 0o750); err != nil {
			closeIdle(specs)
			return nil, nil, fmt.Errorf("make the directory for remote write cursors: %w", err)
		}
	}
	return func() { s.commit(specs) }, func() { closeIdle(specs) }, nil
}

func (s *Sender) commit(specs []*spec) {
	now, err := walEnd(walDir(s.opts.Dir))
	if err != nil {
		s.log.Warn("starting new remotes at the beginning of the WAL, as its end is not known", "err", err)
	}
	s.mu.Lock()
	want := make(map[string]*spec, len(specs))
	for _, w := range specs {
		switch old, known := s.want[w.key]; {
		case s.want == nil:
			w.start = s.start
		case known:
			w.start = old.start
		default:
			w.start = now
		}
		want[w.key] = w
	}
	s.want = want
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Notify says that the WAL has new records; see tsdb.DB.SetWriteNotified. It never blocks.
func (s *Sender) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		select {
		case r.pump.notify <- struct{}{}:
		default:
		}
	}
}

var _ wlog.WriteNotified = (*Sender)(nil)

// Run sends until ctx ends, then stops: what is not acknowledged within some
// seconds is sent after the next start.
func (s *Sender) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	defer s.stopAll()
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			retry = s.apply(ctx)
		case <-retry:
			retry = s.apply(ctx)
		case <-ticker.C:
		}
		s.report()
	}
}

// apply starts, changes and stops remotes until they are what is wanted. If one
// could not be started, the channel it returns says when to try again.
func (s *Sender) apply(ctx context.Context) (retry <-chan time.Time) {
	s.mu.Lock()
	want := s.want
	var ending []*running
	for key, r := range s.running {
		old, now := r.pump.spec.Load(), want[key]
		if now != nil && old.hash == now.hash {
			// Only what is behind the entry can have changed: secrets, files.
			if r.pump.spec.Store(now); old != now {
				old.client.CloseIdleConnections()
			}
			continue
		}
		delete(s.running, key)
		ending = append(ending, r)
	}
	s.mu.Unlock()
	s.end(ending)
	keep := map[string]bool{}
	for key := range want {
		keep[key] = true
	}
	if _, err := os.Stat(s.opts.CursorDir); err == nil {
		if err := removeCursors(s.opts.CursorDir, keep); err != nil {
			s.log.Warn("removing the cursors of remotes that are gone did not work", "err", err)
		}
	}
	for key, w := range want {
		s.mu.Lock()
		_, runs := s.running[key]
		s.mu.Unlock()
		if runs {
			continue
		}
		if err := s.begin(ctx, w); err != nil {
			s.log.Error("a remote cannot be started, trying again", "remote", w.name, "after", retryOpen, "err", err)
			retry = time.After(retryOpen)
		}
	}
	return retry
}

func (s *Sender) begin(ctx context.Context, w *spec) error {
	p, err := s.newPump(w)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &running{pump: p, stop: stop, done: make(chan struct{})}
	s.mu.Lock()
	s.running[w.key] = r
	s.mu.Unlock()
	stopMetadata := p.watchMetadata(s.opts.ScrapeManager)
	go func() {
		defer close(r.done)
		if err := p.run(ctx); err != nil {
			p.log.Error("closing the remote write cursor did not work", "err", err)
		}
		stopMetadata()
	}()
	return nil
}

// openCursor opens the remote's cursor; one that cannot be read is set aside.
func (s *Sender) openCursor(w *spec) (*cursor, *state, error) {
	path := cursorPath(s.opts.CursorDir, w.key)
	c, st, err := openCursor(path)
	if !errors.Is(err, errDamaged) {
		return c, st, err
	}
	s.log.Error("starting a remote at the present, as its cursor is damaged", "remote", w.name, "kept", path+".damaged", "err", err)
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, nil, fmt.Errorf("set a damaged cursor aside: %w", err)
	}
	return openCursor(path)
}

func (s *Sender) newPump(w *spec) (*pump, error) {
	c, st, err := s.openCursor(w)
	if err != nil {
		return nil, err
	}
	if st == nil {
		st = &state{Version: stateV1, Created: time.Now().UnixMilli()}
		st.resetShards(min(w.config.QueueConfig.MinShards, maxShards), w.start)
	}
	st.Name, st.URL = w.name, w.config.URL.Redacted()
	// From here on a crash does not move the place where the remote begins.
	if err := errors.Join(c.save(st), c.sync()); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	p := &pump{
		name: w.name, key: w.key, dir: s.opts.CursorDir, wal: walDir(s.opts.Dir),
		log: s.log.With("remote", w.name, "url", w.config.URL.Redacted()),
		m:   s.m, reader: s.reader, store: s.opts.Store, exs: s.opts.Exemplars, retention: s.opts.Retention,
		rate:   &pace{perSecond: s.opts.Config.BackfillSamplesPerSecond},
		notify: make(chan struct{}, 1), progress: make(chan struct{}, 1),
		idle: 100 * time.Millisecond, state: st, cursor: c,
	}
	p.spec.Store(w)
	p.m.filling.WithLabelValues(w.name).Set(0)
	return p, nil
}

func (s *Sender) stopAll() {
	s.mu.Lock()
	ending := slices.Collect(maps.Values(s.running))
	clear(s.running)
	s.mu.Unlock()
	s.end(ending)
	s.unreachable.Clear()
	s.refusing.Clear()
}

// end stops remotes side by side.
func (s *Sender) end(all []*running) {
	for _, r := range all {
		r.stop()
	}
	for _, r := range all {
		<-r.done
		r.pump.spec.Load().client.CloseIdleConnections()
		s.m.forget(r.pump.name)
	}
}

// report sets or clears the warnings.
func (s *Sender) report() {
	// Notify must not wait for a remote that is writing its cursor.
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.running))
	s.mu.Unlock()
	var down, refused []string
	after := time.Duration(s.opts.Config.UnreachableAfter)
	for _, r := range all {
		v, failing, refusedAt, last := r.pump.status()
		if !failing.IsZero() && time.Since(failing) >= after {
			down = append(down, s.describe(r.pump, v, failing, last))
		}
		if !refusedAt.IsZero() && time.Since(refusedAt) < after {
			refused = append(refused, fmt.Sprintf("%s (%s): %s", r.pump.name, r.pump.state.URL, last))
		}
	}
	set(s.unreachable, down)
	set(s.refusing, refused)
}

func set(h *health.Handle, lines []string) {
	if len(lines) == 0 {
		h.Clear()
		return
	}
	slices.Sort(lines)
	h.Set("%s", strings.Join(lines, "\n"))
}

func (s *Sender) describe(p *pump, v view, failing time.Time, last string) string {
	text := fmt.Sprintf("%s (%s) since %s: %s", p.name, p.state.URL, failing.UTC().Format(time.RFC3339), last)
	if v.owed == 0 {
		return text
	}
	owed := time.UnixMilli(v.owed)
	text += fmt.Sprintf("; %s behind", time.Since(owed).Round(time.Second))
	if keep := s.opts.Retention(); keep > 0 {
		text += ", oldest unsent samples kept until " + owed.Add(keep).UTC().Format(time.RFC3339)
	}
	return text
}
