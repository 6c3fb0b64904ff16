package probe

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// resultOf words a result for whoever asked for it. place is where it was found.
func resultOf(t task, r *protocol.Result, place map[string]string) *probepb.RunResult {
	out := &probepb.RunResult{
		Up: r.Up, AtMs: r.Start.UnixMilli(), TookNs: int64(r.Took), Prober: t.module.Prober,
		Region: place["region"], Country: place["country"], Isp: place["isp"], Geohash: place["geohash"],
	}
	if r.Reason.Code != "" {
		out.Reason, out.Phase, out.Words = string(r.Reason.Code), r.Reason.Phase.String(), r.Reason.Words
	}
	for _, d := range r.Phases {
		out.PhasesNs = append(out.PhasesNs, int64(d))
	}
	switch {
	case r.Address.Port() > 0:
		out.Address = r.Address.String()
	case r.Address.IsValid(): // of a protocol without ports
		out.Address = r.Address.Addr().String()
	}
	if t.module.Prober == "dns" && r.Response != nil && len(r.Response.Body) > 0 {
		out.Records = strings.Split(string(r.Response.Body), "\n")
	}
	for _, h := range r.Hops {
		hop := &probepb.RunHop{Ttl: uint32(h.TTL), Sent: uint32(h.Sent), Lost: uint32(h.Lost), Mtu: uint32(h.MTU), Unreachable: h.Unreachable}
		for _, a := range h.Addrs {
			hop.Addresses = append(hop.Addresses, a.String())
		}
		for _, rtt := range h.RTT {
			hop.RttNs = append(hop.RttNs, int64(rtt))
		}
		out.Hops = append(out.Hops, hop)
	}
	for _, s := range r.Samples {
		out.Samples = append(out.Samples, &probepb.RunSample{Name: s.Name, Labels: s.Labels, Value: s.Value})
	}
	out.Remark = remark(t.module.Prober, r)
	return out
}

// remark is what is worth knowing of an answer beside its times.
func remark(prober string, r *protocol.Result) string {
	values := map[string]float64{}
	for _, s := range r.Samples {
		key := s.Name
		if len(s.Labels) == 2 && (s.Labels[0] == "stat" || s.Labels[0] == "phase") {
			key += " " + s.Labels[1]
		}
		values[key] = s.Value
	}
	var parts []string
	say := func(name, format string, value func(float64) any) {
		if v, ok := values[name]; ok && v != 0 && !math.IsNaN(v) {
			said := fmt.Sprintf(format, value(v))
			if v == 1 {
				said = strings.TrimSuffix(said, "s")
			}
			parts = append(parts, said)
		}
	}
	number := func(v float64) any { return v }
	switch prober {
	case "http", "websocket", "browser":
		say("probe_http_status_code", "%g", number)
		say("probe_browser_status_code", "%g", number)
		say("probe_http_version", "HTTP/%g", number)
		say("probe_http_redirects", "%g redirects", number)
		say("probe_browser_requests", "%g requests", number)
		say("probe_http_uncompressed_body_length", "%s", func(v float64) any { return bytesOf(v) })
	case "icmp":
		if r.Up {
			say("probe_icmp_rtt_seconds avg", "rtt %s", func(v float64) any { return shortTime(v) })
			say("probe_icmp_jitter_seconds", "jitter %s", func(v float64) any { return shortTime(v) })
			say("probe_icmp_path_mtu_bytes", "mtu %g", number)
		}
		say("probe_icmp_loss_ratio", "%.0f %% lost", func(v float64) any { return v * 100 })
	case "trace":
		parts = append(parts, map[bool]string{true: "reached", false: "not reached"}[values["probe_trace_reached"] == 1])
		say("probe_trace_hops", "%g hops", number)
	case "ntp":
		say("probe_ntp_offset_seconds", "offset %s", func(v float64) any { return shortTime(v) })
		say("probe_ntp_stratum", "stratum %g", number)
	case "dns":
		say("probe_dns_answer_rrs", "%g records", number)
		say("probe_dns_ttl_min_seconds", "ttl %g s", number)
	}
	say("probe_ssl_earliest_cert_expiry", "cert %s", func(v float64) any { return daysLeft(v, r.Start) })
	return strings.Join(parts, ", ")
}

func bytesOf(n float64) string {
	units := [...]string{"B", "kB", "MB", "GB"}
	u := 0
	for n >= 1000 && u < len(units)-1 {
		n, u = n/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[u])
}

func daysLeft(unix float64, now time.Time) string {
	const day = 24 * time.Hour
	if math.Abs(unix) > 1<<40 {
		return "for ever"
	}
	left := time.Unix(int64(unix), 0).Sub(cmp.Or(now, time.Now()))
	if left < 0 {
		return "expired"
	}
	return fmt.Sprintf("%d d", left/day)
}

// shortTime is a time in seconds with three digits.
func shortTime(seconds float64) string {
	switch a := math.Abs(seconds); {
	case a < 1e-3:
		return fmt.Sprintf("%.3g µs", seconds*1e6)
	case a < 1:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}
