package demo

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// portsToTry is how many ports are looked at for each that is needed.
const portsToTry = 20

// freeAddrs returns want, or the same host with the next free port, and n-1 more
// after it. They are free for an instant only; whoever loses the race is told so
// by the island.
func freeAddrs(want string, n int) ([]string, error) {
	host, portText, err := net.SplitHostPort(want)
	if err != nil {
		return nil, err
	}
	first, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: port %q is not a number from 0 to 65535", want, portText)
	}
	ports, err := freePorts(host, int(first), n)
	if err != nil {
		return nil, fmt.Errorf("%w; name another with --listen", err)
	}
	addrs := make([]string, n)
	for i, port := range ports {
		addrs[i] = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return addrs, nil
}

// freePorts returns n ports from first on, or any where that is 0, that are free
// for TCP and UDP.
func freePorts(host string, first, n int) (ports []int, err error) {
	var held []probe // until all are found, or any port might be the same again
	defer func() {
		for _, p := range held {
			err = errors.Join(err, p.close())
		}
	}()
	var last error
	for try := 0; try < portsToTry*n && len(ports) < n; try++ {
		port := first
		if first != 0 {
			port += try
		}
		p, err := hold(host, port)
		if err != nil {
			last = err
			continue
		}
		held = append(held, p)
		ports = append(ports, p.tcp.Addr().(*net.TCPAddr).Port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("find a free port from %d on: %w", first, last)
	}
	return ports, nil
}

// probe holds a port for both transports.
type probe struct {
	tcp net.Listener
	udp net.PacketConn
}

func hold(host string, port int) (probe, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return probe{}, err
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		return probe{}, errors.Join(err, l.Close())
	}
	return probe{l, c}, nil
}

func (p probe) close() error { return errors.Join(p.tcp.Close(), p.udp.Close()) }
