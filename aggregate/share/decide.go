package share

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// Journal keeps the notes of what this island decided to publish, so that they
// survive its death.
type Journal interface {
	// Append is given a note before its values go anywhere. Notes since the last
	// Snapshot come back with Replay, in order; the frame is the caller's again
	// afterwards. An error says that a death would forget the note.
	Append(frame []byte) error
}

// noteKind is the first byte of a note, one of these the second.
const (
	noteKind = 0x80

	noteBatch = 1 // a batch follows, packed
	noteTaken = 2 // the values of the batch before have left
	noteOwed  = 3 // those that are not owed have

	// bytesPerNote is where a batch ends, before it is packed.
	bytesPerNote = 1 << 20
)

// IsNote reports whether a frame of a journal is a note of a Share.
func IsNote(frame []byte) bool { return len(frame) > 0 && frame[0] == noteKind }

// batch is what is published at a time. It is decided: until its samples were taken
// it is offered as it is, also by the next life of this island, and nothing else is.
type batch struct {
	samples []partial.Sample
	done    []func() // once they were taken
	// note says the same as samples: the number of the batch, which rises, and for each
	// window of a rule a framed piece.
	note  []byte
	piece int // where the present piece begins
	noted bool
	owed  []owed
}

// owed is what another island may have published in a higher revision, since this
// one died between its note and the word that its values have left.
type owed struct {
	rs  *ruleState
	end int64
	*verdict
}

// begin makes a batch, with memory for its note.
func begin(number uint64, scratch []byte) *batch {
	return &batch{note: binary.LittleEndian.AppendUint64(scratch[:0], number)}
}

func (b *batch) number() uint64 { return binary.LittleEndian.Uint64(b.note) }

// full: what is left goes with the next one.
func (b *batch) full() bool { return len(b.note) >= bytesPerNote }

// verdict is what is published of a group in a window.
type verdict struct {
	labels   labels.Labels
	first    bool // the window is published for the first time
	revision uint32
	acc      partial.Acc
	total    *partial.Acc // nil: the cumulative outputs are left out
}

// window begins the piece of a window.
func (b *batch) window(rs *ruleState, end int64, apart bool) {
	b.piece = len(b.note)
	b.note = binary.LittleEndian.AppendUint64(append(b.note, 0, 0, 0, 0), rs.rule.Hash)
	b.note = append(binary.AppendVarint(b.note, end), bit(apart))
	b.measure()
}

// measure ends the piece where the note ends.
func (b *batch) measure() {
	binary.LittleEndian.PutUint32(b.note[b.piece:], uint32(len(b.note)-b.piece-4))
}

// add decides a group of the window that was begun last.
func (b *batch) add(rs *ruleState, end int64, x *verdict) {
	n := appendLabels(b.note, x.labels)
	n = append(binary.AppendUvarint(n, uint64(x.revision)), bit(x.first)|bit(x.total != nil)<<1)
	n = partial.AppendAcc(n, rs.rule.Needs(), end, &x.acc)
	if x.total != nil {
		n = partial.AppendAcc(n, rs.cum, 0, x.total)
	}
	b.note = n
	b.measure()
	b.samples = owner.Render(b.samples, rs.rule, x.labels, end, x.revision, &x.acc, x.total)
}

func (d *decoder) verdict(end int64) *verdict {
	x := &verdict{labels: d.labels(), revision: uint32(d.upTo(math.MaxUint32))}
	flags := d.byte()
	x.first = flags&1 != 0
	x.acc = d.acc(end)
	if flags&2 != 0 {
		a := d.acc(0)
		x.total = &a
	}
	return x
}

// record has the journal keep a batch.
func (s *Share) record(b *batch) {
	if b.noted || s.o.Journal == nil || len(b.samples) == 0 {
		return
	}
	b.noted = true
	s.packed = s.codec.enc.EncodeAll(b.note, append(s.packed[:0], noteKind, noteBatch))
	s.append(s.packed)
}

// append gives a note to the journal. What that cannot keep is published all the
// same, as aggregation goes on where it keeps nothing else.
func (s *Share) append(note []byte) {
	if s.o.Journal == nil {
		return
	}
	s.m.noteBytes.Add(float64(len(note)))
	if err := s.o.Journal.Append(note); err != nil {
		s.log.Debug("what is published is not in the journal", "err", err)
	}
}

// offer hands out what is decided.
func (s *Share) offer(ctx context.Context, b *batch) error {
	s.record(b)
	if len(b.samples) > 0 {
		if err := s.o.Publish(ctx, b.samples); err != nil {
			return err
		}
	}
	switch {
	case len(b.owed) > 0:
		s.append([]byte{noteKind, noteOwed})
	case len(b.samples) > 0:
		s.append([]byte{noteKind, noteTaken})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decided, s.note = nil, b.note[:0]
	for _, f := range b.done {
		f()
	}
	s.m.samples.Add(float64(len(b.samples)))
	return nil
}

// Replay takes a note that the journal kept since the snapshot that was restored.
// It comes after Restore, if there was a snapshot, and before Run.
func (s *Share) Replay(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(frame) < 2 || frame[0] != noteKind {
		return fmt.Errorf("reading a note of what was published: %d bytes are none", len(frame))
	}
	switch frame[1] {
	case noteTaken:
		s.left()
	case noteOwed:
		s.decided = nil
	case noteBatch:
		note, err := s.codec.unpack(frame[2:])
		if err == nil {
			err = s.restoreNote(note)
		}
		if err != nil {
			return fmt.Errorf("reading a note of what was published: %w", err)
		}
	default:
		return fmt.Errorf("reading a note of what was published: kind %d, want 1 to 3; it is of a newer version", frame[1])
	}
	return nil
}

// left: the values of what is decided left in the life before.
func (s *Share) left() {
	if s.decided == nil {
		return
	}
	for _, x := range s.decided.owed {
		x.rs.published1(x.verdict, x.end, false)
	}
	s.decided = nil
}

// owe begins with what the life before may or may not have published last: it is
// offered again at once. But windows that are corrected may have gone on elsewhere:
// they wait until all have said what they know, as late ones do, with the value that
// may have left.
func (s *Share) owe() {
	if s.decided == nil {
		return
	}
	for _, x := range s.decided.owed {
		if !x.first { // the parts tell what is to be corrected
			continue
		}
		g := x.rs.group(x.labels, x.labels.Hash())
		g.in.drop(x.end, x.rs.interval()) // a snapshot may have it
		s.takeClaim(x.rs, g, &claim{x.end, true, x.revision, x.acc}, false)
	}
}

// restoreNote makes a note the batch that is decided. What is of rules that are gone
// is left out.
func (s *Share) restoreNote(note []byte) error {
	d := &decoder{b: note}
	b := begin(d.fixed(), nil)
	if s.decided != nil && s.decided.number() == b.number() { // the snapshot has it too
		return d.err
	}
	s.left()
	s.number, b.noted = max(s.number, b.number()), true
	for len(d.b) > 0 && d.err == nil {
		piece := d.frame()
		if piece == nil {
			break
		}
		rs := s.rules[piece.fixed()]
		end, apart := piece.varint(), piece.byte() == 1
		if rs == nil || piece.err != nil {
			d.err = piece.err
			continue
		}
		waits, samples := rs.remembers() && !apart, len(b.samples)
		b.window(rs, end, apart)
		for len(piece.b) > 0 {
			x := piece.verdict(end)
			if d.err = piece.err; d.err != nil {
				break
			}
			if b.add(rs, end, x); waits {
				b.owed = append(b.owed, owed{rs, end, x})
			} else {
				rs.published1(x, end, apart)
			}
		}
		if waits {
			b.samples = b.samples[:samples]
		}
	}
	if d.err == nil {
		s.decided = b
	}
	return d.err
}

// published1 notes that a group was published in a window in the life before.
func (rs *ruleState) published1(x *verdict, end int64, apart bool) {
	g := rs.group(x.labels, x.labels.Hash())
	g.last, g.shown = max(g.last, end), max(g.shown, end)
	g.publishedIn(end, apart, rs.interval())
	if apart || !rs.remembers() {
		return
	}
	w := rs.window(end)
	c := w.cells[string(rs.key(g.labels))]
	if c == nil {
		c = w.cell(rs, g.labels, g.hash, g.slot)
		c.adopt()
	}
	c.last = max(c.last, x.revision)
}
