package talk

import (
	"bytes"
	"context"
	"errors"
	"io"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// TCP connects, with TLS if asked for, and goes through tcp.query_response, as
// blackbox_exporter v0.28 does.
func TCP(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	m := &r.Module.TCP
	if !c.dial("tcp", "") || m.TLS && !c.secure(&m.TLSConfig) {
		return c.finish()
	}
	c.converse(m.QueryResponse, &m.TLSConfig)
	return c.finish()
}

// Unix is TCP over the Unix socket whose path is the target, by unix.query_response.
func Unix(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	m := &r.Module.Unix
	if !c.dialUnix() || m.TLS && !c.secure(&m.TLSConfig) {
		return c.finish()
	}
	c.converse(m.QueryResponse, &m.TLSConfig)
	return c.finish()
}

// regexState is what blackbox_exporter tells beside success; both are there as soon
// as the connection is.
type regexState struct{ regex, bytes float64 }

func (c *call) converse(script []blackbox.QueryResponse, tls *config.TLSConfig) {
	var state regexState
	for i := range script {
		if !c.exchange(&script[i], &state, tls) {
			break
		}
	}
	c.res.Add("probe_failed_due_to_regex", state.regex)
	c.res.Add("probe_failed_due_to_bytes", state.bytes)
}

// exchange is one entry of a script: expect, then expect bytes, then send, then TLS.
func (c *call) exchange(qr *blackbox.QueryResponse, state *regexState, tls *config.TLSConfig) bool {
	send := qr.Send
	if qr.Expect.Regexp != nil {
		line, match, ok := c.await(qr, state)
		if !ok {
			return false
		}
		send = string(qr.Expect.Expand(nil, []byte(send), line, match))
		c.expectInfo(qr, line, match)
	}
	if qr.ExpectBytes != "" && !c.awaitBytes([]byte(qr.ExpectBytes), state) {
		return false
	}
	if send != "" && !c.write(quote(send), []byte(send+"\n")) {
		return false
	}
	return !qr.StartTLS || c.secure(tls)
}

// await reads lines until one matches; the last may lack its end.
func (c *call) await(qr *blackbox.QueryResponse, state *regexState) (line []byte, match []int, ok bool) {
	var last []byte
	for {
		b, err := c.slice(maxScriptLine)
		if err != nil && (!errors.Is(err, io.EOF) || len(b) == 0) {
			if errors.Is(err, io.EOF) {
				state.regex = 1
				c.res.Fail(protocol.Answer, protocol.Transfer, "no line matches %s before the server closed the connection; the last was %s",
					quote(qr.Expect.String()), quote(string(last)))
				return nil, nil, false
			}
			c.failed(c.awaiting(), "wait for a line that matches "+quote(qr.Expect.String()), err)
			return nil, nil, false
		}
		b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
		c.status(string(b))
		if match := qr.Expect.FindSubmatchIndex(b); match != nil {
			state.regex = 0
			return b, match, true
		}
		last = append(last[:0], b[:min(len(b), 101)]...)
	}
}

func (c *call) expectInfo(qr *blackbox.QueryResponse, line []byte, match []int) {
	if qr.Labels == nil {
		return
	}
	labels := make([]string, 0, 2*len(qr.Labels))
	for _, l := range qr.Labels {
		labels = append(labels, l.Name, cut(string(qr.Expect.Expand(nil, []byte(l.Value), line, match)), 255))
	}
	c.res.Add("probe_expect_info", 1, labels...)
}

func (c *call) awaitBytes(want []byte, state *regexState) bool {
	got := make([]byte, len(want))
	if !c.full("the expected bytes", got) {
		return false
	}
	c.status(string(got))
	if !bytes.Equal(got, want) {
		state.bytes = 1
		c.res.Fail(protocol.Answer, protocol.Transfer, "the answer is %s, want %s", quote(string(got)), quote(string(want)))
		return false
	}
	state.bytes = 0
	return true
}
