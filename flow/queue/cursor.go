package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"
)

const (
	cursorName  = "cursor"
	cursorMagic = "ATLQ"
	slotBytes   = 4 + 8 + 8 + 8 + 4
	// slotGap keeps the two slots in different sectors.
	slotGap = 4096
)

// cursor keeps the sequence number of the first entry that is not acknowledged,
// and that behind the last entry that was in flight, in a file of fixed size, so that a full disk cannot stop it.
type cursor struct {
	file  *os.File
	turn  uint64
	value uint64
	// flight is behind the last entry whose delivery was begun; see Queue.Begin.
	flight uint64
}

// openCursor opens or makes the file and locks it; fresh says that nothing was
// saved in it yet, or nothing that can be read.
func openCursor(path string) (c *cursor, fresh bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, false, fmt.Errorf("open the queue's cursor: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, false, errors.Join(fmt.Errorf("lock the queue's cursor %s: %w; another process uses the queue: stop it, or give this one another directory", path, err), f.Close())
	}
	c = &cursor{file: f}
	b := make([]byte, slotGap+slotBytes)
	n, _ := f.ReadAt(b, 0)
	if n == len(b) {
		for _, at := range []int{0, slotGap} {
			if turn, value, flight, ok := decodeSlot(b[at : at+slotBytes]); ok && turn > c.turn {
				c.turn, c.value, c.flight = turn, value, flight
			}
		}
		return c, c.turn == 0, nil
	}
	if _, err := f.WriteAt(make([]byte, slotGap+slotBytes), 0); err != nil {
		return nil, false, errors.Join(fmt.Errorf("make the queue's cursor: %w", err), f.Close())
	}
	return c, true, f.Sync()
}

func decodeSlot(b []byte) (turn, value, flight uint64, ok bool) {
	if string(b[:4]) != cursorMagic || crc32.ChecksumIEEE(b[:28]) != binary.LittleEndian.Uint32(b[28:]) {
		return 0, 0, 0, false
	}
	return binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:]), binary.LittleEndian.Uint64(b[20:]), true
}

// save writes the values where a kill -9 cannot lose them.
func (c *cursor) save(value, flight uint64) error {
	var b [slotBytes]byte
	copy(b[:], cursorMagic)
	binary.LittleEndian.PutUint64(b[4:], c.turn+1)
	binary.LittleEndian.PutUint64(b[12:], value)
	binary.LittleEndian.PutUint64(b[20:], flight)
	binary.LittleEndian.PutUint32(b[28:], crc32.ChecksumIEEE(b[:28]))
	if _, err := c.file.WriteAt(b[:], int64((c.turn+1)%2)*slotGap); err != nil {
		return fmt.Errorf("write the queue's cursor: %w", err)
	}
	c.turn, c.value, c.flight = c.turn+1, value, flight
	return nil
}

func (c *cursor) close() error { return errors.Join(c.file.Sync(), c.file.Close()) }
