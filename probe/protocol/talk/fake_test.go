package talk

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// TestWords plays what servers say that are not well: each is told apart, by the step
// and in words.
func TestWords(t *testing.T) {
	plain := func(m *definition.Module) { m.Mail.TLS = "none" }
	starttls := func(*definition.Module) {}
	user := func(m *definition.Module) { m.Login.User, m.Login.Password = "u", "p" }
	for _, tc := range []struct {
		name   string
		prober protocol.Func
		module func(*definition.Module)
		server func(net.Conn)
		code   protocol.Code
		words  string
	}{
		{"smtp greeting 554", SMTP, plain, script("554 no service\r\n", nil), protocol.Status, `the greeting: the server answers "554 no service", want 220`},
		{"smtp greeting no code", SMTP, plain, script("hello\r\n", nil), protocol.Malformed, `"hello"`},
		{"smtp ehlo refused", SMTP, plain, script("220 a\r\n", map[string]string{"EHLO": "550-go\r\n550 away\r\n"}), protocol.Status, `EHLO: the server answers "550 away", want 250`},
		{"smtp no starttls", SMTP, starttls, script("220 a\r\n", map[string]string{"EHLO": "250 a\r\n"}), protocol.TLSMissing, "STARTTLS"},
		{"smtp starttls refused", SMTP, starttls, script("220 a\r\n", map[string]string{"EHLO": "250-a\r\n250 STARTTLS\r\n", "STARTTLS": "454 later\r\n"}), protocol.Status, `STARTTLS: the server answers "454 later"`},
		{"smtp closes", SMTP, plain, script("220 a\r\n", map[string]string{}), protocol.ConnectionReset, "EHLO"},
		{"imap bye", IMAP, plain, script("* BYE full\r\n", nil), protocol.Status, "full"},
		{"imap no", IMAP, plain, script("* OK\r\n", map[string]string{"a1": "a1 NO not now\r\n"}), protocol.Status, `CAPABILITY: the server answers "NO not now"`},
		{"imap is http", IMAP, plain, script("HTTP/1.1 400 Bad\r\n", nil), protocol.Malformed, "HTTP/1.1"},
		{"pop3 err", POP3, plain, script("-ERR locked\r\n", nil), protocol.Status, "locked"},
		{"pop3 no stls", POP3, starttls, script("+OK\r\n", map[string]string{"CAPA": "+OK\r\nTOP\r\n.\r\n"}), protocol.TLSMissing, "STARTTLS"},
		{"pop3 stls unknown", POP3, starttls, script("+OK\r\n", map[string]string{"": "-ERR what\r\n"}), protocol.Status, "STLS"},
		{"redis loading", Redis, plain, script("", map[string]string{"PING": "-LOADING dataset\r\n", "*1": "", "$4": ""}), protocol.Status, "it is loading its data"},
		{"redis speaks first", Redis, plain, script("220 mail\r\n", map[string]string{"": ""}), protocol.Malformed, "220 mail"},
		{"redis protected", Redis, plain, script("-DENIED protected mode\r\n", map[string]string{"": ""}), protocol.Status, "protected mode"},
		{"mysql too many", MySQL, plain, bytesServer("\x17\x00\x00\x00\xff\x10\x04Too many connections"), protocol.Status, `error 1040, "Too many connections"`},
		{"mysql is http", MySQL, plain, bytesServer("HTTP/1.1 400 Bad Request\r\n\r\n"), protocol.Malformed, "no MySQL server"},
		{"mysql protocol 9", MySQL, plain, bytesServer("\x05\x00\x00\x00\x093.22"), protocol.Malformed, "protocol version 10"},
		{"mysql short", MySQL, plain, bytesServer("\x07\x00\x00\x00\x0a8.0.1\x00"), protocol.Malformed, "ends after 7 bytes"},
		{"postgres too many", Postgres, user, bytesServer("E\x00\x00\x00\x1aC53300\x00Mtoo many\x00\x00xxxx"), protocol.Status, `"too many" (53300)`},
		{"postgres starting", Postgres, plain, bytesServer("E\x00\x00\x00\x20SFATAL\x00C57P03\x00Mstarting up\x00\x00"), protocol.Status, "starting up"},
		{"postgres nobody", Postgres, user, bytesServer("E\x00\x00\x00\x17C28000\x00Mno pg_hba\x00\x00"), protocol.Login, "no pg_hba"},
		{"postgres clear password", Postgres, user, bytesServer("R\x00\x00\x00\x08\x00\x00\x00\x03"), protocol.Login, "not sent without TLS"},
		{"postgres gss", Postgres, user, bytesServer("R\x00\x00\x00\x08\x00\x00\x00\x07"), protocol.Unsupported, "method 7"},
		{"postgres no TLS", Postgres, func(m *definition.Module) { m.Login.TLS = true }, bytesServer("N"), protocol.TLSMissing, "does not offer TLS"},
		{"postgres TLS of http", Postgres, func(m *definition.Module) { m.Login.TLS = true }, bytesServer("HTTP"), protocol.Malformed, `"H"`},
		{"postgres is http", Postgres, plain, bytesServer("HTTP/1.1"), protocol.Malformed, "no PostgreSQL server"},
		{"postgres huge", Postgres, plain, bytesServer("R\x7f\xff\xff\xff"), protocol.Malformed, "2147483647 bytes"},
		{"ssh is http", SSH, plain, bytesServer("HTTP/1.1 400 Bad Request\r\n\r\n"), protocol.ConnectionReset, "exchange keys"},
		{"ssh garbage", SSH, plain, bytesServer("SSH-2.0-x\r\n" + strings.Repeat("\xff", 64)), protocol.Malformed, "exchange keys"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := module()
			tc.module(m)
			wantDown(t, probe(t, tc.prober, serve(t, tc.server), m), tc.code, tc.words)
		})
	}
}

// bytesServer says bytes and then only listens, until the other side has no more to
// say; a server that closes would reset what was not read.
func bytesServer(s string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, s)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}
}

// TestHostile has servers that never end, in one way or another: every prober gives up
// at its deadline at the latest, and holds no more than it may.
func TestHostile(t *testing.T) {
	servers := map[string]func(net.Conn){
		"endless line":   func(conn net.Conn) { flood(conn, strings.Repeat("x", 1<<10)) },
		"endless lines":  func(conn net.Conn) { flood(conn, strings.Repeat("220-x\r\n", 100)) },
		"endless IMAP":   func(conn net.Conn) { flood(conn, strings.Repeat("* OK x\r\n", 100)) },
		"endless zeros":  func(conn net.Conn) { flood(conn, strings.Repeat("\x00", 1<<10)) },
		"endless NSTRs":  func(conn net.Conn) { flood(conn, "N\x00\x00\x00\x04"+strings.Repeat("N\x00\x00\x00\x04", 100)) },
		"huge string":    func(conn net.Conn) { flood(conn, "$999999999999\r\n") },
		"huge packet":    func(conn net.Conn) { flood(conn, "\xff\xff\xff\x00") },
		"slow":           slow,
		"silent":         func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"closes at once": func(net.Conn) {},
		"endless SSH":    func(conn net.Conn) { flood(conn, "SSH-2.0-x\r\n"+strings.Repeat("\x00\x00\x01\x00", 200)) },
	}
	for name, server := range servers {
		addr := serve(t, server)
		for prober, f := range Table() {
			if prober == "unix" || prober == "udp" || prober == "ntp" {
				continue
			}
			t.Run(name+"/"+prober, func(t *testing.T) {
				t.Parallel()
				m := module()
				m.TCP.QueryResponse = ircScript()
				m.Login = definition.Login{User: "u", Password: "p"}
				r := probeWithin(t, f, addr, m, time.Second)
				if r.Up {
					t.Errorf("up: %+v", r)
				}
				if len(r.Reason.Words) > 400 {
					t.Errorf("%d bytes of words: %s", len(r.Reason.Words), r.Reason.Words)
				}
			})
		}
	}
}

func flood(conn net.Conn, s string) {
	for {
		if _, err := io.WriteString(conn, s); err != nil {
			return
		}
	}
}

// slow sends a byte now and then, as long as somebody listens.
func slow(conn net.Conn) {
	for {
		if _, err := conn.Write([]byte("2")); err != nil {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

func TestSSHLogin(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ssh.ServerConfig{PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if c.User() == "prober" && string(password) == "secret" {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
	cfg.AddHostKey(signer)
	addr := serve(t, func(conn net.Conn) {
		c, channels, requests, err := ssh.NewServerConn(conn, cfg)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for ch := range channels {
			_ = ch.Reject(ssh.Prohibited, "")
		}
		_ = c.Wait()
	})
	m := module()
	m.Login = definition.Login{User: "prober", Password: "secret"}
	r := probe(t, SSH, addr, m)
	wantUp(t, r)
	sample(t, r, "probe_ssh_info", "version", "SSH-2.0-Go", "fingerprint_sha256", ssh.FingerprintSHA256(signer.PublicKey()))
	m.Login.Password = "other"
	wantDown(t, probe(t, SSH, addr, m), protocol.Login, "prober")
}

// ntpServer answers by what edit makes of a good answer whose clock is ahead.
func ntpServer(t *testing.T, ahead time.Duration, edit func(packet []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n != ntpSize || buf[0] != 4<<3|3 {
				continue
			}
			p := make([]byte, ntpSize)
			p[0], p[1], p[3] = 4<<3|4, 2, 0xec // 2^-20 s
			binary.BigEndian.PutUint32(p[4:], 1<<15)
			binary.BigEndian.PutUint32(p[8:], 1<<14)
			copy(p[24:], buf[40:48])
			now := ntpTime(time.Now().Add(ahead))
			binary.BigEndian.PutUint64(p[32:], now)
			binary.BigEndian.PutUint64(p[40:], now)
			if p = edit(p); p != nil {
				_, _ = conn.WriteTo(p, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestNTP(t *testing.T) {
	same := func(p []byte) []byte { return p }
	set := func(i int, v byte) func([]byte) []byte {
		return func(p []byte) []byte { p[i] = v; return p }
	}
	kiss := func(p []byte) []byte { p[1] = 0; copy(p[12:], "RATE"); return p }
	m := module()
	r := probe(t, NTP, ntpServer(t, time.Hour, same), m)
	wantUp(t, r)
	if got := sample(t, r, "probe_ntp_offset_seconds"); got < 3590 || got > 3610 {
		t.Errorf("the offset is %v s, want 3600", got)
	}
	if got := sample(t, r, "probe_ntp_root_delay_seconds"); got != 0.5 {
		t.Errorf("the root delay is %v s, want 0.5", got)
	}
	if got := sample(t, r, "probe_ntp_root_dispersion_seconds"); got != 0.25 {
		t.Errorf("the root dispersion is %v s, want 0.25", got)
	}
	m.NTP.MaxOffset = 60e9
	wantDown(t, probe(t, NTP, ntpServer(t, -time.Hour, same), m), protocol.Answer, "the clocks differ by -3", "want at most 1m0s")
	m = module()
	wantDown(t, probe(t, NTP, ntpServer(t, 0, set(1, 16)), m), protocol.Answer, "the stratum is 16")
	wantDown(t, probe(t, NTP, ntpServer(t, 0, set(0, 3<<6|4<<3|4)), m), protocol.Answer, "not synchronized")
	wantDown(t, probe(t, NTP, ntpServer(t, 0, kiss), m), protocol.Status, "RATE", "asked too often")
	wantDown(t, probeWithin(t, NTP, ntpServer(t, 0, set(24, 0)), m, 300*time.Millisecond), protocol.RequestTimeout)
	wantDown(t, probeWithin(t, NTP, ntpServer(t, 0, func(p []byte) []byte { return p[:40] }), m, 300*time.Millisecond), protocol.RequestTimeout, "none to this question")
	wantDown(t, probe(t, NTP, "127.0.0.1:"+port(t), m), protocol.ConnectionRefused)
}

// TestNTPEra crosses 2036, when the seconds of NTP begin anew.
func TestNTPEra(t *testing.T) {
	before := time.Date(2036, 2, 7, 6, 28, 0, 0, time.UTC)
	after := before.Add(time.Minute)
	if got := ntpSeconds(ntpTime(after), ntpTime(before)); got != 60 {
		t.Errorf("a minute over the end of an era is %v s", got)
	}
}
