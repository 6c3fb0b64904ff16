package send

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"go.yaml.in/yaml/v2"
)

// maxShards keeps the shard positions of a cursor within one slot of its file.
const maxShards = 256

// spec is one remote_write entry, checked and ready to run.
type spec struct {
	// key names the cursor's files: a hash of what makes the remote this remote.
	key string
	// hash tells whether anything but secrets and files behind them changed.
	hash     string
	name     string
	config   *promconfig.RemoteWriteConfig
	external labels.Labels
	client   remote.WriteClient
	idle     func()
	// start is where a remote without a cursor begins.
	start position
}

func (s *spec) v2() bool { return s.config.ProtobufMessage == remoteapi.WriteV2MessageType }

// buildSpecs checks every remote_write entry and builds its client.
func buildSpecs(cfg *promconfig.Config) ([]*spec, error) {
	var (
		specs []*spec
		errs  []error
		keys  = map[string]int{}
		seen  = map[string]bool{}
	)
	for i, rw := range cfg.RemoteWriteConfigs {
		s, err := buildSpec(rw, cfg.GlobalConfig.ExternalLabels)
		if err != nil {
			errs = append(errs, fmt.Errorf("remote_write[%d] (%s): %w", i, redacted(rw), err))
			continue
		}
		if seen[s.hash] {
			errs = append(errs, fmt.Errorf("remote_write[%d] (%s): the same entry stands twice; remove one", i, redacted(rw)))
			continue
		}
		seen[s.hash] = true
		// Entries to one URL with the same headers are told apart by their place.
		if n := keys[s.key]; n > 0 {
			keys[s.key]++
			s.key += "-" + strconv.Itoa(n)
		} else {
			keys[s.key] = 1
		}
		specs = append(specs, s)
	}
	if err := errors.Join(errs...); err != nil {
		closeIdle(specs)
		return nil, err
	}
	return specs, nil
}

func redacted(rw *promconfig.RemoteWriteConfig) string {
	if rw.URL == nil {
		return "no url"
	}
	return rw.URL.Redacted()
}

func buildSpec(rw *promconfig.RemoteWriteConfig, external labels.Labels) (*spec, error) {
	if rw.URL == nil {
		return nil, errors.New("url is missing; give the receiver's write URL")
	}
	if rw.ConvertNHCBToClassic {
		return nil, errors.New("convert_nhcb_to_classic: true is not supported; send native histograms (send_native_histograms with protobuf_message io.prometheus.write.v2.Request), or scrape classic ones")
	}
	text, err := yaml.Marshal(rw)
	if err != nil {
		return nil, fmt.Errorf("hash the configuration: %w", err)
	}
	s := &spec{
		key:      identity(rw),
		hash:     digest(string(text) + "\n" + rw.URL.String() + "\n" + external.String()),
		name:     rw.Name,
		config:   rw,
		external: external,
	}
	if s.name == "" {
		s.name = s.hash[:6]
	}
	return s, s.connect()
}

// identity hashes the URL and the headers (a tenant is often a header).
func identity(rw *promconfig.RemoteWriteConfig) string {
	text := rw.URL.String()
	for _, k := range slices.Sorted(maps.Keys(rw.Headers)) {
		text += "\n" + k + "=" + rw.Headers[k]
	}
	return digest(text)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func (s *spec) connect() error {
	rw := s.config
	c, err := remote.NewWriteClient(s.name, &remote.ClientConfig{
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
		return fmt.Errorf("build the client: %w", err)
	}
	hc, ok := c.(*remote.Client)
	if !ok {
		return fmt.Errorf("BUG: remote.NewWriteClient returned %T, want *remote.Client", c)
	}
	s.idle = hc.Client.CloseIdleConnections
	hc.Client = &http.Client{Transport: observer{hc.Client.Transport}, CheckRedirect: hc.Client.CheckRedirect}
	s.client = c
	return nil
}

func closeIdle(specs []*spec) {
	for _, s := range specs {
		s.idle()
	}
}

// reply is what upstream's client keeps to itself of an HTTP answer.
type reply struct {
	// status is 0 when there was no answer.
	status     int
	retryAfter time.Duration
}

type replyKey struct{}

// observer notes status and Retry-After in the *reply of the request's context.
type observer struct{ next http.RoundTripper }

func (o observer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(req)
	if r, ok := req.Context().Value(replyKey{}).(*reply); ok && err == nil {
		r.status = resp.StatusCode
		r.retryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
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

// store sends one request and reports what came back.
func (s *spec) store(ctx context.Context, req []byte, attempt int) (remote.WriteResponseStats, reply, error) {
	var r reply
	stats, err := s.client.Store(context.WithValue(ctx, replyKey{}, &r), req, attempt)
	return stats, r, err
}
