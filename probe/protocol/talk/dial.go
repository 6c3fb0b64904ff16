package talk

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// dial finds the target's address and connects. port is the protocol's own, "" where
// the target must name one. Which family is preferred, and from where, is module key
// tcp's for all of these protocols.
func (c *call) dial(network, port string) bool {
	host, named, err := splitTarget(c.req.Target, port)
	if err != nil {
		c.res.Fail(protocol.BadTarget, protocol.Resolve, "%v", err)
		return false
	}
	m := &c.req.Module.TCP
	source, err := sourceAddr(m.SourceIPAddress)
	if err != nil {
		c.res.Fail(protocol.BadTarget, protocol.Resolve, "%v", err)
		return false
	}
	c.host = host
	if c.req.Host != "" {
		c.host = c.req.Host
	}
	addr, ok := protocol.Address(c.ctx, c.req, host, m.IPProtocol, m.IPProtocolFallback, c.res)
	if !ok {
		return false
	}
	conn, ok := protocol.Open(c.ctx, c.req, network, netip.AddrPortFrom(addr, named), source, c.res)
	if ok {
		c.open(conn)
	}
	return ok
}

func (c *call) dialUnix() bool {
	path := c.req.Target
	c.host = path
	start := time.Now()
	conn, err := c.req.Dialer.DialContext(c.ctx, "unix", path, netip.Addr{})
	c.res.Phases[protocol.Connect] += time.Since(start)
	if err != nil {
		c.res.FailError(protocol.Connect, "connect to "+quote(path), err)
		return false
	}
	c.open(protocol.Bind(c.ctx, conn))
	return true
}

// splitTarget reads host, host:port or protocol://host:port.
func splitTarget(target, port string) (host string, named uint16, err error) {
	host = target
	if _, rest, ok := strings.Cut(target, "://"); ok {
		host = strings.TrimSuffix(rest, "/")
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	} else if port == "" {
		return "", 0, fmt.Errorf("target is %s: want host:port", quote(target))
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("target is %s: the port is %s, want 1 to 65535", quote(target), quote(port))
	}
	return host, uint16(n), nil
}

func sourceAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source_ip_address is %s: want an IP address", quote(text))
	}
	return addr.Unmap(), nil
}

// secret is the password of a login: what its file has now, or itself.
func secret(l *definition.Login) (string, error) {
	if l.PasswordFile == "" {
		return string(l.Password), nil
	}
	b, err := os.ReadFile(l.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read login.password_file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
