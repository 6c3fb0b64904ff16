package query

import (
	"net/url"
	"testing"
	"time"

	configutil "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Upstream's own client reads the same series back in both forms; external
// labels are put on, as for every reader from outside.
func TestRemoteRead(t *testing.T) {
	for name, form := range map[string]prompb.ReadRequest_ResponseType{
		"samples":         prompb.ReadRequest_SAMPLES,
		"streamed chunks": prompb.ReadRequest_STREAMED_XOR_CHUNKS,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.prom.GlobalConfig.ExternalLabels = labels.FromStrings("island", "north")
			load(t, r.db)
			_, base := client(t, r)
			u, err := url.Parse(base + "/api/v1/read")
			if err != nil {
				t.Fatal(err)
			}
			c, err := remote.NewReadClient("test", &remote.ClientConfig{
				URL:                   &configutil.URL{URL: u},
				Timeout:               model.Duration(10 * time.Second),
				ChunkedReadLimit:      1 << 20,
				AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{form},
			}, configutil.WithKeepAlivesDisabled())
			if err != nil {
				t.Fatal(err)
			}
			from, to := t0.UnixMilli(), t0.Add(9*time.Minute).UnixMilli()
			q, err := remote.ToQuery(from, to, []*labels.Matcher{
				labels.MustNewMatcher(labels.MatchEqual, "__name__", "shop_orders_total"),
				labels.MustNewMatcher(labels.MatchEqual, "island", "north"),
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			set, err := c.Read(t.Context(), q, true)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			samples := 0
			for set.Next() {
				got = append(got, set.At().Labels().String())
				it := set.At().Iterator(nil)
				for it.Next() != chunkenc.ValNone {
					samples++
				}
			}
			if set.Err() != nil || len(got) != 2 || samples != 20 ||
				got[0] != `{__name__="shop_orders_total", instance="a", island="north"}` {
				t.Errorf("got %v, %d samples, %v", got, samples, set.Err())
			}
		})
	}
}
