package path

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// udpCarrier traces by datagrams to ports that nobody should listen at; routers' and
// the target's answers come from the socket's error queue, which needs no privilege.
// Packet number n goes to port + n, as traceroute's do.
type udpCarrier struct {
	to      target
	source  netip.Addr
	answers chan<- answer
	file    *os.File
	conn    syscall.RawConn
	reader  sync.WaitGroup

	mu   sync.Mutex
	sent []time.Time
}

func openUDP(to target, source netip.Addr, answers chan<- answer) (carrier, error) {
	family := unix.AF_INET
	if to.addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := listenToErrors(fd, kind{v6: to.addr.Is6(), df: true}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	c := &udpCarrier{to: to, source: source, answers: answers, file: os.NewFile(uintptr(fd), "udp"), sent: make([]time.Time, to.count)}
	if c.conn, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	c.reader.Go(c.read)
	return c, nil
}

func (c *udpCarrier) send(tag, hopLimit, size int) error {
	header := ipv4Header + icmpHeader // UDP's has eight bytes, too
	if c.to.addr.Is6() {
		header = ipv6Header + icmpHeader
	}
	payload := make([]byte, max(size-header, defaultPayload))
	oob := control(c.to.addr.Is6(), hopLimit, c.source)
	to := sockaddr(c.to.addr, c.to.port+uint16(tag))
	for range 5 {
		c.mu.Lock()
		c.sent[tag] = time.Now()
		c.mu.Unlock()
		var err error
		if other := c.conn.Write(func(fd uintptr) bool {
			err = unix.Sendmsg(int(fd), payload, oob, to, 0)
			return !errors.Is(err, unix.EAGAIN)
		}); other != nil {
			return other
		}
		if err == nil || !borrowed(err) {
			return err
		}
	}
	return nil
}

func (c *udpCarrier) read() {
	m := newMail()
	for m.wait(c.conn) {
		now := time.Now()
		at, hopLimit, fault := m.control()
		e := event{fate: answered, from: m.from()} // somebody listens there, and answers
		if m.fromErrors {
			var ok bool
			if e, ok = fault.event(c.to.addr.Is6()); !ok {
				continue
			}
		} else if m.from() != c.to.addr {
			continue
		}
		e.at, e.hopLimit = at, hopLimit
		c.deliver(int(m.port()-c.to.port), e, now)
	}
}

func (c *udpCarrier) deliver(tag int, e event, now time.Time) {
	if tag < 0 || tag >= len(c.sent) {
		return
	}
	c.mu.Lock()
	sent := c.sent[tag]
	c.mu.Unlock()
	if sent.IsZero() {
		return
	}
	select {
	case c.answers <- answer{tag: tag, rtt: roundTrip(sent, e.at, now), event: e}:
	default:
	}
}

func (c *udpCarrier) close() {
	c.file.Close()
	c.reader.Wait()
}
