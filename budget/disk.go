package budget

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/flow"
)

// Space returns how many bytes an ordinary process may still write to the file
// system that holds dir, and how large that file system is.
func Space(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

// fresh is how old the knowledge of free space may be when a transaction begins.
const fresh = 250 * time.Millisecond

// notice is an error with a text of its own that stands for a sentinel.
type notice struct {
	text string
	is   error
}

func (n *notice) Error() string { return n.text }
func (n *notice) Unwrap() error { return n.is }

// glance looks at the disk if nobody has done so just now. It never waits.
func (b *Budget) glance() *notice {
	if time.Now().UnixNano()-b.looked.Load() > int64(fresh) && b.check.TryLock() {
		b.lookLocked()
		b.check.Unlock()
	}
	return b.short.Load()
}

func (b *Budget) look() {
	b.check.Lock()
	defer b.check.Unlock()
	b.lookLocked()
}

// lookLocked stops ingestion below the reserve and lets it go on a tenth above.
func (b *Budget) lookLocked() {
	defer b.looked.Store(time.Now().UnixNano())
	dir, free, total, err := b.measure()
	if err != nil {
		b.logger.Error("watching the disk", "err", err)
		return
	}
	reserve := b.cfg.Load().Disk.Reserve.Of(total)
	b.m.diskFree.Set(float64(free))
	b.m.diskReserve.Set(float64(reserve))
	was := b.short.Load() != nil
	need := reserve
	if was {
		need += reserve / 10
	}
	if free >= need {
		if was {
			b.short.Store(nil)
			b.m.ended.Set(0)
			b.warn.disk.Clear()
			b.logger.Info("ingestion goes on", "dir", dir, "free_bytes", free)
		}
		return
	}
	n := &notice{is: ErrDisk, text: fmt.Sprintf("ingestion stopped: %s free on %s, reserve is %s; free space or lower budget.disk.reserve",
		flow.Bytes(free).Short(), dir, flow.Bytes(reserve).Short())}
	b.short.Store(n)
	b.m.ended.Set(1)
	b.warn.disk.Set("%s", n.text)
	if !was {
		b.logger.Error("ingestion stopped", "dir", dir, "free_bytes", free, "reserve_bytes", reserve)
	}
}

// measure reads the space of the data directory, or before that is made, of the
// nearest directory above it.
func (b *Budget) measure() (dir string, free, total uint64, err error) {
	for dir = b.dir; ; dir = filepath.Dir(dir) {
		free, total, err = b.space(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir, free, total, err
		}
	}
}
