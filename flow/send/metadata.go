package send

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/util/compression"
)

const metadataTries = 3

// scrapeManager adapts a function to remote.ReadyScrapeManager.
type scrapeManager func() (*scrape.Manager, error)

func (f scrapeManager) Get() (*scrape.Manager, error) { return f() }

// metadataSender sends the metadata of scraped metrics where remote write 1.0
// wants it: in requests of its own, over and over. A lost one is sent again with
// the next round, so there is no queue.
type metadataSender struct{ p *pump }

var _ remote.MetadataAppender = metadataSender{}

// watchMetadata starts sending metadata if the remote is to have it, and returns
// what stops it.
func (p *pump) watchMetadata(manager scrapeManager) (stop func()) {
	s := p.spec.Load()
	if manager == nil || s.v2() || !s.config.MetadataConfig.Send {
		return func() {}
	}
	w := remote.NewMetadataWatcher(p.log, manager, p.name, metadataSender{p}, s.config.MetadataConfig.SendInterval, stopGrace)
	w.Start()
	return w.Stop
}

// AppendWatcherMetadata implements remote.MetadataAppender.
func (m metadataSender) AppendWatcherMetadata(ctx context.Context, all []scrape.MetricMetadata) {
	size := m.p.spec.Load().config.MetadataConfig.MaxSamplesPerSend
	for len(all) > 0 && ctx.Err() == nil {
		n := min(max(size, 1), len(all))
		if err := m.send(ctx, all[:n]); err != nil {
			m.p.log.Warn("sending metadata did not work, the next round will", "metrics", n, "err", err)
		}
		all = all[n:]
	}
}

func (m metadataSender) send(ctx context.Context, some []scrape.MetricMetadata) error {
	req := prompb.WriteRequest{Metadata: make([]prompb.MetricMetadata, 0, len(some))}
	for _, e := range some {
		req.Metadata = append(req.Metadata, prompb.MetricMetadata{
			MetricFamilyName: e.MetricFamily, Help: e.Help, Type: prompb.FromMetadataType(e.Type), Unit: e.Unit,
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	body, err := compression.Encode(compression.Snappy, raw, nil)
	if err != nil {
		return fmt.Errorf("compress metadata: %w", err)
	}
	for try := 0; ; try++ {
		_, r, err := m.p.spec.Load().client.Store(ctx, body, try)
		if err == nil || try+1 == metadataTries || r.Status/100 == 4 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(r.RetryAfter, time.Second)):
		}
	}
}
