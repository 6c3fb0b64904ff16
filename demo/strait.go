package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// strait is the water before an island: others reach its mesh only through here, and
// what they send and get is late by the length of the cable between the two. It is
// what a NAT with a forwarded port would be: islands announce this address instead of
// their own.
type strait struct {
	to     int
	inside string // where the island listens, TCP and UDP
	trips  roundTrips
	// from says which island's mesh has an address of this machine.
	from func(netip.AddrPort) int
	log  *slog.Logger

	tcp *net.TCPListener
	udp *net.UDPConn
	wg  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
	flows  map[netip.AddrPort]*udpFlow
}

const (
	// flowIdle is how long a pair of UDP ports may be silent; the mesh probes its
	// connections every 15 s.
	flowIdle = time.Minute
	// maxFlows bounds strangers' UDP ports.
	maxFlows = 256
	// datagrams is how many of a flow are on their way at once, datagram the largest.
	datagrams, datagram = 4096, 2048
)

// openStrait listens on outside, TCP and UDP, for the island at inside.
func openStrait(to int, outside, inside string, trips roundTrips, from func(netip.AddrPort) int, log *slog.Logger) (*strait, error) {
	l, err := net.Listen("tcp", outside)
	if err != nil {
		return nil, fmt.Errorf("listen for the distance to an island: %w", err)
	}
	u, err := net.ListenPacket("udp", outside)
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen for the distance to an island: %w", err)
	}
	s := &strait{
		to: to, inside: inside, trips: trips, from: from, log: log,
		tcp: l.(*net.TCPListener), udp: u.(*net.UDPConn), conns: map[net.Conn]bool{}, flows: map[netip.AddrPort]*udpFlow{},
	}
	s.wg.Go(s.acceptTCP)
	s.wg.Go(s.readUDP)
	return s, nil
}

func (s *strait) close() {
	s.mu.Lock()
	s.closed = true
	_, _ = s.tcp.Close(), s.udp.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	for _, f := range s.flows {
		_ = f.in.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// hold keeps a connection to be closed with the strait; false if that is closed.
func (s *strait) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *strait) release(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = c.Close()
	delete(s.conns, c)
}

func (s *strait) acceptTCP() {
	for {
		c, err := s.tcp.AcceptTCP()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("a strait is closed to TCP", "to", s.inside, "err", err)
			}
			return
		}
		if s.hold(c) {
			s.wg.Go(func() { defer s.release(c); s.passTCP(c) })
		}
	}
}

func (s *strait) passTCP(c *net.TCPConn) {
	trip := s.trips.between(s.from(c.RemoteAddr().(*net.TCPAddr).AddrPort()), s.to)
	time.Sleep(trip) // the handshake's, which the kernel has done at once
	far, err := net.Dial("tcp", s.inside)
	if err != nil {
		_ = c.SetLinger(0) // refused there, reset here
		s.log.Debug("nobody behind a strait", "to", s.inside, "err", err)
		return
	}
	if s.hold(far) {
		defer s.release(far)
		splice(c, far, trip)
	}
}

// udpFlow is all packets between one port outside and the island.
type udpFlow struct {
	in   *net.UDPConn // to the island
	sent chan parcel  // on their way to it
	over chan struct{}
	trip time.Duration
}

func (s *strait) readUDP() {
	for {
		data := make([]byte, datagram)
		n, from, err := s.udp.ReadFromUDPAddrPort(data)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of a packet before this one, to a port that is no more
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if f := s.flow(from); f != nil {
			f.send(f.sent, data[:n])
		}
	}
}

// send puts a packet on its way; what is too much is lost, as on any cable.
func (f *udpFlow) send(way chan<- parcel, data []byte) {
	select {
	case way <- parcel{time.Now().Add(f.trip / 2), data}:
	default:
	}
}

// flow returns that of a port outside, or nil where there are too many.
func (s *strait) flow(from netip.AddrPort) *udpFlow {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flows[from]; f != nil {
		return f
	}
	if s.closed || len(s.flows) >= maxFlows {
		return nil
	}
	c, err := net.Dial("udp", s.inside)
	if err != nil {
		s.log.Error("a packet finds no way through a strait", "to", s.inside, "err", err)
		return nil
	}
	f := &udpFlow{in: c.(*net.UDPConn), sent: make(chan parcel, datagrams), over: make(chan struct{}), trip: s.trips.between(s.from(from), s.to)}
	s.flows[from] = f
	s.wg.Go(f.toIsland)
	s.wg.Go(func() {
		s.fromIsland(f, from)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.flows, from)
		_ = f.in.Close()
		close(f.over)
	})
	return f
}

func (f *udpFlow) toIsland() {
	for {
		select {
		case p := <-f.sent:
			time.Sleep(time.Until(p.due))
			_, _ = f.in.Write(p.data) // a packet that gets lost is sent again by who misses it
		case <-f.over:
			return
		}
	}
}

// fromIsland passes on what the island answers, until it is silent for long.
func (s *strait) fromIsland(f *udpFlow, to netip.AddrPort) {
	back := make(chan parcel, datagrams)
	defer close(back)
	s.wg.Go(func() {
		for p := range back {
			time.Sleep(time.Until(p.due))
			_, _ = s.udp.WriteToUDPAddrPort(p.data, to)
		}
	})
	for {
		data := make([]byte, datagram)
		_ = f.in.SetReadDeadline(time.Now().Add(flowIdle))
		n, err := f.in.Read(data)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err == nil:
			f.send(back, data[:n])
		case !pause(context.Background(), 10*time.Millisecond): // the island does not listen yet, or no more
		}
	}
}
