package talk

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	postgresAskTLS   = 80877103 // the number of an SSLRequest
	postgresVersion3 = 3 << 16
	// maxPostgres is what a message of a handshake may have.
	maxPostgres = 64 << 10
	// postgresUser is who asks where nobody was named.
	postgresUser = "atoll-probe"
)

// Kinds of authentication that a server asks for.
const (
	authOK           = 0
	authClear        = 3
	authMD5          = 5
	authSASL         = 10
	authSASLContinue = 11
	authSASLFinal    = 12
)

// Postgres starts a session with a server, port 5432, and logs in if module key login
// has a user. Without one, being asked who one is, or refused for it, is the end of a
// good handshake.
func Postgres(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	m := &r.Module.Login
	password, err := secret(m)
	if err != nil {
		c.res.Fail(protocol.Internal, protocol.Sent, "%v", err)
		return c.finish()
	}
	if !c.dial("tcp", "5432") {
		return c.finish()
	}
	// Once a server has agreed to TLS there is no way back to talking in clear: only who
	// wants it asks.
	if m.TLS {
		yes, ok := c.postgresTLS()
		if !ok || !c.offered(yes) || !c.secure(&m.TLSConfig) {
			return c.finish()
		}
	}
	c.postgresStart(password)
	return c.finish()
}

// postgresTLS asks whether the server takes TLS.
func (c *call) postgresTLS() (yes, ok bool) {
	b := binary.BigEndian.AppendUint32(nil, 8)
	if !c.write("the request for TLS", binary.BigEndian.AppendUint32(b, postgresAskTLS)) {
		return false, false
	}
	var answer [1]byte
	if !c.full("the answer to the request for TLS", answer[:]) {
		return false, false
	}
	switch answer[0] {
	case 'S', 'N':
		return answer[0] == 'S', true
	case 'E': // what a server says that cannot even ask: "too many clients"
		if body, ok := c.postgresBody("the answer to the request for TLS"); ok {
			c.postgresRefused(body)
		}
		return false, false
	}
	c.malformed("the answer to the request for TLS is %s, want \"S\" or \"N\"", quote(string(answer[:])))
	return false, false
}

func (c *call) postgresStart(password string) {
	m := &c.req.Module.Login
	user := m.User
	if user == "" {
		user = postgresUser
	}
	database := m.Database
	if database == "" {
		database = "postgres"
	}
	body := binary.BigEndian.AppendUint32(nil, postgresVersion3)
	for _, s := range []string{"user", user, "database", database, "application_name", "atoll", ""} {
		body = append(append(body, s...), 0)
	}
	start := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	if c.write("the start of a session", append(start, body...)) && c.postgresLogin(user, password) {
		c.postgresReady()
	}
}

// postgresLogin answers until the server is content; false if there is nothing more
// to say.
func (c *call) postgresLogin(user, password string) bool {
	var scram *scram
	for range 6 {
		kind, body, ok := c.postgresRead("the answer to the start of a session")
		if !ok {
			return false
		}
		switch {
		case kind == 'E':
			c.postgresRefused(body)
			return false
		case kind == 'N', kind == 'v': // a notice; an older minor version of the protocol
			continue
		case kind != 'R' || len(body) < 4:
			c.malformed("a message of kind %s, want one about authentication", quote(string(kind)))
			return false
		}
		asked, rest := binary.BigEndian.Uint32(body), body[4:]
		c.status(authWords(asked))
		if asked == authOK {
			if scram != nil && !scram.proved {
				c.res.Fail(protocol.Answer, protocol.Transfer, "the server lets us in without having proved that it knows the password")
				return false
			}
			return true
		}
		if c.req.Module.Login.User == "" {
			c.res.Add("probe_postgres_info", 1, "authentication", authWords(asked))
			c.postgresBye()
			return false
		}
		if !c.postgresProve(asked, rest, user, password, &scram) {
			return false
		}
	}
	c.malformed("the login takes more than 6 messages")
	return false
}

func authWords(asked uint32) string {
	switch asked {
	case authOK:
		return "none"
	case authClear:
		return "password"
	case authMD5:
		return "md5"
	case authSASL, authSASLContinue, authSASLFinal:
		return "scram-sha-256"
	}
	return fmt.Sprintf("method %d", asked)
}

// postgresProve answers one message about authentication.
func (c *call) postgresProve(asked uint32, rest []byte, user, password string, s **scram) bool {
	tls := c.req.Module.Login.TLS
	var err error
	switch {
	case asked == authClear && tls:
		return c.postgresWrite('p', append([]byte(password), 0))
	case asked == authClear:
		c.res.Fail(protocol.Login, protocol.Transfer, "the server wants the password itself, which is not sent without TLS")
		return false
	case asked == authMD5 && len(rest) == 4:
		return c.postgresWrite('p', append([]byte("md5"+md5Hex(md5Hex(password+user)+string(rest))), 0))
	case asked == authSASL && bytes.Contains(rest, []byte("SCRAM-SHA-256\x00")):
		*s = newSCRAM(password)
		first := (*s).first()
		b := append([]byte("SCRAM-SHA-256\x00"), 0, 0, 0, byte(len(first)))
		return c.postgresWrite('p', append(b, first...))
	case asked == authSASLContinue && *s != nil:
		var final string
		if final, err = (*s).final(string(rest)); err == nil {
			return c.postgresWrite('p', []byte(final))
		}
	case asked == authSASLFinal && *s != nil:
		if err = (*s).verify(string(rest)); err == nil {
			return true
		}
	default:
		c.res.Fail(protocol.Unsupported, protocol.Transfer, "the server wants authentication %s: use scram-sha-256 or md5", authWords(asked))
		return false
	}
	c.malformed("%v", err)
	return false
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// postgresReady reads what a server tells of itself once somebody is in.
func (c *call) postgresReady() {
	var version string
	for range maxLines {
		kind, body, ok := c.postgresRead("what follows the login")
		if !ok {
			return
		}
		switch kind {
		case 'S':
			name, value := pair(body)
			if name == "server_version" {
				version = value
			}
			if name == "in_hot_standby" {
				c.res.Add("probe_postgres_standby", float(value == "on"))
			}
		case 'E':
			c.postgresRefused(body)
			return
		case 'Z':
			c.res.Add("probe_postgres_info", 1, "version", cut(version, 64))
			c.postgresBye()
			return
		}
	}
	c.malformed("more than %d messages after the login", maxLines)
}

func pair(body []byte) (name, value string) {
	n, rest, _ := bytes.Cut(body, []byte{0})
	v, _, _ := bytes.Cut(rest, []byte{0})
	return string(n), string(v)
}

func (c *call) postgresBye() { _ = c.postgresWrite('X', nil) }

// postgresRefused judges an error by its SQLSTATE. Class 28 is about who asks.
func (c *call) postgresRefused(body []byte) {
	state, words := postgresError(body)
	c.status(words)
	switch {
	case strings.HasPrefix(state, "28") && c.req.Module.Login.User == "":
		c.res.Add("probe_postgres_info", 1, "authentication", "refused")
	case strings.HasPrefix(state, "28"):
		c.res.Fail(protocol.Login, protocol.Transfer, "log in: %s (%s)", quote(words), cut(state, 5))
	default:
		c.res.Fail(protocol.Status, protocol.Transfer, "the server refuses the session: %s (%s)", quote(words), cut(state, 5))
	}
}

// postgresError reads the SQLSTATE and the message of an error.
func postgresError(body []byte) (state, words string) {
	for len(body) > 1 {
		value, rest, _ := bytes.Cut(body[1:], []byte{0})
		switch body[0] {
		case 'C':
			state = string(value)
		case 'M':
			words = string(value)
		}
		body = rest
	}
	return state, words
}

func (c *call) postgresRead(what string) (kind byte, body []byte, ok bool) {
	var k [1]byte
	if !c.full(what, k[:]) {
		return 0, nil, false
	}
	body, ok = c.postgresBody(what)
	return k[0], body, ok
}

func (c *call) postgresBody(what string) ([]byte, bool) {
	var head [4]byte
	if !c.full(what, head[:]) {
		return nil, false
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 4 || n > maxPostgres {
		c.malformed("%s: a message of %d bytes, want 4 to %d: no PostgreSQL server", what, n, maxPostgres)
		return nil, false
	}
	body := make([]byte, n-4)
	return body, c.full(what, body)
}

func (c *call) postgresWrite(kind byte, body []byte) bool {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return c.write("a message", append(b, body...))
}
