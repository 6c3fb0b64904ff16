package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/atoll-mesh/atoll/flow/durable"
)

// ErrGone is of a bundle that is not there, or not any more.
var ErrGone = errors.New("there is no such evidence")

// Options is what a store is made of.
type Options struct {
	// Dir is made with the first bundle if it is not there.
	Dir string
	// MaxBytes bounds all bundles together, MaxAge each one's time. Both must be given.
	MaxBytes int64
	MaxAge   time.Duration
	Logger   *slog.Logger
}

// Store keeps bundles. Its methods are safe for concurrent use.
type Store struct {
	dir string
	log *slog.Logger
	mu  sync.Mutex
	// mostBytes and mostAge are as in Options.
	mostBytes int64
	mostAge   time.Duration
	// kept are the bundles, the oldest first.
	kept  []kept
	bytes int64
}

type kept struct {
	id   string
	size int64
	// about is what the bundle is about, read once; nil before.
	about *Manifest
}

const ending = ".zip"

// New opens the store and counts what is there. What a crash left unfinished, and
// what is none of the store's, is removed or left alone.
func New(o Options) (*Store, error) {
	entries, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open evidence: %w", err)
	}
	s := &Store{dir: o.Dir, log: o.Logger, mostBytes: o.MaxBytes, mostAge: o.MaxAge}
	for _, e := range entries {
		id, rest, ok := strings.Cut(e.Name(), ending)
		if _, err := ReadID(id); !ok || err != nil {
			continue
		}
		if rest != "" { // a crash came between
			if err := os.Remove(filepath.Join(o.Dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open evidence: %w", err)
			}
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open evidence: %w", err)
		}
		s.kept = append(s.kept, kept{id: id, size: info.Size()})
		s.bytes += info.Size()
	}
	slices.SortFunc(s.kept, func(a, b kept) int { return cmp.Compare(a.id, b.id) })
	return s, nil
}

// ErrNoRoom is of a bundle for which there is no room on the disk.
var ErrNoRoom = errors.New("there is no room")

// Put keeps a bundle, and lets older ones go for it. A bundle that alone is larger
// than the store is refused, and one of whose size crowded says why it may not be
// written; nil takes all.
func (s *Store) Put(m *Manifest, crowded func(size uint64) string) error {
	content, err := archive(m)
	if err != nil {
		return fmt.Errorf("keep evidence: %w", err)
	}
	size := int64(len(content))
	s.mu.Lock()
	defer s.mu.Unlock()
	if most := min(s.mostBytes, MostArchive); size > most {
		return fmt.Errorf("keep evidence: the bundle has %d bytes, at most %d are kept", size, most)
	}
	at, there := s.find(m.Failure)
	if there {
		return fmt.Errorf("keep evidence: %s is there already", m.Failure)
	}
	if crowded != nil {
		if words := crowded(uint64(size)); words != "" {
			return fmt.Errorf("%w: %s", ErrNoRoom, words)
		}
	}
	if err := durable.Write(s.path(m.Failure), 0o600, content); err != nil {
		return fmt.Errorf("keep evidence: %w", err)
	}
	s.kept = slices.Insert(s.kept, at, kept{id: m.Failure, size: size})
	s.bytes += size
	if n := len(s.kept) - 1 - mostRemembered; n >= 0 {
		s.kept[n].about = nil
	}
	return s.shrink(time.Time{})
}

// Limit changes how much is kept, and for how long, from the next Put or Expire on.
func (s *Store) Limit(mostBytes int64, mostAge time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mostBytes, s.mostAge = mostBytes, mostAge
}

// Expire removes what is older than MaxAge, and what is too much.
func (s *Store) Expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shrink(now.Add(-s.mostAge))
}

// shrink removes the oldest bundles while there are too many bytes, and those from
// before a time.
func (s *Store) shrink(before time.Time) error {
	n := 0
	for n < len(s.kept) && (s.bytes > s.mostBytes || s.time(n).Before(before)) {
		k := s.kept[n]
		if err := os.Remove(s.path(k.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.kept = slices.Delete(s.kept, 0, n)
			return fmt.Errorf("let evidence go: %w", err)
		}
		s.bytes -= k.size
		n++
	}
	s.kept = slices.Delete(s.kept, 0, n)
	return nil
}

func (s *Store) time(n int) time.Time {
	return ulid.Time(ulid.MustParse(s.kept[n].id).Time())
}

// Archive returns a bundle as it is sent and downloaded. The caller closes it.
func (s *Store) Archive(id string) (content io.ReadSeekCloser, size int64, err error) {
	if _, err := ReadID(id); err != nil {
		return nil, 0, fmt.Errorf("evidence %.40q: %w", id, ErrGone)
	}
	f, err := os.Open(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("evidence %q: %w", id, ErrGone)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open evidence: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open evidence: %w", err), f.Close())
	}
	return f, info.Size(), nil
}

// Manifest reads what a bundle is about.
func (s *Store) Manifest(id string) (*Manifest, error) {
	f, size, err := s.Archive(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadManifest(f.(io.ReaderAt), size)
}

// File returns one file of a bundle, at most limit bytes of it.
func (s *Store) File(id, name string, limit int64) ([]byte, error) {
	f, size, err := s.Archive(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Open(f.(io.ReaderAt), size, name, limit)
}

// mostRemembered is of how many bundles the manifests are kept in memory.
const mostRemembered = 4096

// List returns the newest bundles that match, at most limit, the newest first. Of
// those that cannot be read any more it says so in the log. What it returns is
// shared and not to be changed.
func (s *Store) List(limit int, match func(*Manifest) bool) (all []*Manifest) {
	s.mu.Lock()
	bundles := slices.Clone(s.kept)
	s.mu.Unlock()
	for n, k := range slices.Backward(bundles) {
		if len(all) == limit {
			break
		}
		m := k.about
		if m == nil {
			var err error
			m, err = s.Manifest(k.id)
			if errors.Is(err, ErrGone) { // let go meanwhile
				continue
			}
			if err != nil {
				s.log.Warn("evidence cannot be read", "failure", k.id, "err", err)
				continue
			}
			if len(bundles)-n <= mostRemembered {
				s.remember(m)
			}
		}
		if match == nil || match(m) {
			all = append(all, m)
		}
	}
	return all
}

// Since returns the manifests of failures from a time on, the newest first, as List does.
func (s *Store) Since(at time.Time) []*Manifest {
	s.mu.Lock()
	n := 0
	for n < len(s.kept) && !s.time(len(s.kept)-1-n).Before(at) {
		n++
	}
	s.mu.Unlock()
	return s.List(n, nil)
}

func (s *Store) remember(m *Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.find(m.Failure); ok {
		s.kept[at].about = m
	}
}

func (s *Store) find(id string) (at int, ok bool) {
	return slices.BinarySearchFunc(s.kept, id, func(k kept, id string) int { return cmp.Compare(k.id, id) })
}

// Dir is where bundles are kept. It need not be there yet.
func (s *Store) Dir() string { return s.dir }

// Room is how many bundles are kept, and their bytes.
func (s *Store) Room() (bundles int, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept), s.bytes
}

func (s *Store) path(id string) string { return filepath.Join(s.dir, id+ending) }
