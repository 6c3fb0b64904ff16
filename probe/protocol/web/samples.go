package web

import "github.com/atoll-mesh/atoll/probe/protocol"

// samples adds those of blackbox_exporter's http prober, in an order that does not
// change from probe to probe.
func (p *probe) samples() {
	r, s := p.r, &p.seen
	ph := &r.Phases
	r.Add("probe_http_duration_seconds", ph[protocol.Resolve].Seconds(), "phase", "resolve")
	r.Add("probe_http_duration_seconds", ph[protocol.Connect].Seconds(), "phase", "connect")
	r.Add("probe_http_duration_seconds", ph[protocol.TLS].Seconds(), "phase", "tls")
	r.Add("probe_http_duration_seconds", (ph[protocol.Sent] + ph[protocol.FirstByte]).Seconds(), "phase", "processing")
	r.Add("probe_http_duration_seconds", ph[protocol.Transfer].Seconds(), "phase", "transfer")
	r.Add("probe_http_content_length", float64(s.length))
	r.Add("probe_http_uncompressed_body_length", float64(s.size))
	r.Add("probe_http_redirects", float64(s.redirects))
	r.Add("probe_http_ssl", number(s.watch != nil && s.status != 0))
	r.Add("probe_http_status_code", float64(s.status))
	r.Add("probe_http_version", s.version)
	r.Add("probe_failed_due_to_regex", number(s.badRegexp))
	if p.hasCEL() {
		r.Add("probe_failed_due_to_cel", number(s.badCEL))
	}
	if !s.modified.IsZero() {
		r.Add("probe_http_last_modified_timestamp_seconds", float64(s.modified.Unix()))
	}
	if s.watch != nil {
		s.watch.Record(p.req.Keep, r)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
