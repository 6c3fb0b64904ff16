package path

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Path has the sockets that the probes of a vantage share. It is for concurrent use.
type Path struct {
	mu      sync.Mutex
	sockets map[kind]*socket
	readers sync.WaitGroup
	closed  bool
}

// kind is one sort of socket; df sets "don't fragment" on what it sends.
type kind struct{ v6, df bool }

// New makes probers that have opened nothing yet.
func New() *Path { return &Path{sockets: map[kind]*socket{}} }

// Run keeps the sockets that probes open until ctx ends, and closes them.
func (p *Path) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	for _, s := range p.sockets {
		s.close()
	}
	p.mu.Unlock()
	p.readers.Wait()
	return nil
}

// Table has the probers by the name that a module gives as prober.
func (p *Path) Table() map[string]protocol.Func {
	return map[string]protocol.Func{"icmp": p.Echo, "trace": p.Trace}
}

var errClosed = errors.New("the probers are stopped")

// socket returns the shared socket of a kind. An error is not remembered: permissions
// may be given while the program runs.
func (p *Path) socket(k kind) (*socket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if s := p.sockets[k]; s != nil {
		return s, nil
	}
	s, err := openSocket(k)
	if err != nil {
		return nil, err
	}
	p.sockets[k] = s
	p.readers.Go(s.read)
	return s, nil
}

// unsupported says why there is no socket.
func unsupported(r *protocol.Result, err error) {
	if errors.Is(err, errClosed) {
		r.Fail(protocol.Internal, protocol.Connect, "%v", err)
		return
	}
	r.Fail(protocol.Unsupported, protocol.Connect, "%v", fmt.Errorf("open a socket for ICMP: %w; it needs CAP_NET_RAW, or a group of the process in net.ipv4.ping_group_range", err))
}
