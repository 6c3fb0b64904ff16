package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
)

// ErrNotRunning is returned where no island answers on the socket.
var ErrNotRunning = errors.New("no island is running with this data directory")

// Client speaks to the island whose data directory is at hand.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient returns a client for the island of a data directory. Nothing is
// dialled yet.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, done, err := short(filepath.Join(dir, SocketName))
		if err != nil {
			return nil, err
		}
		defer done()
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{dir: dir, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Refusal is the island's no, in its own words.
type Refusal struct {
	Status  int
	Message string
}

func (r *Refusal) Error() string { return r.Message }

// Do sends a request and returns the answer if it is a success; the caller
// closes its body. The error is ErrNotRunning or a *Refusal where that is the reason.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://island"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (%s): start one with `atoll run`, or name its directory with --data-dir", ErrNotRunning, filepath.Join(c.dir, SocketName))
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open %s: only the user that the island runs as may govern it; try with sudo", filepath.Join(c.dir, SocketName))
	case err != nil:
		return nil, fmt.Errorf("ask the island: %w", err)
	case resp.StatusCode < 300, resp.StatusCode == http.StatusNotModified:
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

func refusal(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	if err != nil {
		return fmt.Errorf("read the island's refusal: %w", err)
	}
	var p problem
	if json.Unmarshal(text, &p) != nil || p.Message == "" {
		p.Message = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	if p.Remedy != "" {
		p.Message += "; " + p.Remedy
	}
	return &Refusal{Status: resp.StatusCode, Message: p.Message}
}

// Act posts a request to one of this package's routes.
func Act[Q, A any](ctx context.Context, c *Client, route string, q Q) (answer A, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return answer, fmt.Errorf("encode the request: %w", err)
	}
	err = c.exchange(ctx, http.MethodPost, Prefix+route, body, &answer)
	return answer, err
}

// Ask gets one of this package's routes.
func Ask[A any](ctx context.Context, c *Client, route string) (answer A, err error) {
	err = c.exchange(ctx, http.MethodGet, Prefix+route, nil, &answer)
	return answer, err
}

func (c *Client) exchange(ctx context.Context, method, path string, body []byte, into any) error {
	resp, err := c.Do(ctx, method, path, nil, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the island's answer: %w", err)
	}
	return nil
}
