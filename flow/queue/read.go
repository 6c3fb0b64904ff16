package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/atoll-mesh/atoll/flow/queue/segment"
)

// source is the consumer's place in a file.
type source struct {
	file   *os.File
	reader *segment.Reader
	first  uint64 // of the segment
	at     uint64 // the entry that reader returns next
	jumps  uint64
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
	*s = source{}
}

// Next waits for the entry after the one returned last. It and Rewind are for
// one goroutine at a time. The error is ctx's, ErrClosed or that of a disk that
// cannot be read now.
func (q *Queue) Next(ctx context.Context) (Entry, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Entry{}, err
		}
		e, ok, err := q.TryNext()
		if ok || err != nil {
			return e, err
		}
		q.mu.Lock()
		wake, ready := q.wake, q.read < q.next || q.closed
		q.mu.Unlock()
		if ready {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
}

// TryNext is Next that does not wait: ok is false where nothing is left to read.
func (q *Queue) TryNext() (e Entry, ok bool, err error) {
	q.reading.Lock()
	defer q.reading.Unlock()
	for {
		p, limit, want, jumps, err := q.locate()
		if err != nil {
			q.source.close()
			return Entry{}, false, err
		}
		if limit == 0 {
			return Entry{}, false, nil
		}
		data, err := q.source.read(q.path(p), p.first, want, jumps, limit)
		q.mu.Lock()
		if jumps != q.jumps { // what was read went meanwhile
			q.mu.Unlock()
			continue
		}
		if lost(err) {
			q.skip(p, err)
			q.mu.Unlock()
			continue
		}
		if err != nil {
			q.mu.Unlock()
			return Entry{}, false, fmt.Errorf("read the queue in %s: %w", q.opts.Dir, err)
		}
		q.read = want + 1
		q.mu.Unlock()
		return Entry{Data: data, Seq: want}, true, nil
	}
}

// lost says whether reading again cannot help.
func lost(err error) bool {
	return errors.Is(err, segment.ErrDamaged) || errors.Is(err, io.EOF) || errors.Is(err, os.ErrNotExist)
}

// locate says which entry comes next and up to which byte its segment may be
// read; 0 where there is none.
func (q *Queue) locate() (p piece, limit int64, want, jumps uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return p, 0, 0, 0, ErrClosed
	}
	for i := range q.pieces {
		if q.read < q.end(i) {
			if first := q.pieces[i].first; q.read < first { // a segment is missing
				q.read = first
			}
			return q.pieces[i], q.pieces[i].size, q.read, q.jumps, nil
		}
	}
	q.read = q.next
	return p, 0, 0, 0, nil
}

// read returns entry want of the segment.
func (s *source) read(path string, first, want, jumps uint64, limit int64) ([]byte, error) {
	if s.file == nil || s.first != first || s.at > want || s.jumps != jumps {
		s.close()
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		*s = source{file: f, reader: segment.NewReader(f), first: first, at: first, jumps: jumps}
	}
	for {
		data, err := s.reader.Next(limit)
		if err != nil {
			return nil, err
		}
		s.at++
		if s.at > want {
			return bytes.Clone(data), nil
		}
	}
}

// skip goes on behind a segment that cannot be read any further.
func (q *Queue) skip(p piece, why error) {
	left := p.size
	if q.source.reader != nil {
		left -= q.source.reader.Offset()
	}
	q.source.close()
	for i := range q.pieces {
		if q.pieces[i].first != p.first {
			continue
		}
		lost := q.end(i) - q.read
		q.log.Error("skipping the unreadable rest of a segment", "file", q.path(p), "entries", lost, "bytes", left, "err", why)
		q.damage(left)
		if i == len(q.pieces)-1 {
			q.endSegment()
		}
		q.moveReadTo(q.read + lost)
		break
	}
	q.show()
}

func (q *Queue) moveReadTo(seq uint64) {
	// Entries before the damage may still be with the consumer: the cursor follows
	// with its next Ack, or at once if there are none.
	if q.cursor.value == q.read {
		q.save(seq)
	}
	q.read = seq
	q.clean()
}

// Ack says that e and every entry before it are done with.
func (q *Queue) Ack(e Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case e.Seq >= q.read:
		return errors.New("BUG: an entry is acknowledged that was not read")
	case e.Seq < q.cursor.value: // dropped meanwhile, or acknowledged with a later one
		return nil
	}
	q.save(e.Seq + 1)
	q.clean()
	if q.over && q.total < int64(q.opts.MaxBytes)/2 {
		q.over = false
		if f := q.opts.Family; f != nil {
			f.overflow.Clear(q.opts.Name)
		}
	}
	q.show()
	return nil
}

// Begin notes on disk, before a delivery that ends with e, that it ends there. A
// receiver that refuses a request in which anything is old refuses the same
// request as a whole when it gets it twice, and loses nothing; had more been added
// to it, that would be lost. So a consumer that repeats a delivery after a crash
// ends it where it ended: see Begun.
func (q *Queue) Begin(e Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.write(q.cursor.value, e.Seq+1)
	return nil
}

// Begun says whether a delivery that begins with e may have been made before, and
// then which entry was its last.
func (q *Queue) Begun(e Entry) (last uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor.flight - 1, e.Seq < q.cursor.flight
}

// Rewind makes Next return again what is not acknowledged.
func (q *Queue) Rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.read = q.cursor.value
	q.jumps++
}
