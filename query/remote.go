package query

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	configutil "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"go.yaml.in/yaml/v2"
)

// endpoint is one entry of remote_read.
type endpoint struct {
	storage.SampleAndChunkQueryable
	transport *transport
}

// newEndpoints builds a client for every remote_read entry; nothing is sent
// before the first query.
func (q *Query) newEndpoints(prom *promconfig.Config) ([]*endpoint, error) {
	var (
		endpoints []*endpoint
		errs      []error
		seen      = map[string]bool{}
	)
	for i, rr := range prom.RemoteReadConfigs {
		refuse := func(err error) {
			errs = append(errs, fmt.Errorf("remote_read[%d] (%s): %w", i, rr.URL.Redacted(), err))
		}
		hash, err := digest(rr)
		if err != nil {
			refuse(err)
			continue
		}
		if seen[hash] {
			refuse(errors.New("the same entry stands twice; remove one"))
			continue
		}
		seen[hash] = true
		e, err := q.newEndpoint(rr, hash[:6], prom.GlobalConfig.ExternalLabels)
		if err != nil {
			refuse(err)
			continue
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, errors.Join(errs...)
}

func digest(rr *promconfig.RemoteReadConfig) (string, error) {
	text, err := yaml.Marshal(rr)
	if err != nil {
		return "", fmt.Errorf("hash the entry: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// newEndpoint does what upstream's remote.Storage does for each entry, which
// cannot be had without its write half.
func (q *Query) newEndpoint(rr *promconfig.RemoteReadConfig, name string, external labels.Labels) (*endpoint, error) {
	if rr.Name != "" {
		name = rr.Name
	}
	client, err := remote.NewReadClient(name, &remote.ClientConfig{
		URL: rr.URL, Timeout: rr.RemoteTimeout, ChunkedReadLimit: rr.ChunkedReadLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("build the client: %w", err)
	}
	c, ok := client.(*remote.Client)
	if !ok {
		return nil, fmt.Errorf("BUG: remote.NewReadClient returned %T, want *remote.Client", client)
	}
	// Upstream's wrappers hide CloseIdleConnections: use a client of our own.
	if c.Client, err = configutil.NewClientFromConfig(rr.HTTPClientConfig, "remote_storage_read_client"); err != nil {
		return nil, fmt.Errorf("build the HTTP client: %w", err)
	}
	t := &transport{next: c.Client.Transport, headers: rr.Headers}
	c.Client.Transport = t

	required := make([]*labels.Matcher, 0, len(rr.RequiredMatchers))
	for name, value := range rr.RequiredMatchers {
		required = append(required, labels.MustNewMatcher(labels.MatchEqual, string(name), string(value)))
	}
	if !rr.FilterExternalLabels {
		external = labels.EmptyLabels()
	}
	r := &reader{ReadClient: c, name: name, config: rr, metrics: q.metrics, trouble: q.trouble}
	return &endpoint{
		SampleAndChunkQueryable: remote.NewSampleAndChunkQueryableClient(r, external, required, rr.ReadRecent, q.options.Store.StartTime),
		transport:               t,
	}, nil
}

// reader keeps account of how reads of one endpoint begin: to who asked, a
// failure is but a warning, and rules drop warnings.
type reader struct {
	remote.ReadClient
	name    string
	config  *promconfig.RemoteReadConfig
	metrics *metrics
	trouble *trouble
}

func (r *reader) Read(ctx context.Context, query *prompb.Query, sortSeries bool) (storage.SeriesSet, error) {
	set, err := r.ReadClient.Read(ctx, query, sortSeries)
	result := outcome(err)
	r.metrics.remoteReads.WithLabelValues(r.name, result).Inc()
	if err != nil && result != "canceled" {
		// Upstream's errors quote the URL as it was given, password included.
		r.trouble.remoteFailed(r.name, strings.ReplaceAll(err.Error(), r.config.URL.String(), r.config.URL.Redacted()))
	}
	return set, err
}

// transport sets the headers of an entry. Once retired it leaves no connection
// open, even if a querier made before asks again.
type transport struct {
	next    http.RoundTripper
	headers map[string]string
	retired atomic.Bool
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, value := range t.headers {
		req.Header.Set(name, value)
	}
	req.Close = t.retired.Load()
	return t.next.RoundTrip(req)
}

func (t *transport) retire() {
	t.retired.Store(true)
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
