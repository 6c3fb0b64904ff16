package talk

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// maxBulk is what one string of a Redis server may have: INFO's are some kilobytes.
const maxBulk = 256 << 10

// Redis pings a server, port 6379, after AUTH if module key login has a password, and
// asks INFO. A server that wants a password where there is none is up: it answers.
func Redis(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	m := &r.Module.Login
	if !c.dial("tcp", "6379") || m.TLS && !c.secure(&m.TLSConfig) {
		return c.finish()
	}
	password, err := secret(m)
	if err != nil {
		c.res.Fail(protocol.Internal, protocol.Sent, "%v", err)
		return c.finish()
	}
	if password != "" && !c.redisAuth(m.User, password) {
		return c.finish()
	}
	open, ok := c.redisPing()
	if !ok {
		return c.finish()
	}
	c.res.Add("probe_redis_authenticated", float(open))
	if open {
		c.redisInfo()
	}
	return c.finish()
}

func (c *call) redisAuth(user, password string) bool {
	command := []string{"AUTH", password}
	if user != "" {
		command = []string{"AUTH", user, password}
	}
	answer, ok := c.redis(command...)
	if !ok {
		return false
	}
	if answer.kind == '-' {
		c.res.Fail(protocol.Login, protocol.Transfer, "AUTH: the server answers %s", quote(answer.text))
		return false
	}
	return true
}

func (c *call) redisPing() (open, ok bool) {
	answer, ok := c.redis("PING")
	if !ok {
		return false, false
	}
	c.status(string(answer.kind) + answer.text)
	switch word, _, _ := strings.Cut(answer.text, " "); {
	case answer.kind == '+' && word == "PONG":
		return true, true
	case answer.kind == '-' && word == "NOAUTH" && c.req.Module.Login.User == "":
		return false, true
	case answer.kind == '-':
		c.res.Fail(protocol.Status, protocol.Transfer, "PING: the server answers %s (%s)", quote(answer.text), redisWords(word))
	default:
		c.malformed("PING: the server answers %s, want \"PONG\"", quote(answer.text))
	}
	return false, false
}

// redisWords explain the first word of an error.
func redisWords(word string) string {
	switch word {
	case "LOADING":
		return "it is loading its data"
	case "MASTERDOWN":
		return "its link to the primary is down"
	case "MISCONF":
		return "it cannot save, and takes no writes"
	case "NOPERM":
		return "the user may not ask that"
	case "NOAUTH", "WRONGPASS":
		return "it wants a password"
	case "DENIED":
		return "protected mode: it has no password and takes no connections from elsewhere"
	case "BUSY":
		return "it runs a script that does not end"
	}
	return "an error"
}

// redisInfo is a service, not a duty: a user who may not ask INFO gets no samples.
func (c *call) redisInfo() {
	answer, ok := c.redis("INFO")
	if !ok || answer.kind != '$' {
		return
	}
	info := map[string]string{}
	for line := range strings.Lines(answer.text) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && len(info) < 1000 {
			info[key] = value
		}
	}
	c.res.Add("probe_redis_info", 1, "version", cut(info["redis_version"], 64), "mode", cut(info["redis_mode"], 64), "role", cut(info["role"], 64))
	for _, s := range [][2]string{
		{"uptime_in_seconds", "probe_redis_uptime_seconds"},
		{"connected_clients", "probe_redis_connected_clients"},
		{"used_memory", "probe_redis_used_memory_bytes"},
		{"loading", "probe_redis_loading"},
	} {
		if v, err := strconv.ParseFloat(info[s[0]], 64); err == nil {
			c.res.Add(s[1], v)
		}
	}
}

// redis sends a command and reads its answer.
func (c *call) redis(command ...string) (reply, bool) {
	if !c.write(command[0], encodeRESP(command)) {
		return reply{}, false
	}
	if c.in.Buffered() > 0 {
		c.malformed("%s: the server spoke before it was asked", command[0])
		return reply{}, false
	}
	line, ok := c.line("the answer to " + command[0])
	if !ok {
		return reply{}, false
	}
	answer, size, err := parseRESP(line)
	if err != nil {
		c.malformed("%s: %v", command[0], err)
		return reply{}, false
	}
	if size < 0 {
		return answer, true
	}
	b := make([]byte, size+2)
	if !c.full("the answer to "+command[0], b) {
		return reply{}, false
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		c.malformed("%s: a string of %d bytes that does not end there", command[0], size)
		return reply{}, false
	}
	answer.text = string(b[:size])
	return answer, true
}

// reply is what a server says: its kind is '+' for a word, '-' for an error, ':' for
// a number, '$' for a string.
type reply struct {
	kind byte
	text string
}

func encodeRESP(command []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(command))
	for _, word := range command {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b
}

// parseRESP reads the first line of an answer. size is how many bytes of a string
// follow, with a line end behind them; -1 if none do.
func parseRESP(line string) (answer reply, size int, err error) {
	if line == "" {
		return reply{}, 0, fmt.Errorf("read an answer of Redis: the line is empty")
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '+', '-', ':':
		return reply{kind: kind, text: rest}, -1, nil
	case '$':
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil || n < -1 || n > maxBulk {
			return reply{}, 0, fmt.Errorf("read an answer of Redis: its length is %s, want 0 to %d", quote(rest), maxBulk)
		}
		return reply{kind: kind}, int(n), nil
	}
	return reply{}, 0, fmt.Errorf("read an answer of Redis: it is %s, want a line that begins with +, -, : or $", quote(line))
}
