package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// question is one about all sites together, over an hour or at its end.
type question struct {
	expr   string
	step   time.Duration // 0 for an instant
	target float64       // KiB of Atoll's answers
}

var questions = []question{
	{`sum by (job) (rate(http_requests_total[5m]))`, time.Minute, 7},
	{`histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`, time.Minute, 14},
	{`topk(10, rate(http_requests_total[5m]))`, time.Minute, 13},
	{`node_cpu_seconds_total{mode=~"idle|user|system",cpu=~"[01]"}`, time.Minute, 65},
	{`quantile(0.9, rate(http_requests_total[5m]))`, 15 * time.Second, 2017},
	{`sum by (job) (rate(http_requests_total[5m])) > 1`, 0, 0.7},
}

// network is sites that are asked at one place.
type network struct {
	url   string
	extra string                                         // of each request's parameters
	moved func(context.Context) (bytes float64, _ error) // that its links have carried so far, both ways
}

// reply is what it said.
type reply struct {
	points  map[string]float64 // by labels and time
	answers float64            // KiB of the sites' answers, where the receipt tells
	links   float64            // KiB that links carried
}

// ask asks once.
func (n network) ask(ctx context.Context, q question, end time.Time) (r reply, err error) {
	form, path := url.Values{"query": {q.expr}}, "query_range"
	if q.step == 0 {
		path = "query"
		form.Set("time", fmt.Sprint(end.Unix()))
	} else {
		form.Set("start", fmt.Sprint(end.Add(-time.Hour).Unix()))
		form.Set("end", fmt.Sprint(end.Unix()))
		form.Set("step", fmt.Sprint(q.step.Seconds()))
	}
	before, err := n.moved(ctx)
	if err != nil {
		return r, err
	}
	body, err := get(ctx, n.url+"/api/v1/"+path+"?"+form.Encode()+n.extra)
	if err != nil {
		return r, err
	}
	after, err := n.moved(ctx)
	if err != nil {
		return r, err
	}
	r.links = (after - before) / 1024
	var a struct {
		Warnings []string
		Data     struct {
			Result []struct {
				Metric model.Metric
				Value  *model.SamplePair
				Values []model.SamplePair
			}
		}
		Receipt struct {
			Partial bool
			Islands []struct{ Bytes float64 }
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return r, err
	}
	if len(a.Warnings) > 0 || a.Receipt.Partial {
		return r, fmt.Errorf("an answer that is not complete: %q", a.Warnings)
	}
	r.points = map[string]float64{}
	for _, s := range a.Data.Result {
		if s.Value != nil {
			s.Values = append(s.Values, *s.Value)
		}
		for _, v := range s.Values {
			r.points[fmt.Sprint(s.Metric, v.Timestamp)] = float64(v.Value)
		}
	}
	for _, i := range a.Receipt.Islands {
		r.answers += i.Bytes / 1024
	}
	return r, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.1000s", url, resp.Status, body)
	}
	return body, err
}

// same says how answers differ, but for the order in which floats were added.
func same(a, b map[string]float64) error {
	if len(a) == 0 || len(a) != len(b) {
		return fmt.Errorf("%d and %d points", len(a), len(b))
	}
	for at, x := range a {
		if y, ok := b[at]; !ok || math.Abs(x-y) > 1e-9*math.Abs(x) {
			return fmt.Errorf("%s is %v and %v (%t)", at, x, y, ok)
		}
	}
	return nil
}

// runQuery has Thanos and Atoll answer the questions out of the same blocks.
func runQuery(ctx context.Context, _ options) (err error) {
	dir, err := os.MkdirTemp("", "atoll-bench-query-")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &crew{dir: dir, end: time.Now().Add(-10 * time.Minute).Truncate(time.Minute)}
	defer func() {
		cancel()
		c.wait()
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			err = fmt.Errorf("%w; logs are in %s", err, dir)
		}
	}()
	for n := range sites {
		if err := writeBlock(ctx, c.blocks(n), uint64(n+1), c.end); err != nil {
			return fmt.Errorf("write the samples of site %d: %w", n+1, err)
		}
	}
	atoll, err := c.archipelago(ctx)
	if err != nil {
		return err
	}
	thanos, why := buildThanos(ctx, filepath.Join(dir, "bin"))
	var others []network
	if why != nil {
		fmt.Printf("Thanos is not asked: %v\n\n", why)
	} else if others, err = c.thanos(ctx, thanos); err != nil {
		return err
	}
	return compare(ctx, atoll, others, c.end)
}

// compare prints the table.
func compare(ctx context.Context, atoll network, others []network, end time.Time) error {
	var differ []error
	fmt.Printf("## Questions about %d sites of 16,800 series, KiB; answers of all sites, or both ways on the links\n\n", sites)
	fmt.Println("| question | target | Thanos, StoreAPI, links | Thanos, distributed, links | Atoll, answers | Atoll, links | times less than StoreAPI | Atoll again, answers |\n|---|---|---|---|---|---|---|---|")
	for _, q := range questions {
		ours, err := atoll.ask(ctx, q, end)
		if err != nil {
			return fmt.Errorf("Atoll: %s: %w", q.expr, err)
		}
		again, err := atoll.ask(ctx, q, end)
		if err != nil {
			return fmt.Errorf("Atoll: %s: %w", q.expr, err)
		}
		if err := same(ours.points, again.points); err != nil {
			differ = append(differ, fmt.Errorf("Atoll again: %s: %w", q.expr, err))
		}
		cells, ratio := []string{"-", "-"}, "-"
		for n, other := range others {
			theirs, err := other.ask(ctx, q, end)
			if err != nil {
				return fmt.Errorf("Thanos: %s: %w", q.expr, err)
			}
			if err := same(theirs.points, ours.points); err != nil {
				differ = append(differ, fmt.Errorf("Thanos (%d) and Atoll: %s: %w", n, q.expr, err))
			}
			if cells[n] = fmt.Sprintf("%.2f", theirs.links); n == 0 {
				ratio = fmt.Sprintf("**%.1f**", theirs.links/ours.links)
			}
		}
		step := "instant"
		if q.step > 0 {
			step = q.step.String()
		}
		fmt.Printf("| `%s`, %s | %g | %s | %.2f | %.2f | %s | %.2f |\n", strings.ReplaceAll(q.expr, "|", `\|`), step, q.target, strings.Join(cells, " | "), ours.answers, ours.links, ratio, again.answers)
	}
	fmt.Println()
	return errors.Join(differ...)
}
