package talk

import (
	"bytes"
	"context"
	"encoding/hex"

	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// UDP sends a datagram and judges the first that comes back, by module key udp; and
// goes through tcp.query_response, whose expect is then asked of each datagram until
// one matches, and whose send is a datagram as it is, without a line break. A port
// where nobody listens says so by ICMP: connection_refused.
func UDP(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	if !c.dial("udp", "") {
		return c.finish()
	}
	var state regexState
	if c.ask(&state) {
		for i := range r.Module.TCP.QueryResponse {
			if !c.datagrams(&r.Module.TCP.QueryResponse[i], &state) {
				break
			}
		}
	}
	c.res.Add("probe_failed_due_to_regex", state.regex)
	c.res.Add("probe_failed_due_to_bytes", state.bytes)
	return c.finish()
}

// ask is the exchange of module key udp.
func (c *call) ask(state *regexState) bool {
	m := &c.req.Module.UDP
	query, err := hexOr(m.SendHex, m.Send)
	if err != nil {
		c.res.Fail(protocol.BadTarget, protocol.Sent, "udp.send_hex is %s: %v", quote(m.SendHex), err)
		return false
	}
	want, err := hexOr(m.ExpectHex, "")
	if err != nil {
		c.res.Fail(protocol.BadTarget, protocol.Sent, "udp.expect_hex is %s: %v", quote(m.ExpectHex), err)
		return false
	}
	if len(query) == 0 {
		if len(c.req.Module.TCP.QueryResponse) == 0 {
			c.res.Fail(protocol.BadTarget, protocol.Sent, "the module has nothing to send: set udp.send, udp.send_hex or tcp.query_response")
			return false
		}
		return true
	}
	if !c.write("the query", query) {
		return false
	}
	answer, ok := c.datagram()
	if !ok {
		return false
	}
	c.res.Add("probe_udp_response_bytes", float64(len(answer)))
	if want != nil && !bytes.Equal(answer, want) {
		state.bytes = 1
		c.res.Fail(protocol.Answer, protocol.FirstByte, "the answer is %s, want %s", quote(string(answer)), quote(string(want)))
		return false
	}
	if m.Expect.Regexp != nil && !m.Expect.Match(answer) {
		state.regex = 1
		c.res.Fail(protocol.Answer, protocol.FirstByte, "the answer is %s, want a match of %s", quote(string(answer)), quote(m.Expect.String()))
		return false
	}
	return true
}

func hexOr(hexadecimal, text string) ([]byte, error) {
	if hexadecimal != "" {
		return hex.DecodeString(hexadecimal)
	}
	if text == "" {
		return nil, nil
	}
	return []byte(text), nil
}

// maxDatagram is what is read of a datagram; the rest is dropped.
const maxDatagram = 8 << 10

func (c *call) datagram() ([]byte, bool) {
	buf := make([]byte, maxDatagram)
	n, err := c.Read(buf)
	if err != nil {
		c.failed(protocol.FirstByte, "wait for an answer", err)
		return nil, false
	}
	c.status(string(buf[:n]))
	return buf[:n], true
}

func (c *call) datagrams(qr *blackbox.QueryResponse, state *regexState) bool {
	send := qr.Send
	if qr.Expect.Regexp != nil {
		state.regex = 1
		for {
			answer, ok := c.datagram()
			if !ok {
				return false
			}
			if match := qr.Expect.FindSubmatchIndex(answer); match != nil {
				send = string(qr.Expect.Expand(nil, []byte(send), answer, match))
				c.expectInfo(qr, answer, match)
				state.regex = 0
				break
			}
		}
	}
	if qr.ExpectBytes != "" {
		answer, ok := c.datagram()
		if !ok {
			return false
		}
		if !bytes.HasPrefix(answer, []byte(qr.ExpectBytes)) {
			state.bytes = 1
			c.res.Fail(protocol.Answer, protocol.FirstByte, "the answer is %s, want %s", quote(string(answer)), quote(qr.ExpectBytes))
			return false
		}
	}
	if qr.StartTLS {
		c.res.Fail(protocol.BadTarget, protocol.TLS, "query_response.starttls: there is no TLS over UDP here")
		return false
	}
	return send == "" || c.write(quote(send), []byte(send))
}
