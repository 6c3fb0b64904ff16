package path

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket sends echoes and reads what comes back, for many probes at a time.
type socket struct {
	kind
	desk
	raw  bool
	id   uint16
	file *os.File
	conn syscall.RawConn
}

// openSocket tries the unprivileged socket, then the raw one.
func openSocket(k kind) (*socket, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if k.v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	s := &socket{kind: k, desk: desk{waiting: map[uint16]*ticket{}}}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if err != nil {
		s.raw = true
		fd, err = unix.Socket(family, unix.SOCK_RAW|flags, proto)
	}
	if err != nil {
		return nil, err
	}
	if err := s.setUp(fd); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	s.file = os.NewFile(uintptr(fd), "icmp")
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func (s *socket) setUp(fd int) error {
	if err := listenToErrors(fd, s.kind); err != nil {
		return err
	}
	if s.raw {
		var b [2]byte
		if _, err := rand.Read(b[:]); err != nil {
			return err
		}
		s.id = binary.NativeEndian.Uint16(b[:])
		return s.filter(fd)
	}
	// The kernel chooses the identifier, when the socket is bound to "port" 0.
	var any unix.Sockaddr = &unix.SockaddrInet4{}
	if s.v6 {
		any = &unix.SockaddrInet6{}
	}
	if err := unix.Bind(fd, any); err != nil {
		return err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		s.id = uint16(a.Port)
	case *unix.SockaddrInet6:
		s.id = uint16(a.Port)
	}
	return nil
}

// listenToErrors asks for hop limits, times of arrival and routers' messages, and says
// whether packets may be cut on their way.
func listenToErrors(fd int, k kind) error {
	type option struct{ level, name, value int }
	options := []option{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.SOL_SOCKET, unix.SO_RCVBUF, 1 << 20}}
	// PROBE sets DF and does not look at what the kernel holds for the path's MTU.
	cut := unix.IP_PMTUDISC_DONT
	if k.df {
		cut = unix.IP_PMTUDISC_PROBE
	}
	if k.v6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1}, option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, cut})
	} else {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
			option{unix.IPPROTO_IP, unix.IP_RECVERR, 1}, option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, cut})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set option %d of level %d: %w", o.name, o.level, err)
		}
	}
	return nil
}

// filter keeps from a raw socket what concerns no echo.
func (s *socket) filter(fd int) error {
	if s.v6 {
		var f unix.ICMPv6Filter
		for i := range f.Data {
			f.Data[i] = ^uint32(0)
		}
		for _, typ := range []int{v6Unreachable, v6TooBig, v6Expired, v6Reply} {
			f.Data[typ>>5] &^= 1 << (typ & 31)
		}
		return unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &f)
	}
	// ICMP_FILTER of SOL_RAW takes a bit for each type to be dropped.
	const solRaw, icmpFilter = 255, 1
	pass := uint32(1<<v4Reply | 1<<v4Unreachable | 1<<v4Expired)
	return unix.SetsockoptInt(fd, solRaw, icmpFilter, int(int32(^pass)))
}

func (s *socket) close() { s.file.Close() }

// send sends an echo of size bytes of payload, for which t must have room for answers.
// hopLimit 0 is the machine's own. forget must follow.
func (s *socket) send(t *ticket, source netip.Addr, hopLimit, size int) error {
	if err := s.enter(t); err != nil {
		return err
	}
	payload := make([]byte, size)
	t.long = size >= tokenLength
	if t.long {
		if _, err := rand.Read(t.token[:]); err != nil {
			return err
		}
		copy(payload, t.token[:])
	}
	packet := echo(s.v6, s.id, t.seq, payload)
	oob := control(s.v6, hopLimit, source)
	to := sockaddr(t.to, 0)
	// A router's message about an earlier packet, of whomever, comes as an error of the
	// next system call, once.
	for range 3 {
		var err error
		t.sent = time.Now()
		if other := s.conn.Write(func(fd uintptr) bool {
			err = unix.Sendmsg(int(fd), packet, oob, to, 0)
			return !errors.Is(err, unix.EAGAIN)
		}); other != nil {
			return other
		}
		if err == nil || !borrowed(err) {
			return err
		}
	}
	return nil // three routers complained of others: the packet counts as lost
}

// borrowed tells errors that may be those of a packet before.
func borrowed(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPROTO) ||
		errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP)
}

// read delivers until the socket is closed.
func (s *socket) read() {
	m := newMail()
	for m.wait(s.conn) {
		now := time.Now()
		if e, ok := s.understand(m); ok && e.id == s.id {
			s.deliver(e, now)
		}
	}
}

func (s *socket) understand(m *mail) (event, bool) {
	at, hopLimit, fault := m.control()
	if m.fromErrors {
		e, ok := fault.event(s.v6)
		if !ok || s.raw { // a raw socket reads the message itself, too
			return event{}, false
		}
		e, ok = echoIn(e, s.v6, m.data())
		e.to, e.at, e.id = m.from(), at, s.id
		return e, ok
	}
	b := m.data()
	if s.raw && !s.v6 {
		var ok bool
		if b, hopLimit, ok = withoutHeader(b); !ok {
			return event{}, false
		}
	}
	e, ok := parseICMP(s.v6, b)
	e.from, e.at, e.hopLimit = m.from(), at, hopLimit
	return e, ok
}

// localAddr is the address from which the machine would send to addr. A UDP socket
// that is connected sends nothing.
func localAddr(addr netip.Addr) (netip.Addr, error) {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(addr, 9)); err != nil {
		return netip.Addr{}, err
	}
	name, err := unix.Getsockname(fd)
	return addrOf(name), err
}
