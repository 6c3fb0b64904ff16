package request

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
)

// Client sends requests to one receiver. It is safe for concurrent use.
type Client struct {
	client remote.WriteClient
	idle   func()
	v2     bool
}

// NewClient builds the client of a remote_write entry; name is for upstream's
// metrics and traces.
func NewClient(name string, rw *promconfig.RemoteWriteConfig) (*Client, error) {
	c, err := remote.NewWriteClient(name, &remote.ClientConfig{
		URL:              rw.URL,
		WriteProtoMsg:    rw.ProtobufMessage,
		Timeout:          rw.RemoteTimeout,
		HTTPClientConfig: rw.HTTPClientConfig,
		SigV4Config:      rw.SigV4Config,
		AzureADConfig:    rw.AzureADConfig,
		GoogleIAMConfig:  rw.GoogleIAMConfig,
		Headers:          rw.Headers,
		RetryOnRateLimit: true,
		RoundRobinDNS:    rw.RoundRobinDNS,
	})
	if err != nil {
		return nil, fmt.Errorf("build the client: %w", err)
	}
	hc, ok := c.(*remote.Client)
	if !ok {
		return nil, fmt.Errorf("BUG: remote.NewWriteClient returned %T, want *remote.Client", c)
	}
	idle := hc.Client.CloseIdleConnections
	hc.Client = &http.Client{Transport: observer{hc.Client.Transport}, CheckRedirect: hc.Client.CheckRedirect}
	return &Client{client: c, idle: idle, v2: V2(rw)}, nil
}

// V2 says whether the entry asks for remote write 2.0.
func V2(rw *promconfig.RemoteWriteConfig) bool {
	return rw.ProtobufMessage == remoteapi.WriteV2MessageType
}

// Identity hashes what makes a receiver that receiver: the URL and the headers (a
// tenant is often a header).
func Identity(rw *promconfig.RemoteWriteConfig) string {
	text := rw.URL.String()
	for _, k := range slices.Sorted(maps.Keys(rw.Headers)) {
		text += "\n" + k + "=" + rw.Headers[k]
	}
	return Digest(text)
}

// Digest hashes a text to 16 hexadecimal digits.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Reply is what upstream's client keeps to itself of an HTTP answer.
type Reply struct {
	// Status is 0 when there was no answer.
	Status int
	// RetryAfter is at most 10 minutes.
	RetryAfter time.Duration
}

// Again says whether the same request may be taken later: there was no answer,
// or 5xx, or 429.
func (r Reply) Again() bool {
	return r.Status == 0 || r.Status/100 == 5 || r.Status == http.StatusTooManyRequests
}

// V2 says whether the client speaks remote write 2.0.
func (c *Client) V2() bool { return c.v2 }

// CloseIdleConnections ends the connections that carry no request.
func (c *Client) CloseIdleConnections() { c.idle() }

// Store sends one request and reports what came back. attempt counts from 0 and
// travels in a header.
func (c *Client) Store(ctx context.Context, body []byte, attempt int) (remote.WriteResponseStats, Reply, error) {
	var r Reply
	stats, err := c.client.Store(context.WithValue(ctx, replyKey{}, &r), body, attempt)
	return stats, r, err
}

type replyKey struct{}

// observer notes status and Retry-After in the *Reply of the request's context.
type observer struct{ next http.RoundTripper }

func (o observer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(req)
	if r, ok := req.Context().Value(replyKey{}).(*Reply); ok && err == nil {
		r.Status = resp.StatusCode
		r.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return resp, err
}

func (o observer) CloseIdleConnections() {
	if c, ok := o.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// maxRetryAfter keeps a receiver from parking the queue with one header.
const maxRetryAfter = 10 * time.Minute

// parseRetryAfter reads seconds or an HTTP date; anything else is 0.
func parseRetryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return min(max(time.Duration(n)*time.Second, 0), maxRetryAfter)
	}
	if t, err := time.Parse(http.TimeFormat, text); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
