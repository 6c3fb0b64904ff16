package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"
)

// The rules are a file as vmagent reads it. Raw samples of e2e_folded are not kept.
const aggregateRules = `
rules:
  - match: e2e_folded
    interval: 5s
    without: [instance]
    outputs: [increase, total, count_samples, count_series]
    keep_input: false
  - match: e2e_kept
    interval: 5s
    by: [job]
    outputs: [sum_samples]
`

const (
	foldedGroups    = 4
	foldedInstances = 5
	foldedRounds    = 8
	foldedSeconds   = 6 // between two kills
)

// TestAggregateKillNine kills the island again and again while counters come in.
// Every window must come out with exactly what the counters grew in it, here and
// at the island that the results are sent to.
func TestAggregateKillNine(t *testing.T) {
	far := newIsland(t, quiet).up()
	i := newIsland(t, quiet+fmt.Sprintf(`
aggregate:
  rules: streamaggr.yml
  checkpoint_interval: 3s
  remote_write: [{url: "http://%s/api/v1/write"}]
`, far.addr))
	i.write("streamaggr.yml", aggregateRules)
	i.up()

	begin := time.Now().Truncate(5 * time.Second)
	next := begin
	for round := range foldedRounds {
		life := time.Duration(1000+rand.IntN(foldedSeconds*1000)) * time.Millisecond
		killed := make(chan struct{})
		if round < foldedRounds-1 {
			time.AfterFunc(life, func() { i.kill(); close(killed) })
		} else {
			time.AfterFunc(life+8*time.Second, func() { close(killed) })
		}
		for done := false; !done; {
			if wait := time.Until(next); wait <= 0 {
				switch err := sendFolded(i, begin, next, true); {
				case err == nil:
					next = next.Add(time.Second)
				case errors.Is(err, errRefused):
					t.Logf("again: %v", err)
				}
			}
			select {
			case <-killed:
				done = true
			case <-time.After(50 * time.Millisecond):
			}
		}
		if round < foldedRounds-1 {
			i.up()
		}
	}
	last := next.Truncate(5 * time.Second).Add(-5 * time.Second)
	t.Logf("%d windows, %d kills", int(last.Sub(begin).Seconds())/5, foldedRounds-1)
	for _, at := range []*island{i, far} {
		eventually(t, 30*time.Second, "every window", func() error { return foldedWindows(at, begin, last) })
	}
	if v, err := i.value(`count({__name__="e2e_folded"}) or vector(0)`); err != nil || v != 0 {
		t.Errorf("%v raw series of e2e_folded are stored (%v), want none", v, err)
	}
	if v, err := i.value(`count(last_over_time({__name__="e2e_kept"}[10m]))`); err != nil || v != foldedInstances {
		t.Errorf("%v raw series of e2e_kept are stored (%v), want %d", v, err, foldedInstances)
	}
}

// foldedValue is a counter that grows by group+1 a second.
func foldedValue(group int, begin, at time.Time) float64 {
	return 1e6 + float64(group+1)*at.Sub(begin).Seconds()
}

// sendFolded sends one sample of every counter, and of what is stored raw if kept.
func sendFolded(i *island, begin, at time.Time, kept bool) error {
	req := prompb.WriteRequest{}
	for instance := range foldedInstances {
		for group := range foldedGroups {
			req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
				Labels: []prompb.Label{
					{Name: "__name__", Value: "e2e_folded"}, {Name: "group", Value: fmt.Sprint(group)},
					{Name: "instance", Value: fmt.Sprint(instance)}, {Name: "job", Value: "e2e"},
				},
				Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: foldedValue(group, begin, at)}},
			})
		}
		if !kept {
			continue
		}
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "e2e_kept"}, {Name: "instance", Value: fmt.Sprint(instance)}, {Name: "job", Value: "e2e"},
			},
			Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: 2}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url("/api/v1/write"), bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		return err
	}
	hr.Header.Set("Content-Type", "application/x-protobuf")
	hr.Header.Set("Content-Encoding", "snappy")
	resp, err := http.DefaultClient.Do(hr)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%w: %s", errRefused, resp.Status)
	}
	return nil
}

// foldedWindows compares the windows after the first, in which the counters were
// seen for the first time, up to last.
func foldedWindows(i *island, begin, last time.Time) error {
	for name, want := range map[string]func(group int, end time.Time) float64{
		"e2e_folded:5s_without_instance_increase": func(group int, _ time.Time) float64 { return float64(5 * foldedInstances * (group + 1)) },
		"e2e_folded:5s_without_instance_total": func(group int, end time.Time) float64 {
			return float64(foldedInstances) * (foldedValue(group, begin, end) - foldedValue(group, begin, begin))
		},
		"e2e_folded:5s_without_instance_count_samples": func(int, time.Time) float64 { return 5 * foldedInstances },
		"e2e_folded:5s_without_instance_count_series":  func(int, time.Time) float64 { return foldedInstances },
	} {
		v, _, _, err := prom(i.t, i.addr).Query(context.Background(), name+"[1h]", last)
		if err != nil {
			return err
		}
		got := map[string]float64{}
		for _, s := range v.(model.Matrix) {
			for _, p := range s.Values {
				got[fmt.Sprint(s.Metric["group"], " ", int64(p.Timestamp))] = float64(p.Value)
			}
		}
		for group := range foldedGroups {
			for end := begin.Add(5 * time.Second); !end.After(last); end = end.Add(5 * time.Second) {
				v, ok := got[fmt.Sprint(group, " ", end.UnixMilli())]
				if w := want(group, end); !ok || v != w {
					return fmt.Errorf("%s of group %d, window %d s: got %v (there: %v), want %v", name, group, int(end.Sub(begin).Seconds()), v, ok, w)
				}
			}
		}
	}
	return nil
}
