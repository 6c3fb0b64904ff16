package path

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tcpCarrier traces by opening connections whose SYN goes only so far: a socket for
// each packet. A router's answer ends the attempt, and is in the socket's error queue;
// the target's is a connection, or a refusal.
type tcpCarrier struct {
	to      target
	source  netip.Addr
	answers chan<- answer
	flights sync.WaitGroup

	mu    sync.Mutex
	files map[*os.File]bool
}

func openTCP(to target, source netip.Addr, answers chan<- answer) (carrier, error) {
	return &tcpCarrier{to: to, source: source, answers: answers, files: map[*os.File]bool{}}, nil
}

func (c *tcpCarrier) send(tag, hopLimit, size int) error {
	if size > 0 {
		return errNoSize
	}
	family := unix.AF_INET
	if c.to.addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := c.setUp(fd, hopLimit); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	sent := time.Now()
	if err := unix.Connect(fd, sockaddr(c.to.addr, c.to.port)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		if !errors.Is(err, unix.ECONNREFUSED) { // the own machine's answer may be there already
			return errors.Join(err, unix.Close(fd))
		}
		unix.Close(fd)
		c.answers <- answer{tag: tag, rtt: time.Since(sent), event: event{fate: answered, from: c.to.addr}}
		return nil
	}
	file := os.NewFile(uintptr(fd), "tcp")
	_ = file.SetDeadline(sent.Add(c.to.wait))
	c.mu.Lock()
	c.files[file] = true
	c.mu.Unlock()
	c.flights.Go(func() { c.await(file, tag, sent) })
	return nil
}

func (c *tcpCarrier) setUp(fd, hopLimit int) error {
	level, hops, errs := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_RECVERR
	if c.to.addr.Is6() {
		level, hops, errs = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVERR
	}
	for _, o := range [][3]int{
		{level, hops, hopLimit},
		{level, errs, 1},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1},
	} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	// Closing resets: nothing is left to be said to who may have answered.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if c.source.IsValid() {
		return unix.Bind(fd, sockaddr(c.source, 0))
	}
	return nil
}

// await waits until the attempt ends.
func (c *tcpCarrier) await(file *os.File, tag int, sent time.Time) {
	defer func() {
		c.mu.Lock()
		delete(c.files, file)
		c.mu.Unlock()
		file.Close()
	}()
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	m := &mail{buf: make([]byte, 128), oob: make([]byte, 512)}
	var e event
	ended := false
	err = conn.Write(func(fd uintptr) bool {
		e, ended = c.look(m, int(fd))
		return ended
	})
	if err != nil || !ended {
		return
	}
	c.answers <- answer{tag: tag, rtt: roundTrip(sent, e.at, time.Now()), event: e}
}

// look reports what became of an attempt, if it has ended. The socket was readable or
// writable, or is looked at for the first time.
func (c *tcpCarrier) look(m *mail, fd int) (event, bool) {
	if m.receive(fd, unix.MSG_ERRQUEUE) == nil {
		at, _, x := m.control()
		if e, ok := x.event(c.to.addr.Is6()); ok {
			e.at = at
			return e, true
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return event{}, true
	case code == int(unix.ECONNREFUSED):
		return event{fate: answered, from: c.to.addr}, true
	case code != 0:
		return event{fate: unreachable, code: 1}, true
	}
	if _, err := unix.Getpeername(fd); err == nil {
		return event{fate: answered, from: c.to.addr}, true
	}
	return event{}, false
}

func (c *tcpCarrier) close() {
	c.mu.Lock()
	for file := range c.files {
		_ = file.SetDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	c.flights.Wait()
}
