package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/atoll-mesh/atoll/health"
)

// queueCapacity is how many events may wait for the disk.
const queueCapacity = 8192

// File is the history's name in its directory.
const File = "history.db"

// layout is written into the file; another one is put aside.
const layout = 1

type bucketNames struct{ events, open, meta []byte }

// buckets: events: 8 bytes of Unix nanoseconds and 8 of a sequence → event; open:
// fingerprint → Open; meta.
func buckets() bucketNames {
	return bucketNames{[]byte("events"), []byte("open"), []byte("meta")}
}

// Options are what a Store is made from.
type Options struct {
	Config     Config
	Dir        string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// fail, where set, stands between a transaction and its commit.
	fail func() error
}

// Store is the history on disk.
type Store struct {
	path    string
	log     *slog.Logger
	db      *bbolt.DB // nil if the file cannot be used
	unusual error     // why
	b       bucketNames
	fail    func() error
	config  atomic.Pointer[Config]
	bytes   atomic.Int64
	queue   chan Event
	kept    atomic.Int64 // events taken from the queue that are not on disk yet
	flushes chan chan struct{}
	metrics *metrics
	failing *health.Handle
}

// New opens no file; Open does.
func New(o Options) *Store {
	s := &Store{
		path: filepath.Join(o.Dir, File), log: o.Logger, b: buckets(), fail: o.fail,
		queue: make(chan Event, queueCapacity), flushes: make(chan chan struct{}),
		failing: o.Health.Declare(health.Warning{
			Code:     "alert-history-failing",
			Severity: health.SeverityWarning,
			Title:    "the history of alerts cannot be written",
			Remedy:   "Free space on the disk or make the file usable; alerts and notifications go on without it, and what waits is written once it can be.",
		}),
	}
	s.config.Store(&o.Config)
	s.metrics = newMetrics(o.Registerer, s)
	return s
}

// Open opens the file, before anything else is called. One that cannot be used is no
// reason for an island not to alert: it is put aside if it is damaged, and otherwise
// nothing is kept; a warning says which.
func (s *Store) Open() {
	if err := s.open(); err != nil {
		s.unusual = err
		s.failing.Set("%v", err)
		s.log.Error("the history of alerts is not kept", "err", err)
	}
}

// SetConfig changes the bounds.
func (s *Store) SetConfig(c Config) { s.config.Store(&c) }

func (s *Store) open() error {
	db, err := s.try()
	if err == nil {
		s.db = db
		return nil
	}
	held := errors.Is(err, bolterrors.ErrTimeout)
	if held || errors.Is(err, syscall.ENOSPC) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("open the history of alerts %s: %w", s.path, err)
	}
	aside := s.path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	s.log.Error("the history of alerts is damaged, starting a new one", "file", s.path, "kept_as", aside, "err", err)
	if err := os.Rename(s.path, aside); err != nil {
		return fmt.Errorf("put the damaged history of alerts aside: %w", err)
	}
	if s.db, err = s.try(); err != nil {
		return fmt.Errorf("open the history of alerts %s: %w", s.path, err)
	}
	s.failing.Set("%s could not be read and was kept as %s: a new history begins", s.path, aside)
	return nil
}

func (s *Store) try() (*bbolt.DB, error) {
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	if err = db.Update(s.prepare); err == nil {
		err = db.View(s.measure)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (s *Store) prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{s.b.events, s.b.open, s.b.meta} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(s.b.meta)
	switch have := meta.Get([]byte("layout")); {
	case have == nil:
		return meta.Put([]byte("layout"), []byte{layout})
	case len(have) != 1 || have[0] != layout:
		return errors.New("it has the layout of another version")
	}
	return nil
}

func (s *Store) measure(tx *bbolt.Tx) error {
	var size int64
	err := tx.Bucket(s.b.events).ForEach(func(k, v []byte) error {
		size += int64(len(k) + len(v))
		return nil
	})
	s.bytes.Store(size)
	return err
}

func (s *Store) waiting() int { return len(s.queue) + int(s.kept.Load()) }

// Record takes an event over. It never waits.
func (s *Store) Record(e Event) {
	s.metrics.recorded.Inc()
	if s.db == nil {
		s.metrics.dropped.Inc()
		return
	}
	select {
	case s.queue <- e.bounded():
	default:
		s.metrics.dropped.Inc()
	}
}

// Opened lists the alerts that fire, as far as was committed.
func (s *Store) Opened() (out []Open, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(s.b.open).ForEach(func(k, v []byte) error {
			var o Open
			if json.Unmarshal(v, &o) == nil {
				o.Fingerprint = string(k)
				out = append(out, o)
			}
			return nil
		})
	})
	return out, err
}

// ErrUnkept is what is answered where no history is kept.
var ErrUnkept = errors.New("no history of alerts is kept")

func (s *Store) view(f func(tx *bbolt.Tx) error) error {
	if s.db == nil {
		return fmt.Errorf("%w: %w", ErrUnkept, s.unusual)
	}
	err := s.db.View(f)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("%w: the island is stopping", ErrUnkept)
	}
	return err
}

const keySize = 16

func eventKey(at time.Time, sequence uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(max(at.UnixNano(), 0)))
	return binary.BigEndian.AppendUint64(b, sequence)
}
