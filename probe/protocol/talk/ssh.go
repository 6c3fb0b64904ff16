package talk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// errEnough ends a handshake of SSH once the server has proved which key it has.
var errEnough = errors.New("the host key is known")

// SSH exchanges keys with a server (RFC 4253), port 22, and logs in if module key
// login has a user.
func SSH(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	if !c.dial("tcp", "22") {
		return c.finish()
	}
	password, err := secret(&r.Module.Login)
	if err != nil {
		c.res.Fail(protocol.Internal, protocol.Sent, "%v", err)
		return c.finish()
	}
	login := r.Module.Login.User != ""
	var key ssh.PublicKey
	conn := &hearing{Conn: c.conn}
	cfg := &ssh.ClientConfig{
		User: r.Module.Login.User, ClientVersion: "SSH-2.0-Atoll",
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			key = k
			if login && c.hostKey(k) {
				return nil
			}
			return errEnough
		},
	}
	if login {
		cfg.Auth = []ssh.AuthMethod{ssh.Password(password), ssh.KeyboardInteractive(answerAll(password))}
	}
	client, _, requests, err := ssh.NewClientConn(conn, c.res.Address.String(), cfg)
	c.sshVersion(c.heard(conn), key)
	switch {
	case err == nil:
		go ssh.DiscardRequests(requests)
		client.Close()
		_ = client.Wait() // its goroutines are gone; why it ended is known
	case key == nil:
		c.sshFailed("exchange keys", err)
	case !login:
		c.hostKey(key)
	case refused(err):
		c.res.Fail(protocol.Login, protocol.Transfer, "log in as %s: %s", quote(r.Module.Login.User), cut(err.Error(), 200))
	default:
		c.sshFailed("log in", err)
	}
	return c.finish()
}

// refused tells whether the credentials were: also by message 51, a refusal, where the
// library waits for a question.
func refused(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "unexpected message type 51")
}

// answerAll answers a server's questions by the password, as PAM's only one asks for.
func answerAll(password string) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, _ []bool) ([]string, error) {
		if len(questions) > 1 {
			return nil, fmt.Errorf("the server asks %d questions, and there is one password", len(questions))
		}
		return slices.Repeat([]string{password}, len(questions)), nil
	}
}

// hostKey checks the key's fingerprint.
func (c *call) hostKey(k ssh.PublicKey) bool {
	want := c.req.Module.Login.HostKeys
	got := ssh.FingerprintSHA256(k)
	if len(want) == 0 || slices.Contains(want, got) {
		return true
	}
	c.res.Fail(protocol.Answer, protocol.Transfer, "the host key is %s, want %s", got, strings.Join(want, " or "))
	return false
}

func (c *call) sshVersion(banner string, key ssh.PublicKey) {
	if banner == "" {
		return
	}
	c.status(banner)
	labels := []string{"version", cut(banner, 64), "key_type", "", "fingerprint_sha256", ""}
	if key != nil {
		labels[3], labels[5] = cut(key.Type(), 64), ssh.FingerprintSHA256(key)
	}
	c.res.Add("probe_ssh_info", 1, labels...)
}

// sshFailed tells an error of the network, which the library hides in text, from one
// of the protocol.
func (c *call) sshFailed(what string, err error) {
	var network net.Error
	switch {
	case c.ctx.Err() != nil, errors.As(err, &network):
		c.failed(c.awaiting(), what, err)
	case strings.Contains(err.Error(), errTooMuch.Error()):
		c.failed(c.awaiting(), what, errTooMuch)
	case strings.Contains(err.Error(), "EOF"):
		c.res.Fail(protocol.ConnectionReset, c.awaiting(), "%s: the server closed the connection", what)
	case strings.Contains(err.Error(), "connection reset"):
		c.res.Fail(protocol.ConnectionReset, c.awaiting(), "%s: connection reset by peer", what)
	case strings.Contains(err.Error(), "i/o timeout"):
		c.failed(c.awaiting(), what, context.DeadlineExceeded)
	default:
		c.malformed("%s: %s", what, cut(strings.TrimPrefix(err.Error(), "ssh: "), 200))
	}
}

// hearing is a connection whose first bytes are kept, which have the server's
// version; what is read counts as elsewhere. The library reads in a goroutine of its
// own, which may go on a little after a handshake has failed.
type hearing struct {
	net.Conn
	mu    sync.Mutex
	first []byte
	since time.Time // when the first byte came; zero before
	got   int
}

func (h *hearing) Read(p []byte) (int, error) {
	h.mu.Lock()
	room := maxBytes - h.got
	h.mu.Unlock()
	if room <= 0 {
		return 0, errTooMuch
	}
	n, err := h.Conn.Read(p[:min(len(p), room)])
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.got += n; h.since.IsZero() && n > 0 {
		h.since = time.Now()
	}
	if room := 2<<10 - len(h.first); room > 0 {
		h.first = append(h.first, p[:min(n, room)]...)
	}
	return n, err
}

// heard takes over what was read and when; it returns the line with the version, ""
// if none came.
func (c *call) heard(h *hearing) (banner string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	c.answering = !h.since.IsZero()
	first := now
	if c.answering {
		first = h.since
	}
	c.res.Phases[protocol.FirstByte] += first.Sub(c.mark)
	c.res.Phases[protocol.Transfer] += now.Sub(first)
	c.mark = now
	for line := range bytes.Lines(h.first) {
		if bytes.HasPrefix(line, []byte("SSH-")) && bytes.HasSuffix(line, []byte("\n")) {
			return strings.TrimRight(string(line), "\r\n")
		}
	}
	return ""
}
