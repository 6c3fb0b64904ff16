package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/flow/durable"
)

// state is what the island remembers of its uploads, in one small file. It saves
// requests; what it says is in the bucket too, as long as nothing was deleted
// there: a compaction there removes a block and names it as a source.
type state struct {
	path string

	mu sync.Mutex
	s  saved
}

type saved struct {
	// Target is where to; for another one nothing is uploaded yet.
	Target string `json:"target"`
	// Uploaded maps each source that is in the bucket to those that it stands for:
	// a block that was rewritten without deleted samples stands for its parent.
	Uploaded map[ulid.ULID][]ulid.ULID `json:"uploaded"`
	// Begun are the blocks whose upload began and did not end.
	Begun []ulid.ULID `json:"begun,omitempty"`
}

// load reads the state of a target; without a file, or with a damaged one, it is
// empty, and what is in the bucket tells.
func (s *state) load(target string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := os.ReadFile(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what was uploaded: %w", err)
	}
	var next saved
	if err == nil && json.Unmarshal(text, &next) != nil || next.Target != target {
		next = saved{}
	}
	next.Target = target
	if next.Uploaded == nil {
		next.Uploaded = map[ulid.ULID][]ulid.ULID{}
	}
	s.s = next
	return nil
}

// retarget begins anew where the target is another one.
func (s *state) retarget(target string) error {
	s.mu.Lock()
	same := s.s.Target == target
	s.mu.Unlock()
	if same {
		return nil
	}
	return s.load(target)
}

// save replaces the file; the caller holds the lock.
func (s *state) save() error {
	text, err := json.MarshalIndent(s.s, "", "\t")
	if err != nil {
		return err
	}
	if err := durable.Write(s.path, 0o644, text); err != nil {
		return fmt.Errorf("write what was uploaded: %w", err)
	}
	return nil
}

// has reports whether all samples of a block are in the target.
func (s *state) has(target string, m tsdb.BlockMeta) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.Target == target && s.all(m.Compaction.Sources)
}

func (s *state) all(sources []ulid.ULID) bool {
	for _, id := range sources {
		if _, ok := s.s.Uploaded[id]; !ok {
			return false
		}
	}
	return len(sources) > 0
}

// standsFor are the sources of the bucket whose samples a local block has.
func (s *state) standsFor(m tsdb.BlockMeta) []ulid.ULID {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(m.Compaction.Sources)
	for _, id := range m.Compaction.Sources {
		out = append(out, s.s.Uploaded[id]...)
	}
	return out
}

// begin notes a block before its first byte is sent.
func (s *state) begin(id ulid.ULID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.s.Begun, id) {
		return nil
	}
	s.s.Begun = append(s.s.Begun, id)
	return s.save()
}

// finish notes that all of a block is in the bucket.
func (s *state) finish(m tsdb.BlockMeta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range m.Compaction.Sources {
		if _, ok := s.s.Uploaded[id]; !ok {
			s.s.Uploaded[id] = nil
		}
	}
	s.s.Begun = slices.DeleteFunc(s.s.Begun, func(id ulid.ULID) bool { return id == m.ULID })
	return s.save()
}

// drop forgets a block that was begun.
func (s *state) drop(id ulid.ULID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Begun = slices.DeleteFunc(s.s.Begun, func(b ulid.ULID) bool { return b == id })
	return s.save()
}

func (s *state) begun() []ulid.ULID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.s.Begun)
}

// learn takes what the bucket shows and what the TSDB made of its blocks since,
// and forgets what no local block has any more.
func (s *state) learn(local []tsdb.BlockMeta, there map[ulid.ULID]bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[ulid.ULID][]ulid.ULID{}
	known := func(id ulid.ULID) bool {
		_, ok := s.s.Uploaded[id]
		return ok || there[id]
	}
	for _, m := range local {
		for _, id := range m.Compaction.Sources {
			if known(id) {
				next[id] = s.s.Uploaded[id]
			}
		}
		from := parentsOf(m)
		if !rewritten(m) {
			from = m.Compaction.Sources
		}
		if _, ok := next[m.ULID]; ok || len(from) == 0 || slices.ContainsFunc(from, func(id ulid.ULID) bool { return !known(id) }) {
			continue
		}
		// Noted for merged blocks too: the next one may be this one rewritten.
		stands := slices.Clone(from)
		for _, id := range from {
			stands = append(stands, s.s.Uploaded[id]...)
		}
		next[m.ULID] = stands
	}
	same := func(a, b []ulid.ULID) bool { return len(a) == len(b) }
	if maps.EqualFunc(next, s.s.Uploaded, same) {
		return nil
	}
	s.s.Uploaded = next
	return s.save()
}

// rewritten reports whether a block was made of one other to leave out deleted
// samples: it is its own only source, but has a parent.
func rewritten(m tsdb.BlockMeta) bool {
	return len(m.Compaction.Sources) == 1 && m.Compaction.Sources[0] == m.ULID && len(m.Compaction.Parents) > 0
}
