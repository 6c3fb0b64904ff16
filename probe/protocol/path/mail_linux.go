package path

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mail is one message read from a socket, and the buffers for it.
type mail struct {
	buf, oob []byte
	n, oobn  int
	addr     unix.Sockaddr
	// fromErrors tells that it is of the error queue: the own packet came back.
	fromErrors bool
}

func newMail() *mail { return &mail{buf: make([]byte, 64<<10), oob: make([]byte, 512)} }

// wait reads the next message, of the error queue first; false once the socket is
// closed or its deadline is over.
func (m *mail) wait(conn syscall.RawConn) bool {
	got := false
	err := conn.Read(func(fd uintptr) bool {
		got = m.poll(int(fd))
		return got
	})
	return err == nil && got
}

// poll reads a message if there is one.
func (m *mail) poll(fd int) bool {
	for range 100 {
		if m.receive(fd, unix.MSG_ERRQUEUE) == nil {
			m.fromErrors = true
			return true
		}
		err := m.receive(fd, 0)
		if err == nil {
			m.fromErrors = false
			return true
		}
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		// The error of a packet, told a second time: it was in the queue, or will be.
	}
	return false
}

func (m *mail) receive(fd, flags int) (err error) {
	m.n, m.oobn, _, m.addr, err = unix.Recvmsg(fd, m.buf, m.oob, flags)
	return err
}

func (m *mail) data() []byte { return m.buf[:m.n] }

func (m *mail) from() netip.Addr { return addrOf(m.addr) }

func (m *mail) port() uint16 {
	switch a := m.addr.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

func addrOf(a unix.Sockaddr) netip.Addr {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap()
	}
	return netip.Addr{}
}

// extended is the kernel's sock_extended_err (linux/errqueue.h), with who complained.
type extended struct {
	origin, typ, code uint8
	info              uint32
	offender          netip.Addr
}

// extendedSize is that of the structure in bytes, before the offender's address.
const extendedSize = 16

// control reads what came beside the message: when it arrived, the hop limit that was
// left, and the error.
func (m *mail) control() (at time.Time, hopLimit int, e extended) {
	messages, err := unix.ParseSocketControlMessage(m.oob[:m.oobn])
	if err != nil {
		return time.Time{}, 0, extended{}
	}
	for _, c := range messages {
		level, typ := int(c.Header.Level), int(c.Header.Type)
		switch {
		case level == unix.SOL_SOCKET && typ == unix.SCM_TIMESTAMPNS && len(c.Data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := *(*unix.Timespec)(unsafe.Pointer(&c.Data[0]))
			at = time.Unix(ts.Unix())
		case level == unix.IPPROTO_IP && typ == unix.IP_TTL, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_HOPLIMIT:
			if len(c.Data) >= 4 {
				hopLimit = int(binary.NativeEndian.Uint32(c.Data))
			}
		case level == unix.IPPROTO_IP && typ == unix.IP_RECVERR, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_RECVERR:
			e = readExtended(c.Data)
		}
	}
	return at, hopLimit, e
}

func readExtended(b []byte) (e extended) {
	if len(b) < extendedSize {
		return e
	}
	e = extended{origin: b[4], typ: b[5], code: b[6], info: binary.NativeEndian.Uint32(b[8:])}
	switch b = b[extendedSize:]; {
	case len(b) >= 8 && binary.NativeEndian.Uint16(b) == unix.AF_INET:
		e.offender = netip.AddrFrom4([4]byte(b[4:8]))
	case len(b) >= 24 && binary.NativeEndian.Uint16(b) == unix.AF_INET6:
		e.offender = netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	}
	return e
}

// event is what the error says. That of the own machine is none here: who sends has
// it already.
func (x extended) event(v6 bool) (event, bool) {
	if x.origin != unix.SO_EE_ORIGIN_ICMP && x.origin != unix.SO_EE_ORIGIN_ICMP6 {
		return event{}, false
	}
	e, ok := fault(v6, x.typ, x.code, x.info)
	e.from = x.offender
	return e, ok
}

// control is what goes beside a packet that is sent.
func control(v6 bool, hopLimit int, source netip.Addr) []byte {
	var oob []byte
	if hopLimit > 0 {
		level, typ := int32(unix.IPPROTO_IP), int32(unix.IP_TTL)
		if v6 {
			level, typ = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
		}
		b := make([]byte, unix.CmsgSpace(4))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		h.Level, h.Type = level, typ
		h.SetLen(unix.CmsgLen(4))
		binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], uint32(hopLimit))
		oob = append(oob, b...)
	}
	switch {
	case !source.IsValid():
	case v6:
		oob = append(oob, unix.PktInfo6(&unix.Inet6Pktinfo{Addr: source.As16()})...)
	case source.Is4():
		oob = append(oob, unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: source.As4()})...)
	}
	return oob
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}
