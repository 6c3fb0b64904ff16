//go:build linux

package lab

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Clock is the wall clock of one process. Time namespaces leave CLOCK_REALTIME
// alone, and a program linked statically takes no library in front of libc; but
// both ask the kernel's vDSO for the time, a page of code that is mapped into the
// process and that, as a debugger may, its starter rewrites for this process
// alone. The program itself is the one that is released.
type Clock struct {
	memory *os.File
	slot   int64
}

// stubs ask the kernel instead of the vDSO's own code, and add what lies in an
// eight-byte slot behind them to the seconds of CLOCK_REALTIME.
var stubs = map[string]struct {
	code []byte
	// fixup is the end of the instruction that loads the slot: its last 4 bytes are
	// the distance to it.
	fixup int
}{
	"amd64": {code: []byte{
		0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi; CLOCK_REALTIME is 0
		0x75, 0x0a, // jne to ret
		0x48, 0x8b, 0x0d, 0, 0, 0, 0, // mov rcx, [rip + distance]
		0x48, 0x01, 0x0e, // add [rsi], rcx
		0xc3, // ret
	}, fixup: 18},
}

// ClockUnsupported says why processes cannot be given a clock of their own on this
// machine, or "".
func ClockUnsupported() string {
	if _, ok := stubs[runtime.GOARCH]; !ok {
		return "the vDSO is rewritten on amd64 only, this is " + runtime.GOARCH
	}
	return ""
}

// StartWithClock starts a command, made by exec.Command, on the node, with a wall
// clock that is off by so much, to the second. It is killed with this process, and
// must have ended before the lab is closed.
func (n *Node) StartWithClock(cmd *exec.Cmd, off time.Duration) (*Clock, error) {
	if why := ClockUnsupported(); why != "" {
		return nil, errors.New(why)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Ptrace: true}
	cmd.WaitDelay = 5 * time.Second
	var c *Clock
	err := n.space.within(func() error {
		// Tracing is this thread's business until the process is let go.
		if err := cmd.Start(); err != nil {
			return err
		}
		pid := cmd.Process.Pid
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
			return errors.Join(fmt.Errorf("wait for process %d to be loaded: status %#x: %w", pid, status, err), cmd.Process.Kill())
		}
		var err error
		if c, err = rewrite(pid, off); err != nil {
			return errors.Join(err, cmd.Process.Kill(), syscall.PtraceDetach(pid))
		}
		return syscall.PtraceDetach(pid)
	})
	if err != nil {
		if cmd.Process != nil {
			_ = cmd.Wait() // it was killed
		}
		return nil, fmt.Errorf("start %s on %s with a clock of its own: %w", cmd.Path, n.name, err)
	}
	return c, nil
}

// Set has the clock jump to be off by so much, to the second.
func (c *Clock) Set(off time.Duration) error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(off/time.Second))
	if _, err := c.memory.WriteAt(b[:], c.slot); err != nil {
		return fmt.Errorf("set a process's clock: %w", err)
	}
	return nil
}

// Close gives up control of the clock; the process keeps it.
func (c *Clock) Close() error { return c.memory.Close() }

// rewrite puts the stub where a stopped process has clock_gettime.
func rewrite(pid int, off time.Duration) (*Clock, error) {
	begin, end, err := findVDSO(pid)
	if err != nil {
		return nil, err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	image := make([]byte, end-begin)
	if _, err := io.ReadFull(io.NewSectionReader(memory, begin, end-begin), image); err != nil {
		return nil, errors.Join(fmt.Errorf("read the vDSO: %w", err), memory.Close())
	}
	at, size, err := clockGettime(image)
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	stub := stubs[runtime.GOARCH]
	code := bytes.Clone(stub.code)
	c := &Clock{memory: memory, slot: (begin + at + int64(len(code)) + 7) &^ 7}
	if c.slot+8 > begin+at+size {
		return nil, errors.Join(fmt.Errorf("rewrite clock_gettime: it has %d bytes, too few", size), memory.Close())
	}
	binary.NativeEndian.PutUint32(code[stub.fixup-4:], uint32(c.slot-(begin+at+int64(stub.fixup))))
	if err := c.Set(off); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	if _, err := memory.WriteAt(code, begin+at); err != nil {
		return nil, errors.Join(fmt.Errorf("rewrite clock_gettime: %w", err), memory.Close())
	}
	return c, nil
}

func findVDSO(pid int) (begin, end int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			_, err = fmt.Sscanf(line, "%x-%x", &begin, &end)
			return begin, end, err
		}
	}
	return 0, 0, fmt.Errorf("find the vDSO of process %d: it has none", pid)
}

// clockGettime finds the function in a vDSO: where it begins, and its size.
func clockGettime(image []byte) (at, size int64, err error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, 0, fmt.Errorf("read the vDSO: %w", err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, 0, fmt.Errorf("read the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return int64(s.Value), int64(s.Size), nil
		}
	}
	return 0, 0, errors.New("read the vDSO: it has no __vdso_clock_gettime")
}
