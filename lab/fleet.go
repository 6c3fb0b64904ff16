package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
)

// LoadFleet sends what a site of 16,800 series scraped in the hour and five minutes
// up to end to an island by remote write, at its url. With keep only the metrics
// that it says. What is older than an hour comes late for an island that runs: its
// store.out_of_order_window must be longer.
func LoadFleet(ctx context.Context, client *http.Client, url string, seed uint64, end time.Time, keep func(metric string) bool) error {
	const rounds = (3_600_000 + 300_000) / fleet.IntervalMs
	f := fleet.New(seed, end.UnixMilli()-rounds*fleet.IntervalMs)
	for range rounds {
		f.Round()
		var all []prompb.TimeSeries
		for _, target := range f.Targets {
			for i, v := range target.Values {
				if keep != nil && !keep(target.Labels[i].Get(labels.MetricName)) {
					continue
				}
				one := prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: target.T, Value: v}}}
				target.Labels[i].Range(func(l labels.Label) {
					one.Labels = append(one.Labels, prompb.Label{Name: l.Name, Value: l.Value})
				})
				all = append(all, one)
			}
		}
		if err := write(ctx, client, url, &prompb.WriteRequest{Timeseries: all}); err != nil {
			return fmt.Errorf("write the samples of a fleet to %s: %w", url, err)
		}
	}
	return nil
}

func write(ctx context.Context, client *http.Client, url string, m *prompb.WriteRequest) error {
	raw, err := m.Marshal()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(said))
	}
	return err
}
