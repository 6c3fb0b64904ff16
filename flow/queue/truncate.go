package queue

import (
	"errors"
	"fmt"
	"os"

	"github.com/atoll-mesh/atoll/flow/queue/segment"
)

// End is the number of the next entry that is put.
func (q *Queue) End() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next
}

// Truncate takes back the entries from number end on, for a producer that begins
// again from where it was when End said so. What is acknowledged stays so, and the
// next Put has the number end, or the first that is not acknowledged.
func (q *Queue) Truncate(end uint64) error {
	q.reading.Lock()
	defer q.reading.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if end = max(end, q.cursor.value); end >= q.next {
		return nil
	}
	q.endSegment()
	q.source.close()
	for n := len(q.pieces) - 1; n >= 0 && q.next > end; n-- {
		p := &q.pieces[n]
		if q.next = max(end, p.first); q.next == p.first {
			q.removePiece(n)
			continue
		}
		size, err := q.offset(*p, end)
		if err == nil {
			err = os.Truncate(q.path(*p), size)
		}
		if err != nil {
			return fmt.Errorf("truncate the queue in %s: %w", q.opts.Dir, err)
		}
		q.total -= p.size - size
		p.size = size
	}
	q.read = min(q.read, q.next)
	q.jumps++
	q.show()
	return nil
}

// offset is where entry end of a segment begins.
func (q *Queue) offset(p piece, end uint64) (at int64, err error) {
	at = segment.Header
	left := end - p.first
	done := errors.New("there")
	_, _, _, err = segment.Scan(q.path(p), func(content []byte) error {
		if left == 0 {
			return done
		}
		left--
		at += segment.FrameHeader + int64(len(content))
		return nil
	})
	if errors.Is(err, done) {
		err = nil
	}
	return at, err
}
