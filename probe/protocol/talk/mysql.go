package talk

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Capabilities of MySQL's protocol that are used here.
const (
	mysqlWithDatabase = 1 << 3
	mysqlProtocol41   = 1 << 9
	mysqlTLS          = 1 << 11
	mysqlSecure       = 1 << 15
	mysqlPluginAuth   = 1 << 19

	mysqlUTF8 = 45
	// maxMySQL is what a packet of a handshake may have.
	maxMySQL = 16 << 10
	// accessDenied is the error of a wrong user or password.
	accessDenied       = 1045
	accessDeniedNoUser = 1698
)

// mysqlUser is who asks where nobody was named. A handshake that is broken off counts
// against max_connect_errors, at which a server blocks the host that asks; one that
// ends with a refused user does not.
const mysqlUser = "atoll-probe"

// MySQL shakes hands with a server, port 3306, and logs in if module key login has a
// user. Without one, being refused is the end of a good handshake.
func MySQL(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	m := &r.Module.Login
	password, err := secret(m)
	if err != nil {
		c.res.Fail(protocol.Internal, protocol.Sent, "%v", err)
		return c.finish()
	}
	if !c.dial("tcp", "3306") {
		return c.finish()
	}
	hello, ok := c.mysqlHello()
	if !ok {
		return c.finish()
	}
	c.res.Add("probe_mysql_info", 1, "version", cut(hello.version, 64), "plugin", cut(hello.plugin, 64))
	offered := hello.capabilities&mysqlTLS != 0
	c.res.Add("probe_mysql_tls_offered", float(offered))
	if m.TLS && (!c.offered(offered) || !c.mysqlAskTLS() || !c.secure(&m.TLSConfig)) {
		return c.finish()
	}
	if c.mysqlLogin(hello, password) {
		_ = c.mysqlWrite("COM_QUIT", 0, []byte{1})
	}
	return c.finish()
}

// mysqlHandshake is a server's first packet (protocol 10).
type mysqlHandshake struct {
	version, plugin string
	nonce           []byte // 20 bytes, less from broken servers
	capabilities    uint32
}

func (c *call) mysqlHello() (mysqlHandshake, bool) {
	packet, _, ok := c.mysqlRead("the greeting")
	if !ok {
		return mysqlHandshake{}, false
	}
	if len(packet) > 0 && packet[0] == 0xff {
		code, words := mysqlError(packet)
		c.status(words)
		c.res.Fail(protocol.Status, protocol.Transfer, "the server refuses the connection: error %d, %s", code, quote(words))
		return mysqlHandshake{}, false
	}
	h, err := parseMySQL(packet)
	if err != nil {
		c.malformed("%v", err)
		return mysqlHandshake{}, false
	}
	c.status(h.version)
	return h, true
}

func parseMySQL(b []byte) (mysqlHandshake, error) {
	if len(b) == 0 || b[0] != 10 {
		return mysqlHandshake{}, fmt.Errorf("read MySQL's greeting: it is %s, want one of protocol version 10", quote(string(b)))
	}
	version, rest, ok := bytes.Cut(b[1:], []byte{0})
	// Thread 4, nonce 8, filler 1, capabilities 2, character set 1, status 2,
	// capabilities 2, length of nonce 1, reserved 10.
	if !ok || len(rest) < 31 {
		return mysqlHandshake{}, fmt.Errorf("read MySQL's greeting: it ends after %d bytes", len(b))
	}
	h := mysqlHandshake{
		version:      string(version),
		capabilities: uint32(binary.LittleEndian.Uint16(rest[13:])) | uint32(binary.LittleEndian.Uint16(rest[18:]))<<16,
		nonce:        bytes.Clone(rest[4:12]),
	}
	second := max(13, int(rest[20])-8)
	tail := rest[31:]
	if len(tail) < second {
		return h, nil
	}
	h.nonce = append(h.nonce, bytes.TrimRight(tail[:second], "\x00")...)
	plugin, _, _ := bytes.Cut(tail[second:], []byte{0})
	h.plugin = string(plugin)
	return h, nil
}

// mysqlError reads an error packet: code, and "SQLSTATE message".
func mysqlError(b []byte) (code uint16, words string) {
	if len(b) < 3 {
		return 0, ""
	}
	words = string(b[3:])
	if len(words) > 6 && words[0] == '#' {
		words = words[6:]
	}
	return binary.LittleEndian.Uint16(b[1:]), words
}

// mysqlAskTLS sends the short answer to a greeting, after which TLS begins.
func (c *call) mysqlAskTLS() bool {
	return c.mysqlWrite("the request for TLS", 1, mysqlAnswer(mysqlTLS))
}

// mysqlAnswer is how the answer to a greeting begins.
func mysqlAnswer(more uint32) []byte {
	b := make([]byte, 32)
	binary.LittleEndian.PutUint32(b, more|mysqlProtocol41|mysqlSecure|mysqlPluginAuth)
	binary.LittleEndian.PutUint32(b[4:], 1<<24)
	b[8] = mysqlUTF8
	return b
}

// mysqlLogin ends the handshake; true if somebody is logged in.
func (c *call) mysqlLogin(h mysqlHandshake, password string) bool {
	m := &c.req.Module.Login
	user, caps, seq := m.User, uint32(0), byte(1)
	if user == "" {
		user, password = mysqlUser, ""
	}
	if m.TLS {
		caps, seq = mysqlTLS, 2
	}
	if m.Database != "" && m.User != "" {
		caps |= mysqlWithDatabase
	}
	proof, plugin := mysqlProof(h.plugin, password, h.nonce), h.plugin
	if proof == nil {
		plugin = "mysql_native_password"
		proof = mysqlProof(plugin, password, h.nonce)
	}
	b := append(mysqlAnswer(caps), user...)
	b = append(b, 0, byte(len(proof)))
	b = append(b, proof...)
	if caps&mysqlWithDatabase != 0 {
		b = append(append(b, m.Database...), 0)
	}
	b = append(append(b, plugin...), 0)
	return c.mysqlWrite("the login", seq, b) && c.mysqlVerdict(password)
}

// mysqlVerdict goes on until the server says yes or no.
func (c *call) mysqlVerdict(password string) bool {
	for range 5 {
		packet, seq, ok := c.mysqlRead("the answer to the login")
		if !ok {
			return false
		}
		if len(packet) == 0 {
			c.malformed("the answer to the login is empty")
			return false
		}
		switch packet[0] {
		case 0x00:
			return true
		case 0xff:
			c.mysqlRefused(packet)
			return false
		case 0xfe: // another plugin
			name, rest, _ := bytes.Cut(packet[1:], []byte{0})
			plugin := string(name)
			proof := mysqlProof(plugin, password, bytes.TrimRight(rest, "\x00"))
			if proof == nil {
				if c.req.Module.Login.User != "" {
					c.res.Fail(protocol.Unsupported, protocol.Transfer, "the server wants authentication plugin %s: use mysql_native_password or caching_sha2_password", quote(plugin))
				}
				return false
			}
			if !c.mysqlWrite("the password", seq+1, proof) {
				return false
			}
		case 0x01: // caching_sha2_password: 3 says yes, 4 wants the password itself
			if len(packet) > 1 && packet[1] == 4 && !c.mysqlPassword(seq, password) {
				return false
			}
		default:
			c.malformed("the answer to the login is %s", quote(string(packet)))
			return false
		}
	}
	c.malformed("the login takes more than 5 answers")
	return false
}

func (c *call) mysqlPassword(seq byte, password string) bool {
	m := &c.req.Module.Login
	if m.TLS {
		return c.mysqlWrite("the password", seq+1, append([]byte(password), 0))
	}
	if m.User != "" {
		c.res.Fail(protocol.Login, protocol.Transfer, "the server wants the password itself, which is not sent without TLS: set login.tls")
	}
	return false
}

func (c *call) mysqlRefused(packet []byte) {
	code, words := mysqlError(packet)
	switch {
	case (code == accessDenied || code == accessDeniedNoUser) && c.req.Module.Login.User == "":
	case code == accessDenied || code == accessDeniedNoUser:
		c.res.Fail(protocol.Login, protocol.Transfer, "log in: %s", quote(words))
	default:
		c.res.Fail(protocol.Status, protocol.Transfer, "log in: error %d, %s", code, quote(words))
	}
}

// mysqlProof is what a plugin wants instead of the password; nil for a plugin that is
// not known here, not nil for an empty password.
func mysqlProof(plugin, password string, nonce []byte) []byte {
	if plugin != "mysql_native_password" && plugin != "caching_sha2_password" && plugin != "" {
		return nil
	}
	if password == "" {
		return []byte{}
	}
	if plugin == "caching_sha2_password" {
		once := sha256.Sum256([]byte(password))
		twice := sha256.Sum256(once[:])
		mixed := sha256.Sum256(append(twice[:], nonce...))
		subtle.XORBytes(once[:], once[:], mixed[:])
		return once[:]
	}
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	mixed := sha1.Sum(append(bytes.Clone(nonce), twice[:]...))
	subtle.XORBytes(once[:], once[:], mixed[:])
	return once[:]
}

// mysqlRead reads a packet and its number.
func (c *call) mysqlRead(what string) (packet []byte, seq byte, ok bool) {
	var head [4]byte
	if !c.full(what, head[:]) {
		return nil, 0, false
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n > maxMySQL {
		c.malformed("%s: a packet of %d bytes, want at most %d: no MySQL server", what, n, maxMySQL)
		return nil, 0, false
	}
	packet = make([]byte, n)
	return packet, head[3], c.full(what, packet)
}

func (c *call) mysqlWrite(what string, seq byte, packet []byte) bool {
	n := len(packet)
	return c.write(what, append([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq}, packet...))
}
