package browser

import (
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// observer notes the largest paint, which is told to none who asks later.
const observer = `(() => {
  window.__lcp = 0;
  new PerformanceObserver(list => { for (const e of list.getEntries()) window.__lcp = e.startTime; })
    .observe({type: 'largest-contentful-paint', buffered: true});
})()`

// timings asks for times in milliseconds since the navigation began.
const timings = `(() => {
  const n = performance.getEntriesByType('navigation')[0] || {};
  const p = performance.getEntriesByName('first-contentful-paint')[0] || {};
  return {
    tls: n.secureConnectionStart > 0 ? n.connectEnd - n.secureConnectionStart : 0,
    request: n.requestStart, response: n.responseStart, responseEnd: n.responseEnd,
    interactive: n.domInteractive, content: n.domContentLoadedEventEnd, load: n.loadEventEnd,
    first: p.startTime || 0, largest: window.__lcp || 0
  };
})()`

type timing struct {
	TLS         float64 `json:"tls"`
	Request     float64 `json:"request"`
	Response    float64 `json:"response"`
	ResponseEnd float64 `json:"responseEnd"`
	Interactive float64 `json:"interactive"`
	Content     float64 `json:"content"`
	Load        float64 `json:"load"`
	First       float64 `json:"first"`
	Largest     float64 `json:"largest"`
}

// ms is a page's word for a time, which is none beyond an hour or before zero.
func ms(v float64) time.Duration {
	if !(v > 0 && v < 3.6e6) {
		return 0
	}
	return time.Duration(v * float64(time.Millisecond))
}

// measure adds the phases and the samples.
func (v *visit) measure() {
	var t timing
	if v.seen.status() != 0 && v.evaluate(v.ctx, timings, &t) == nil {
		v.res.Phases[protocol.TLS] = ms(t.TLS)
		v.res.Phases[protocol.FirstByte] = ms(t.Response - t.Request)
		v.res.Phases[protocol.Transfer] = ms(t.ResponseEnd - t.Response)
	}
	v.seen.mu.Lock()
	requests, failures, bytes, code, first := v.seen.requests, v.seen.failures, v.seen.bytes, v.seen.code, v.seen.first
	v.seen.mu.Unlock()
	v.res.Add("probe_browser_requests", float64(requests))
	v.res.Add("probe_browser_failed_requests", float64(failures))
	v.res.Add("probe_browser_transfer_bytes", bytes)
	v.res.Add("probe_browser_status_code", float64(code))
	for _, e := range []struct {
		event string
		at    float64
	}{
		{"response_start", t.Response}, {"response_end", t.ResponseEnd}, {"dom_interactive", t.Interactive},
		{"dom_content_loaded", t.Content}, {"load", t.Load},
	} {
		if d := ms(e.at); d > 0 {
			v.res.Add("probe_browser_navigation_seconds", d.Seconds(), "event", e.event)
		}
	}
	if d := ms(t.First); d > 0 {
		v.res.Add("probe_browser_first_contentful_paint_seconds", d.Seconds())
	}
	if d := ms(t.Largest); d > 0 {
		v.res.Add("probe_browser_largest_contentful_paint_seconds", d.Seconds())
	}
	status := fmt.Sprintf("status %d, %d requests, %d failed", code, requests, failures)
	if first != "" {
		status += fmt.Sprintf(", the first with %.100s", first)
	}
	v.res.Response = &protocol.Response{Status: status, Size: int64(bytes)}
}
