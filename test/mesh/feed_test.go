package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
)

// feed is a sender of remote write beside an island. What the island does not take is
// sent again, in order, as any sender does; what was sent is remembered.
type feed struct {
	to        *site
	metric    string
	services  int
	instances int // of each service
	every     time.Duration
	begin     time.Time
	values    []float64 // of each series now
	rand      *rand.Rand

	stopped chan struct{}
	wg      sync.WaitGroup

	mu    sync.Mutex
	ticks []tick
	bytes int64 // of the bodies that were taken
}

// tick is one sample of each series.
type tick struct {
	at     time.Time
	values []float64 // by service, then instance
}

// sendAtOnce is how many samples Prometheus puts into a request unless told otherwise.
const sendAtOnce = 2000

// newFeed sends from begin on, until stop or the end of the test.
func newFeed(t *testing.T, to *site, metric string, services, instances int, every time.Duration, begin time.Time) *feed {
	f := &feed{
		to: to, metric: metric, services: services, instances: instances, every: every, begin: begin,
		values: make([]float64, services*instances), rand: rand.New(rand.NewPCG(uint64(len(to.name)), uint64(begin.UnixNano()))),
		stopped: make(chan struct{}),
	}
	for n := range f.values {
		f.values[n] = float64(f.rand.IntN(1e6)) // counters that did not begin here
	}
	f.wg.Go(f.run)
	t.Cleanup(f.stop)
	return f
}

func (f *feed) stop() {
	select {
	case <-f.stopped:
	default:
		close(f.stopped)
	}
	f.wg.Wait()
}

func (f *feed) run() {
	client := &http.Client{Transport: &http.Transport{DialContext: f.to.node.Dial}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for at := f.begin; f.pause(time.Until(at)); at = at.Add(f.every) {
		for n := range f.values {
			f.values[n] += float64(f.rand.IntN(10))
		}
		bytes := 0
		for from := 0; from < len(f.values); from += sendAtOnce {
			body := snappy.Encode(nil, f.request(at, from, min(from+sendAtOnce, len(f.values))))
			for f.send(client, body) != nil {
				if !f.pause(100 * time.Millisecond) {
					return
				}
			}
			bytes += len(body)
		}
		f.mu.Lock()
		f.ticks = append(f.ticks, tick{at, slices.Clone(f.values)})
		f.bytes += int64(bytes)
		f.mu.Unlock()
	}
}

// pause reports whether the feed goes on.
func (f *feed) pause(d time.Duration) bool {
	select {
	case <-f.stopped:
		return false
	case <-time.After(d):
		return true
	}
}

// request has one sample of each series from one number to another.
func (f *feed) request(at time.Time, from, to int) []byte {
	req := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, to-from)}
	for n := from; n < to; n++ {
		req.Timeseries[n-from] = prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: f.metric},
				{Name: "instance", Value: fmt.Sprintf("%s-%03d.pods.example:8080", f.to.name, n%f.instances)},
				{Name: "job", Value: "shop"},
				{Name: "service", Value: fmt.Sprintf("service-%04d", n/f.instances)},
			},
			Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: f.values[n]}},
		}
	}
	raw, err := req.Marshal()
	if err != nil {
		panic("BUG: a request cannot be encoded: " + err.Error())
	}
	return raw
}

func (f *feed) send(client *http.Client, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://127.0.0.1:59080/api/v1/write", bytes.NewReader(body))
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
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	if resp.StatusCode/100 != 2 {
		return errors.New(resp.Status)
	}
	return nil
}

// sent is what was taken so far, and when the last of it was.
func (f *feed) sent() (ticks []tick, bytes int64, last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.ticks); n > 0 {
		last = f.ticks[n-1].at
	}
	return f.ticks, f.bytes, last
}

// cell is what a window of a service comes to.
type cell struct {
	total, increase, sum float64
	series, samples      int
}

// cellKey names a window of a service by its end.
type cellKey struct {
	service string
	end     int64 // Unix ms
}

// truth is what all feeds sent, by windows (end-interval, end]; in total is what a
// service grew since the feeds began.
func truth(interval time.Duration, feeds ...*feed) map[cellKey]cell {
	cells := map[cellKey]cell{}
	type serie struct {
		cellKey
		f, n int
	}
	seen := map[serie]bool{}
	for at, f := range feeds {
		ticks, _, _ := f.sent()
		for n, tk := range ticks {
			end := tk.at.Add(interval - 1).Truncate(interval).UnixMilli()
			for s, v := range tk.values {
				key := cellKey{fmt.Sprintf("service-%04d", s/f.instances), end}
				c := cells[key]
				c.sum, c.samples = c.sum+v, c.samples+1
				if n > 0 {
					c.increase += v - ticks[n-1].values[s]
				}
				if id := (serie{key, at, s}); !seen[id] {
					seen[id], c.series = true, c.series+1
				}
				cells[key] = c
			}
		}
	}
	byService := map[string][]int64{}
	for k := range cells {
		byService[k.service] = append(byService[k.service], k.end)
	}
	for service, ends := range byService {
		slices.Sort(ends)
		total := 0.0
		for _, end := range ends {
			c := cells[cellKey{service, end}]
			total += c.increase
			c.total = total
			cells[cellKey{service, end}] = c
		}
	}
	return cells
}

// published is one sample that an island has in its store.
type published struct {
	by    *site
	value float64
}

// results reads a metric from every island's own store.
func results(metric string, sites ...*site) (map[cellKey][]published, error) {
	all := map[cellKey][]published{}
	for _, s := range sites {
		body, err := s.port("/api/v1/query?scope=local&query=" + url.QueryEscape(metric+"[1h]"))
		if err != nil {
			return nil, err
		}
		var answer struct {
			Data struct {
				Result []struct {
					Metric map[string]string `json:"metric"`
					Values [][2]json.RawMessage
				} `json:"result"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, fmt.Errorf("%w: %s", err, body)
		}
		for _, r := range answer.Data.Result {
			if len(r.Metric) != 3 || r.Metric["job"] != "shop" || r.Metric["service"] == "" {
				return nil, fmt.Errorf("%s made a series with other labels than the group's: %v", s.name, r.Metric)
			}
			for _, v := range r.Values {
				var at, value float64
				if _, err := fmt.Sscan(string(v[0])+" "+strings.Trim(string(v[1]), `"`), &at, &value); err != nil {
					return nil, fmt.Errorf("%s: %w", v, err)
				}
				key := cellKey{r.Metric["service"], int64(at*1000 + 0.5)}
				all[key] = append(all[key], published{s, value})
			}
		}
	}
	return all, nil
}
