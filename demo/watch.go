package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/atoll-mesh/atoll/portal"
)

// client asks the island what any visitor could ask.
type client struct {
	base string
	http *http.Client
}

func newClient(addr string) *client {
	return &client{base: "http://" + addr, http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get decodes the JSON answer of path into v; v may be nil.
func (c *client) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: status %s", path, resp.Status)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// waitReady returns nil once the island is ready or ctx has ended.
func (c *client) waitReady(ctx context.Context, island chan error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if c.get(ctx, "/-/ready", nil) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-island:
			return early(err)
		case <-ticker.C:
		}
	}
}

// seen is what the progress line shows.
type seen struct {
	up, targets int
	status      portal.Status
	alerts      []string // "ShopErrors payment firing"
}

func (c *client) look(ctx context.Context) (seen, error) {
	var s seen
	if err := c.get(ctx, "/api/atoll/v1/status", &s.status); err != nil {
		return s, err
	}
	var targets struct {
		Data struct {
			ActiveTargets []struct {
				Health string `json:"health"`
			} `json:"activeTargets"`
		} `json:"data"`
	}
	if err := c.get(ctx, "/api/v1/targets?state=active", &targets); err != nil {
		return s, err
	}
	for _, t := range targets.Data.ActiveTargets {
		s.targets++
		if t.Health == "up" {
			s.up++
		}
	}
	var alerts struct {
		Data struct {
			Alerts []struct {
				State  string            `json:"state"`
				Labels map[string]string `json:"labels"`
			} `json:"alerts"`
		} `json:"data"`
	}
	if err := c.get(ctx, "/api/v1/alerts", &alerts); err != nil {
		return s, err
	}
	for _, a := range alerts.Data.Alerts {
		s.alerts = append(s.alerts, printable(a.Labels["alertname"]+" "+a.Labels["service"]+" "+a.State))
	}
	return s, nil
}

// watch keeps the progress line until ctx ends.
func watch(ctx context.Context, screen *screen, c *client, bursts schedule, every time.Duration) {
	if screen.tty == nil {
		return
	}
	defer screen.end()
	for ok := true; ok; ok = pause(ctx, every) {
		s, err := c.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			screen.progress(fmt.Sprintf("the island does not answer: %v", err))
		default:
			screen.progress(progressLine(s, bursts, time.Now()))
		}
	}
}

func progressLine(s seen, bursts schedule, now time.Time) string {
	text := fmt.Sprintf("%d/%d targets up · %d series · %.0f samples/s · ", s.up, s.targets, s.status.HeadSeries, s.status.SamplesPerSecond)
	broken, change := bursts.burst(now)
	switch {
	case len(s.alerts) > 0:
		text += s.alerts[0]
		if more := len(s.alerts) - 1; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	default:
		text += "no alert"
	}
	if broken {
		return text + fmt.Sprintf(" · payment is broken for %s more", change.Round(time.Second))
	}
	return text + fmt.Sprintf(" · payment breaks in %s", change.Round(time.Second))
}
