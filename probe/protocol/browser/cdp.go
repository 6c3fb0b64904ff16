package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxMessage bounds what Chromium may say at once: a screenshot is the longest, in
// base64.
const maxMessage = 4 << 20

// client speaks the DevTools protocol over a pipe: JSON messages that end with a zero.
type client struct {
	out io.Writer
	// on is told of events, in the goroutine that reads.
	on func(method string, params json.RawMessage)

	mu      sync.Mutex
	last    int
	waiting map[int]chan message
	err     error // why reading ended
	session string
	done    chan struct{}
}

// message is an answer (ID), or an event (Method).
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

type command struct {
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
	Session string `json:"sessionId,omitempty"`
}

func newClient(out io.Writer, on func(string, json.RawMessage)) *client {
	return &client{out: out, on: on, waiting: map[int]chan message{}, done: make(chan struct{})}
}

var errGone = errors.New("the browser ended")

// read delivers until the pipe ends.
func (c *client) read(in io.Reader) {
	err := scan(in, func(m message) {
		if m.Method != "" {
			c.on(m.Method, m.Params)
			return
		}
		c.mu.Lock()
		answer := c.waiting[m.ID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	})
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.done)
}

// scan reads messages. What is none is passed over.
func scan(in io.Reader, deliver func(message)) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 16<<10), maxMessage)
	s.Split(func(data []byte, _ bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, 0); i >= 0 {
			return i + 1, data[:i], nil
		}
		return 0, nil, nil
	})
	for s.Scan() {
		var m message
		if json.Unmarshal(s.Bytes(), &m) == nil {
			deliver(m)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read from the browser: %w", err)
	}
	return errGone
}

// call sends a command and decodes its result into result, unless that is nil.
func (c *client) call(ctx context.Context, method string, params, result any) error {
	answer, err := c.send(method, params)
	if err != nil {
		return err
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return fmt.Errorf("%s: %.200s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(m.Result, result); err != nil {
			return fmt.Errorf("%s: read the answer: %w", method, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	case <-c.done:
		return fmt.Errorf("%s: %w", method, c.reason())
	}
}

// send sends a command; whoever does not care for the answer may forget it.
func (c *client) send(method string, params any) (<-chan message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	b, err := json.Marshal(command{ID: c.last, Method: method, Params: params, Session: c.session})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	answer := make(chan message, 1)
	c.waiting[c.last] = answer
	if _, err := c.out.Write(append(b, 0)); err != nil {
		return nil, fmt.Errorf("%s: %w", method, errGone)
	}
	return answer, nil
}

func (c *client) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// attach makes all further commands speak of one page.
func (c *client) attach(session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session
}
