package probe

import (
	"cmp"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// helps are blackbox_exporter's words for its metrics.
func helps() map[string]string {
	return map[string]string{
		emit.Success:     "Displays whether or not the probe was a success",
		emit.Duration:    "Returns how long the probe took to complete in seconds",
		emit.PhaseSecond: "How long each part of the probe took in seconds",
		emit.Failure:     "Why the probe failed",

		"probe_ip_protocol":             "Specifies whether probe ip protocol is IP4 or IP6",
		"probe_ip_addr_hash":            "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
		"probe_dns_lookup_time_seconds": "Returns the time taken for probe dns lookup in seconds",

		"probe_http_status_code":                     "Response HTTP status code",
		"probe_http_content_length":                  "Length of http content response",
		"probe_http_redirects":                       "The number of redirects",
		"probe_http_ssl":                             "Indicates if SSL was used for the final redirect",
		"probe_http_version":                         "Returns the version of HTTP of the probe response",
		"probe_http_duration_seconds":                "Duration of http request by phase, summed over all redirects",
		"probe_http_uncompressed_body_length":        "Length of uncompressed response body",
		"probe_http_last_modified_timestamp_seconds": "Returns the Last-Modified HTTP response header in unixtime",
		"probe_failed_due_to_regex":                  "Indicates if probe failed due to regex",
		"probe_failed_due_to_bytes":                  "Indicates if probe failed due to bytes",
		"probe_failed_due_to_cel":                    "Indicates if probe failed due to CEL expression not matching",

		"probe_ssl_earliest_cert_expiry":                "Returns last SSL chain expiry in unixtime",
		"probe_ssl_last_chain_expiry_timestamp_seconds": "Returns last SSL chain expiry in timestamp",
		"probe_ssl_last_chain_info":                     "Contains SSL leaf certificate information",
		"probe_tls_version_info":                        "Returns the TLS version used or NaN when unknown",
		"probe_tls_cipher_info":                         "Returns the TLS cipher negotiated during handshake",

		"probe_icmp_duration_seconds":     "Duration of icmp request by phase",
		"probe_icmp_reply_hop_limit":      "Replied packet hop limit (TTL for ipv4)",
		"probe_dns_duration_seconds":      "Duration of DNS request by phase",
		"probe_dns_answer_rrs":            "Returns number of entries in the answer resource record list",
		"probe_dns_authority_rrs":         "Returns number of entries in the authority resource record list",
		"probe_dns_additional_rrs":        "Returns number of entries in the additional resource record list",
		"probe_dns_query_succeeded":       "Displays whether or not the query was executed successfully",
		"probe_dns_serial":                "Returns the serial number of the zone",
		"probe_expect_info":               "Explicit content matched",
		"probe_grpc_duration_seconds":     "Duration of gRPC request by phase",
		"probe_grpc_ssl":                  "Indicates if SSL was used for the connection",
		"probe_grpc_status_code":          "Response gRPC status code",
		"probe_grpc_healthcheck_response": "Response HealthCheck response",
	}
}

// families are the metrics of a result, in the order of their names.
func families(r *protocol.Result) []*dto.MetricFamily {
	help, byName := helps(), map[string]*dto.MetricFamily{}
	add := func(name string, value float64, ls []string) {
		f := byName[name]
		if f == nil {
			f = &dto.MetricFamily{Name: proto.String(name), Type: dto.MetricType_GAUGE.Enum()}
			if text := help[name]; text != "" {
				f.Help = proto.String(text)
			}
			byName[name] = f
		}
		m := &dto.Metric{Gauge: &dto.Gauge{Value: proto.Float64(value)}}
		for i := 0; i+1 < len(ls); i += 2 {
			m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(ls[i]), Value: proto.String(ls[i+1])})
		}
		slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
		f.Metric = append(f.Metric, m)
	}
	up := 0.0
	if r.Up {
		up = 1
	}
	add(emit.Success, up, nil)
	add(emit.Duration, r.Took.Seconds(), nil)
	for phase, took := range r.Phases {
		if took > 0 {
			add(emit.PhaseSecond, took.Seconds(), []string{"phase", protocol.Phase(phase).String()})
		}
	}
	for _, s := range r.Samples {
		add(s.Name, s.Value, s.Labels)
	}
	if code := r.Reason.Code; code != "" {
		add(emit.Failure, 1, []string{"reason", string(code), "phase", r.Reason.Phase.String()})
	}
	all := make([]*dto.MetricFamily, 0, len(byName))
	for _, f := range byName {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}
