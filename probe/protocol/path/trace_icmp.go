package path

import "net/netip"

// echoCarrier traces by echoes over a shared socket.
type echoCarrier struct {
	socket  *socket
	to      netip.Addr
	source  netip.Addr
	answers chan<- answer
	tickets []*ticket
}

func (c *echoCarrier) send(tag, hopLimit, size int) error {
	header := ipv4Header + icmpHeader
	if c.to.Is6() {
		header = ipv6Header + icmpHeader
	}
	if size == 0 {
		size = header + defaultPayload
	}
	t := &ticket{tag: tag, to: c.to, answers: c.answers}
	c.tickets[tag] = t
	return c.socket.send(t, c.source, hopLimit, size-header)
}

func (c *echoCarrier) close() {
	for _, t := range c.tickets {
		if t != nil {
			c.socket.leave(t)
		}
	}
}
