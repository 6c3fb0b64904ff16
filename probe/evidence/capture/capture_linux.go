package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Capture is one under way.
type Capture struct {
	fd   int
	flow sieve
	file *file
	end  time.Time
	stop chan struct{}
	done sync.WaitGroup
	err  error
}

// pollEvery is how soon a capture notices that it is over.
const pollEvery = 20 * time.Millisecond

// Start captures until Stop, or until its time is up. comment is written into the
// file. An error for which errors.Is(err, ErrUnsupported) says that this process may not.
func Start(flow Flow, limits Limits, comment string) (*Capture, error) {
	flow.Addr = flow.Addr.WithZone("").Unmap()
	if !flow.Addr.IsValid() {
		return nil, errors.New("capture packets: no address is given")
	}
	fd, err := open(flow.Addr)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("capture packets: %w: %w: the process needs CAP_NET_RAW", ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	c := &Capture{fd: fd, flow: sieve{flow: flow, traced: map[conversation]bool{}}, file: newFile(limits, comment), end: time.Now().Add(limits.Time), stop: make(chan struct{})}
	c.done.Go(c.run)
	return c, nil
}

// open makes a socket that gets the packets of an address and no others. The filter
// is there before the socket is bound: nothing else is ever in its queue.
func open(a netip.Addr) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	raw, err := bpf.Assemble(filter(a))
	if err != nil {
		return -1, err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return -1, os.NewSyscallError("setsockopt", err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return -1, os.NewSyscallError("setsockopt", err)
	}
	// As much as the machine allows: what does not fit is lost, and counted.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queueBytes)
	}
	// A socket bound to one protocol would not see what this machine sends: packet(7).
	const all = unix.ETH_P_ALL
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8&0xff00 | all>>8})
	return fd, os.NewSyscallError("bind", err)
}

// queueBytes is for packets that came and are not looked at yet.
const queueBytes = 8 << 20

// netOffset makes a filter count from the IP header, whatever comes before it:
// SKF_NET_OFF of linux/filter.h.
const netOffset = 0xfff00000

// filter passes packets from or to the address.
func filter(a netip.Addr) []bpf.Instruction {
	words, src, dst, ether := a.AsSlice(), uint32(8), uint32(24), uint32(unix.ETH_P_IPV6)
	if a.Is4() {
		src, dst, ether = 12, 16, unix.ETH_P_IP
	}
	n := len(words) / 4
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: ether, SkipTrue: 1}, bpf.RetConstant{Val: 0},
	}
	for _, at := range []uint32{src, dst} {
		for i := range n {
			skip := uint8(2*(n-1-i) + 1) // past the rest of this address, and its return
			program = append(program,
				bpf.LoadAbsolute{Off: netOffset + at + uint32(4*i), Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(words[4*i])<<24 | uint32(words[4*i+1])<<16 | uint32(words[4*i+2])<<8 | uint32(words[4*i+3]), SkipFalse: skip})
		}
		program = append(program, bpf.RetConstant{Val: 1 << 18})
	}
	return append(program, bpf.RetConstant{Val: 0})
}

func (c *Capture) run() {
	buffer, control := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{}))))
	poll := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	stopped := false // before what is read now had come
	for time.Now().Before(c.end) {
		n, used, _, from, err := unix.Recvmsg(c.fd, buffer, control, unix.MSG_TRUNC)
		switch {
		case err == nil:
			c.take(buffer[:min(n, len(buffer))], n, control[:used], from)
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			c.err = os.NewSyscallError("recvmsg", err)
			return
		}
		if stopped {
			return
		}
		select {
		case <-c.stop:
			stopped = true
			continue
		default:
		}
		if _, err := unix.Poll(poll, int(pollEvery.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			c.err = os.NewSyscallError("poll", err)
			return
		}
	}
}

func (c *Capture) take(packet []byte, size int, control []byte, from unix.Sockaddr) {
	if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype == unix.PACKET_OUTGOING && l.Hatype == unix.ARPHRD_LOOPBACK {
		return // it is seen a second time as it comes in
	}
	if c.flow.matches(packet) {
		c.file.add(stamp(control), packet, size)
	}
}

// stamp is when the kernel got the packet.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return time.Unix(ts.Unix())
		}
	}
	return time.Now()
}

// Stop ends the capture and returns the file, and how many packets are in it and
// how many did not find room, there or on the way. It may be called once.
func (c *Capture) Stop() (content []byte, packets, left int, err error) {
	close(c.stop)
	c.done.Wait()
	lost := 0
	if s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		lost = int(s.Drops)
	}
	if err := unix.Close(c.fd); err != nil {
		return nil, 0, 0, fmt.Errorf("capture packets: %w", err)
	}
	if c.err != nil {
		return nil, 0, 0, fmt.Errorf("capture packets: %w", c.err)
	}
	return c.file.bytes, c.file.packets, c.file.left + lost, nil
}
