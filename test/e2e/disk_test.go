package e2e

import (
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/sys/unix"
)

func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount a tmpfs on %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// fillDisk writes until nothing more fits.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// plantBlock writes one valid block of four-hour-old samples into the TSDB
// directory dir, which no process may hold open.
func plantBlock(t *testing.T, dir string) string {
	t.Helper()
	start := time.Now().Add(-4 * time.Hour).Truncate(2 * time.Hour).UnixMilli()
	var list []storage.Series
	for _, name := range []string{"old_a", "old_b"} {
		list = append(list, storage.MockSeries([]int64{start, start}, []int64{start, start + 1000}, []float64{1, 2}, []string{labels.MetricName, name}))
	}
	block, err := tsdb.CreateBlock(list, dir, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return block
}
