package send

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/atoll-mesh/atoll/flow/durable"
)

const (
	cursorSuffix = ".cursor"
	gapSuffix    = ".gap"
	cursorMagic  = "ATSC"
	gapMagic     = "ATSG"
	// slotSize holds maxShards shard positions as JSON with room to spare. Two
	// slots are written in turn: a torn write leaves the other one valid.
	slotSize   = 128 << 10
	slotHeader = 4 + 8 + 4 + 4
	stateV1    = 1
)

// errDamaged means that neither slot of a cursor file can be used.
var errDamaged = errors.New("the cursor is damaged")

// state is what a cursor file says.
type state struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	URL     string `json:"url"`
	// Created is when the remote was first seen, Newest the highest timestamp
	// that was delivered; both in ms since the epoch.
	Created int64        `json:"created"`
	Newest  int64        `json:"newest"`
	Shards  []shardState `json:"shards"`
	// Gaps are still to be filled from the store, in this order, before the WAL
	// is continued at the End of the last.
	Gaps []*gapState `json:"gaps,omitempty"`
}

// shardState says what a shard delivered, and where the request it was sending ends.
type shardState struct {
	Acked    position `json:"acked"`
	InFlight position `json:"in_flight"`
}

// gapState describes one stretch that the queue lost sight of in the WAL.
type gapState struct {
	ID uint64 `json:"id"`
	// From and To bound the timestamps (ms, inclusive) of all spans.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Next is where filling goes on; what is before it is delivered.
	Next int64 `json:"next"`
	// SliceEnd is fixed before a slice is sent, so that the same requests are
	// built again after a crash.
	SliceEnd int64 `json:"slice_end"`
	// End is the place in the WAL behind the gap.
	End position `json:"end"`
	// Everyone says that series without a span owe everything from From to To:
	// the WAL was gone before it could be read.
	Everyone bool `json:"everyone,omitempty"`
}

// low is the place before which everything is delivered.
func (s *state) low() position {
	if n := len(s.Gaps); n > 0 {
		return s.Gaps[n-1].End
	}
	low := s.Shards[0].Acked
	for _, sh := range s.Shards[1:] {
		if low.after(sh.Acked) {
			low = sh.Acked
		}
	}
	return low
}

func (s *state) valid() error {
	if s.Version != stateV1 {
		return fmt.Errorf("cursor version %d is not known; this program reads version %d", s.Version, stateV1)
	}
	if len(s.Shards) == 0 || len(s.Shards) > maxShards {
		return fmt.Errorf("cursor has %d shards; 1 to %d are possible", len(s.Shards), maxShards)
	}
	for _, g := range s.Gaps {
		if g == nil || g.To < g.From {
			return errors.New("cursor has a gap without an extent")
		}
	}
	return nil
}

// resetShards makes every one of n shards start at p.
func (s *state) resetShards(n int, p position) {
	s.Shards = make([]shardState, n)
	for i := range s.Shards {
		s.Shards[i] = shardState{Acked: p, InFlight: p}
	}
}

// cursor keeps a state in a file of fixed size, so that a full disk cannot stop it.
type cursor struct {
	file *os.File
	seq  uint64
	buf  []byte
}

// openCursor opens or makes the file; the state is nil if none was saved yet.
func openCursor(path string) (*cursor, *state, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, nil, fmt.Errorf("open cursor: %w", err)
	}
	c := &cursor{file: f, buf: make([]byte, slotSize)}
	st, err := c.load()
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("read cursor %s: %w", path, err)
	}
	return c, st, nil
}

func (c *cursor) load() (*state, error) {
	info, err := c.file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		_, err := c.file.WriteAt(make([]byte, 2*slotSize), 0)
		return nil, errors.Join(err, c.file.Sync(), durable.SyncDir(filepath.Dir(c.file.Name())))
	}
	var best *state
	var damage error
	written := false
	for slot := range int64(2) {
		n, _ := c.file.ReadAt(c.buf, slot*slotSize)
		seq, st, err := decodeSlot(c.buf[:n])
		if err != nil {
			damage, written = err, true
			continue
		}
		if st != nil && seq > c.seq {
			best, c.seq = st, seq
		}
	}
	if best == nil && written {
		return nil, fmt.Errorf("%w: %w", errDamaged, damage)
	}
	return best, nil
}

// decodeSlot returns nil without an error for a slot never written.
func decodeSlot(b []byte) (uint64, *state, error) {
	if len(b) < slotHeader {
		return 0, nil, fmt.Errorf("slot has %d bytes; its header alone has %d", len(b), slotHeader)
	}
	if string(b[:4]) == "\x00\x00\x00\x00" {
		return 0, nil, nil
	}
	if string(b[:4]) != cursorMagic {
		return 0, nil, errors.New("not a cursor file")
	}
	seq := binary.LittleEndian.Uint64(b[4:])
	n := binary.LittleEndian.Uint32(b[12:])
	if int64(n) > int64(len(b)-slotHeader) {
		return 0, nil, fmt.Errorf("slot claims %d bytes; there are %d", n, len(b)-slotHeader)
	}
	body := b[slotHeader : slotHeader+int(n)]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, nil, errors.New("checksum does not match")
	}
	st := &state{}
	if err := json.Unmarshal(body, st); err != nil {
		return 0, nil, err
	}
	if err := st.valid(); err != nil {
		return 0, nil, err
	}
	return seq, st, nil
}

// save writes the state where a kill -9 cannot lose it; sync adds a power cut.
func (c *cursor) save(st *state) error {
	body, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("encode cursor: %w", err)
	}
	if len(body) > slotSize-slotHeader {
		return fmt.Errorf("BUG: cursor of %d bytes does not fit its slot of %d", len(body), slotSize-slotHeader)
	}
	c.seq++
	b := c.buf[:slotHeader+len(body)]
	copy(b, cursorMagic)
	binary.LittleEndian.PutUint64(b[4:], c.seq)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(body))
	copy(b[slotHeader:], body)
	if _, err := c.file.WriteAt(b, int64(c.seq%2)*slotSize); err != nil {
		return fmt.Errorf("write cursor: %w", err)
	}
	return nil
}

func (c *cursor) sync() error {
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("sync cursor: %w", err)
	}
	return nil
}

func (c *cursor) close() error { return errors.Join(c.sync(), c.file.Close()) }

// span is what one series owes: its samples from From to To, ms, inclusive.
type span struct{ From, To int64 }

// writeSpans saves a gap's spans durably, replacing what was there.
func writeSpans(path string, spans map[uint64]span) error {
	b := make([]byte, 0, 12+24*len(spans)+4)
	b = append(b, gapMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(spans)))
	for h, sp := range spans {
		b = binary.LittleEndian.AppendUint64(b, h)
		b = binary.LittleEndian.AppendUint64(b, uint64(sp.From))
		b = binary.LittleEndian.AppendUint64(b, uint64(sp.To))
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	if err := durable.Write(path, 0o640, b); err != nil {
		return fmt.Errorf("save gap: %w", err)
	}
	return nil
}

func readSpans(path string) (map[uint64]span, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read gap: %w", err)
	}
	spans, err := decodeSpans(b)
	if err != nil {
		return nil, fmt.Errorf("read gap %s: %w", path, err)
	}
	return spans, nil
}

func decodeSpans(b []byte) (map[uint64]span, error) {
	if len(b) < 16 || string(b[:4]) != gapMagic {
		return nil, errors.New("not a gap file")
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, errors.New("checksum does not match")
	}
	n := binary.LittleEndian.Uint64(body[4:])
	body = body[12:]
	if n != uint64(len(body)/24) || len(body)%24 != 0 {
		return nil, fmt.Errorf("claims %d spans; has %d bytes for them", n, len(body))
	}
	spans := make(map[uint64]span, n)
	for ; len(body) > 0; body = body[24:] {
		spans[binary.LittleEndian.Uint64(body)] = span{
			From: int64(binary.LittleEndian.Uint64(body[8:])),
			To:   int64(binary.LittleEndian.Uint64(body[16:])),
		}
	}
	return spans, nil
}

func cursorPath(dir, key string) string { return filepath.Join(dir, key+cursorSuffix) }

func gapPath(dir, key string, id uint64) string {
	return filepath.Join(dir, key+"."+strconv.FormatUint(id, 10)+gapSuffix)
}

// removeCursors deletes the files of every remote that keep does not name.
func removeCursors(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list cursors: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".tmp")
		if !strings.HasSuffix(name, cursorSuffix) && !strings.HasSuffix(name, gapSuffix) {
			continue
		}
		if key, _, _ := strings.Cut(name, "."); !keep[key] {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
