package global

import "sync"

// room is the memory for the answers to one query.
type room struct {
	most int64

	mu   sync.Mutex
	left int64
}

// newRoom returns nil, which has no bounds, for 0 bytes.
func newRoom(bytes int64) *room {
	if bytes <= 0 {
		return nil
	}
	return &room{most: bytes, left: bytes}
}

// share is for one answer: half of the room at most, so that no island alone
// can take what the others need.
func (r *room) share() *Share {
	if r == nil {
		return nil
	}
	return &Share{room: r, left: r.most / 2}
}

// NewShare returns a share that is a room of its own.
func NewShare(bytes int64) *Share { return &Share{room: newRoom(bytes), left: bytes} }

// Share is the memory for one island's answer. A nil Share has no bounds.
type Share struct {
	room *room
	left int64 // guarded by room.mu
}

// Take takes bytes. Its error is a *Fault of kind FaultLimit.
func (s *Share) Take(bytes int64) error {
	return s.With(func(int64) (int64, error) { return bytes, nil })
}

// With has do make something of at most left bytes, and takes what do says that
// it used; left is below 0 where there is no bound. Answers to one query are made
// one after the other.
func (s *Share) With(do func(left int64) (used int64, err error)) error {
	if s == nil {
		_, err := do(-1)
		return err
	}
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	left := min(s.left, s.room.left)
	used, err := do(left)
	if err != nil {
		return err
	}
	if used > left {
		return s.tooMuch()
	}
	s.left -= used
	s.room.left -= used
	return nil
}

func (s *Share) tooMuch() error {
	return fault(FaultLimit, "query would hold answers of more than %d bytes in memory, of which one island may take half: "+
		"ask for a coarser step or a shorter time, or aggregate, or raise the limit", s.room.most)
}

// TooMuch is the error of something that needs more than is left of the share.
func (s *Share) TooMuch() error {
	if s == nil {
		return fault(FaultLimit, "the answer does not fit")
	}
	return s.tooMuch()
}
