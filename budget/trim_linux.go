package budget

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Trim gives memory back that only starting up needed: free heap, and the pages
// of the program file that were mapped on the way (tables of linked libraries,
// init code). What is needed again is mapped again from the page cache. Call it
// once the process has settled; it costs one garbage collection.
func (b *Budget) Trim() {
	debug.FreeOSMemory()
	if err := trimProgram(); err != nil {
		b.logger.Debug("giving back pages of the program file", "err", err)
	}
}

// trimProgram drops the clean pages of the program's read-only mappings.
func trimProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		line := lines.Text()
		if !strings.HasSuffix(line, " "+exe) {
			continue
		}
		var start, end uintptr
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &perms); err != nil {
			return fmt.Errorf("read /proc/self/maps: %q: %w", line, err)
		}
		if strings.Contains(perms, "w") {
			continue // written pages live nowhere else
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise %s: %w", perms, errno)
		}
	}
	return nil
}
