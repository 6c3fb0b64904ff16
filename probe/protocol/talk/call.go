package talk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	// maxBytes is what is read of one server, maxLine what a line may have: more than
	// any of the protocols allows (RFC 5321 has 512 bytes, RFC 7162 8,192). A line of a
	// script may be as long as bufio.Scanner's, which blackbox_exporter reads with.
	maxBytes      = 1 << 20
	maxLine       = 8 << 10
	maxScriptLine = bufio.MaxScanTokenSize
	// maxLines of one answer.
	maxLines = 200
)

var errTooMuch = fmt.Errorf("more than %d bytes", maxBytes)

// call is one conversation with a server. Its methods return false, or an error, once
// they have written the reason into the result.
type call struct {
	ctx context.Context
	req *protocol.Request
	res *protocol.Result
	// host is who the server must prove to be.
	host string

	conn net.Conn
	in   *bufio.Reader
	// chain is what the server showed of itself; nil without TLS.
	chain *protocol.Chain

	// mark is when the phase that is now going on began.
	mark time.Time
	// answering tells that the first byte of the awaited answer is there.
	answering bool
	got       int
}

func begin(ctx context.Context, r *protocol.Request) *call {
	return &call{ctx: ctx, req: r, res: &protocol.Result{Start: time.Now()}}
}

// finish closes the connection and completes the result: it is up unless a reason
// says otherwise.
func (c *call) finish() *protocol.Result {
	if c.conn != nil {
		c.conn.Close()
	}
	c.res.Finish(&c.req.Module.Expect)
	c.res.Up = c.res.Reason.Code == ""
	return c.res
}

// lap adds the time since the last lap to a phase.
func (c *call) lap(p protocol.Phase) {
	now := time.Now()
	c.res.Phases[p] += now.Sub(c.mark)
	c.mark = now
}

// open keeps a connection that was made.
func (c *call) open(conn net.Conn) {
	c.conn = conn
	c.in = bufio.NewReaderSize(c, 1<<10)
	c.mark = time.Now()
}

// Read counts, times and bounds what the server sends.
func (c *call) Read(p []byte) (int, error) {
	if c.got >= maxBytes {
		return 0, errTooMuch
	}
	n, err := c.conn.Read(p[:min(len(p), maxBytes-c.got)])
	c.lap(c.awaiting())
	c.got += n
	c.answering = c.answering || n > 0
	return n, err
}

// awaiting is the phase in which the conversation is while it reads.
func (c *call) awaiting() protocol.Phase {
	if c.answering {
		return protocol.Transfer
	}
	return protocol.FirstByte
}

// write sends all of p, after which an answer is awaited.
func (c *call) write(what string, p []byte) bool {
	c.answering = false
	_, err := c.conn.Write(p)
	c.lap(protocol.Sent)
	if err != nil {
		c.failed(protocol.Sent, "send "+what, err)
		return false
	}
	return true
}

// send is write for a line, which may hold no line break of its own.
func (c *call) send(what, format string, args ...any) bool {
	return c.write(what, fmt.Appendf(nil, format+"\r\n", args...))
}

// failed says that waiting or sending ended by an error.
func (c *call) failed(p protocol.Phase, what string, err error) {
	switch {
	case errors.Is(err, errTooMuch):
		c.res.Fail(protocol.TooLarge, p, "%s: %v", what, err)
	case errors.Is(err, bufio.ErrBufferFull):
		c.res.Fail(protocol.Malformed, p, "%s: a line that does not end", what)
	case errors.Is(err, io.EOF):
		c.res.Fail(protocol.ConnectionReset, p, "%s: the server closed the connection", what)
	default:
		c.res.FailError(p, what, err)
	}
}

// line reads a line without its end. It is valid until the next read.
func (c *call) line(what string) (string, bool) {
	b, err := c.slice(maxLine)
	if err != nil {
		c.failed(c.awaiting(), "read "+what, err)
		return "", false
	}
	return strings.TrimRight(string(b), "\r\n"), true
}

// slice reads up to the end of a line, with it, and gives bufio.ErrBufferFull where
// none comes within limit bytes. What it returns is valid until the next read.
func (c *call) slice(limit int) ([]byte, error) {
	if c.in.Buffered() > 0 {
		c.answering = true
	}
	b, err := c.in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return b, err
	}
	var long []byte
	for errors.Is(err, bufio.ErrBufferFull) && len(long) < limit {
		long = append(long, b...)
		b, err = c.in.ReadSlice('\n')
	}
	return append(long, b...), err
}

// full reads exactly len(p) bytes.
func (c *call) full(what string, p []byte) bool {
	if c.in.Buffered() > 0 {
		c.answering = true
	}
	if _, err := io.ReadFull(c.in, p); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		c.failed(c.awaiting(), "read "+what, err)
		return false
	}
	return true
}

// malformed says that an answer breaks the protocol.
func (c *call) malformed(format string, args ...any) {
	c.res.Fail(protocol.Malformed, protocol.Transfer, format, args...)
}

// status keeps the first thing that the server said.
func (c *call) status(s string) {
	if c.res.Response == nil {
		c.res.Response = &protocol.Response{}
	}
	if c.res.Response.Status == "" {
		c.res.Response.Status = cut(s, 255)
	}
}

// secure turns the connection into one of TLS.
func (c *call) secure(cfg *config.TLSConfig) bool {
	if n := c.in.Buffered(); n > 0 {
		// What came in plain after the server agreed to TLS is not the server's, or must
		// not be believed to be (CVE-2011-0411).
		c.malformed("%d bytes in clear after the server agreed to TLS", n)
		return false
	}
	shared, err := protocol.ClientTLS(c.req, cfg)
	if err != nil {
		c.res.Fail(protocol.Internal, protocol.TLS, "%v", err)
		return false
	}
	watch := protocol.NewWatch(shared)
	if watch.Config().ServerName == "" {
		watch.Config().ServerName = c.host
	}
	conn, err := watch.Client(c.ctx, c.conn, c.res)
	watch.Record(c.req.Keep, c.res)
	c.chain = watch.Chain()
	c.mark = time.Now() // it has timed itself
	if err != nil {
		return false
	}
	c.conn = conn
	c.in.Reset(c)
	c.answering = false
	return true
}

// cut bounds what a server said and makes it text.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// quote is for words: at most a hundred bytes, quoted.
func quote(s string) string {
	if len(s) > 100 {
		return strconv.Quote(s[:100]) + "…"
	}
	return strconv.Quote(s)
}
