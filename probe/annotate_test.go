package probe

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// TestRules evaluates the supplied rules eleven hours into some series.
func TestRules(t *testing.T) {
	groups, errs := rulefmt.Parse(Rules(), false, model.UTF8Validation, parser.NewParser(parser.Options{}), nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	store := promqltest.LoadedStorage(t, `load 1m
		probe_definition_info{job="web", owner="shop", severity="critical"} 1x660
		probe_definition_info{job="plain"} 1x660
		probe_page{job="web", instance="a"} 1x660
		probe_page{job="web", instance="b"} 0x660
		probe_page{job="plain", instance="c"} 1x660
		probe_state{job="web", instance="a"} 3x660
		probe_state{job="web", instance="b"} 2x660
		probe_state_since_seconds{job="web", instance="b"} 39480x660
		probe_state{job="web", instance="just"} 2x660
		probe_state_since_seconds{job="web", instance="just"} 39481x660
		probe_compare_mismatch{job="web", instance="a", what="body"} 1x660
		probe_compare_mismatch{job="web", instance="a", what="status"} 0x660
		probe_vantage_blind{vantage="x"} 1x660
		probe_vantage_blind{vantage="y"} 0x660
		probe_certificate_expires_seconds{job="web", instance="40d"} 3495600x660
		probe_certificate_expires_seconds{job="web", instance="20d"} 1767600x660
		probe_certificate_expires_seconds{job="web", instance="3d"} 298800x660
		probe_certificate_expires_seconds{job="web", instance="1h"} 43200x660
		probe_certificate_expires_seconds{job="web", instance="over"} 1000x660
		probe_duration_seconds{job="web", instance="slow", vantage="x"} 0.1x640 0.5x20
		probe_success{job="web", instance="slow", vantage="x"} 1x660
		probe_duration_seconds{job="web", instance="failing", vantage="x"} 0.1x640 5x20
		probe_success{job="web", instance="failing", vantage="x"} 1x640 0x20
		probe_duration_seconds{job="web", instance="quick", vantage="x"} 0.001x640 0.01x20
		probe_success{job="web", instance="quick", vantage="x"} 1x660
		probe_duration_seconds{job="web", instance="always", vantage="x"} 5x660
		probe_success{job="web", instance="always", vantage="x"} 1x660
		probe_duration_seconds{job="web", instance="new", vantage="x"} _x480 0.1x160 0.5x20
		probe_success{job="web", instance="new", vantage="x"} _x480 1x180
	`)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	at := time.Unix(0, 0).Add(11 * time.Hour)
	got := map[string][]string{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			q, err := engine.NewInstantQuery(t.Context(), store, nil, r.Expr, at)
			if err != nil {
				t.Fatal(err)
			}
			result := q.Exec(t.Context())
			if result.Err != nil {
				t.Fatalf("%s: %v", r.Alert, result.Err)
			}
			name := r.Alert + r.Labels["within"]
			for _, s := range result.Value.(promql.Vector) {
				text := s.Metric.Get("instance") + s.Metric.Get("vantage")
				if owner := s.Metric.Get("owner"); owner != "" {
					text += " " + owner
				}
				got[name] = append(got[name], text)
			}
			slices.Sort(got[name])
			q.Close()
		}
	}
	want := map[string][]string{
		"ProbeDown": {"a shop", "c"}, "ProbeDegraded": {"b shop"}, "ProbeVantageBlind": {"x"}, "ProbeContentMismatch": {"a shop"},
		"ProbeCertificateExpires30d": {"20d shop"}, "ProbeCertificateExpires7d": {"3d shop"}, "ProbeCertificateExpires1d": {"1h shop", "over shop"},
		"ProbeSlow": {"newx shop", "slowx shop"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is alerted on (-want +got):\n%s", diff)
	}
}

// TestSlowerThanYesterday plays the rule about latency minute by minute: its past is that
// of a day ago, whatever the last hour was like, and of an hour ago as long as there is no
// day.
func TestSlowerThanYesterday(t *testing.T) {
	groups, errs := rulefmt.Parse(Rules(), false, model.UTF8Validation, parser.NewParser(parser.Options{}), nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	expr := ""
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == alertSlow {
				expr = r.Expr
			}
		}
	}
	store := promqltest.LoadedStorage(t, `load 1m
		probe_definition_info{job="web"} 1x3000
		probe_success{job="web", instance="slow since noon", vantage="x"} 1x3000
		probe_duration_seconds{job="web", instance="slow since noon", vantage="x"} 0.1x2160 0.5x840
		probe_success{job="web", instance="slow at night", vantage="x"} 1x3000
		probe_duration_seconds{job="web", instance="slow at night", vantage="x"} 0.1x1199 0.5x239 0.1x1199 0.5x360
		probe_success{job="web", instance="twice", vantage="x"} 1x3000
		probe_duration_seconds{job="web", instance="twice", vantage="x"} 0.2x2160 0.4x840
	`)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	alerts := func(minute int) (out []string) {
		q, err := engine.NewInstantQuery(t.Context(), store, nil, expr, time.Unix(0, 0).Add(time.Duration(minute)*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		result := q.Exec(t.Context())
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		for _, s := range result.Value.(promql.Vector) {
			out = append(out, s.Metric.Get("instance"))
		}
		slices.Sort(out)
		return out
	}
	for minute, want := range map[int][]string{
		1100: nil,               // nothing happened yet
		1215: {"slow at night"}, // of an hour ago, for there is no yesterday
		1300: nil,               // an hour ago was as slow: still no yesterday
		2150: nil,
		2175: {"slow since noon"},
		2600: {"slow since noon"},                  // yesterday counts, not the hour before
		2655: {"slow since noon"},                  // the night is as yesterday's
		2895: {"slow at night", "slow since noon"}, // it lasts longer than yesterday's
	} {
		if got := alerts(minute); !slices.Equal(got, want) {
			t.Errorf("minute %d: %q, want %q", minute, got, want)
		}
	}
}

func TestAnnotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := define(t, "web", "targets: [https://a/, https://bad/]\ninterval: 10s\n")
		r := begin(t, "berlin", Set{Local: []*definition.Definition{web}}, nil)
		defer r.end()
		time.Sleep(time.Minute)
		ask := func(pairs ...string) map[string]string {
			return r.Annotations(labels.FromStrings(pairs...), "http://here")
		}
		down := ask("alertname", "ProbeDown", "job", "web", "instance", "https://bad/")
		if got, want := down["summary"], "Down · vantage berlin · https://bad/ · total 1.0 ms"; got != want {
			t.Errorf("summary %q, want %q", got, want)
		}
		if !strings.HasPrefix(down["verdict"], "down from berlin in eu since ") {
			t.Errorf("verdict %q", down["verdict"])
		}
		if !strings.HasPrefix(down["evidence"], "http://here/api/v1/probes/evidence") {
			t.Errorf("evidence %q", down["evidence"])
		}
		up := ask("alertname", "ProbeDown", "job", "web", "instance", "https://a/")
		if want := "Up again · https://a/ · fine from the only vantage that probes it since "; !strings.HasPrefix(up["summary"], want) {
			t.Errorf("summary %q", up["summary"])
		}
		slow := ask("alertname", "ProbeSlow", "job", "web", "instance", "https://a/", "vantage", "berlin")
		if got, want := slow["summary"], "Connectivity too slow · vantage berlin · https://a/ · total 1.0 ms"; got != want {
			t.Errorf("summary %q, want %q", got, want)
		}
		if own := ask("alertname", "Mine", "job", "web", "instance", "https://bad/"); own["summary"] != "" || own["verdict"] == "" {
			t.Errorf("an alert of a rule of one's own: %q", own)
		}
		if other := ask("alertname", "ProbeDown", "job", "node", "instance", "https://bad/"); other != nil {
			t.Errorf("an alert that is not about a probe: %q", other)
		}
	})
}

func TestTiming(t *testing.T) {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	got := summary("Connectivity too slow", []string{"cloud-beijing"}, "https://hub.example.com", timing(ms(7900), []time.Duration{ms(3.7), ms(3200), ms(3400), 0, 0, 0}))
	if want := "Connectivity too slow · vantage cloud-beijing · https://hub.example.com · total 7.9 s: DNS 3.7 ms, connect 3.2 s, TLS 3.4 s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
