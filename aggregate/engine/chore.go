package engine

import "slices"

// A chore is done with all that a shard has as of one instant, yet with one chunk of
// records at a time, so that batches wait for one of them only. With what is about to
// change it is done first.
type chore struct {
	do   func(x *chore, n int, c *chunk) // c is nil where there is none
	done []bool                          // by chunk
	left int
}

// beginChore adds a chore; the caller holds the lock. It ends with finish, or before.
func (s *shard) beginChore(do func(x *chore, n int, c *chunk)) {
	n := len(*s.chunks.Load())
	s.chores = append(s.chores, &chore{do: do, done: make([]bool, n), left: n})
}

// finish ends all chores that have begun.
func (s *shard) finish() {
	for n := 0; s.finishSome(n); n++ {
	}
}

// finishSome reports whether there are more chunks.
func (s *shard) finishSome(n int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunkReady(n, nil)
	for _, c := range s.chores {
		more = more || n+1 < len(c.done)
	}
	s.chores = slices.DeleteFunc(s.chores, func(c *chore) bool { return c.left == 0 })
	return more
}

func (e *Engine) finishChores() {
	for _, s := range e.shards {
		s.finish()
	}
}

// chunkReady does the chores of a chunk, those alone that have begun before until if
// that is not nil: a chore calls it for what lies in other chunks than its own. It
// comes before any change of a chunk, or of what belongs to its records.
func (s *shard) chunkReady(n int, until *chore) {
	for _, x := range s.chores {
		if x == until {
			return
		}
		if n >= len(x.done) || x.done[n] {
			continue
		}
		x.done[n] = true
		x.left--
		var c *chunk
		if chunks := *s.chunks.Load(); n < len(chunks) {
			c = chunks[n]
		}
		x.do(x, n, c)
	}
}

// ready does what is being done at leisure for a series that is about to change.
func (s *shard) ready(head uint32) {
	s.chainReady(head, nil)
	if s.imaging != nil {
		s.imaging.takeHome(s, head)
	}
	s.letSeriesGo(head)
}

func (s *shard) chainReady(head uint32, until *chore) {
	for id := head + 1; len(s.chores) > 0 && id != 0; id = s.at(id - 1).next {
		s.chunkReady(int((id-1)/chunkSize), until)
	}
}
