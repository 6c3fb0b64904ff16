package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/query/render"
)

// said is an island that answers every run with these results.
func said(t *testing.T, state string, results ...probe.RunResult) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != probe.RunPath || r.Method != http.MethodPost {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		enc, end := json.NewEncoder(w), &probe.RunEnd{State: state, Words: "so be it"}
		plan := &probe.RunPlan{Target: r.FormValue("target"), Module: r.FormValue("module"), At: time.Unix(0, 0)}
		for _, one := range results {
			plan.Vantages = append(plan.Vantages, one.Vantage)
			if one.State == probe.RunUp {
				end.Up++
			}
		}
		_ = enc.Encode(probe.RunEvent{Plan: plan})
		for _, one := range results {
			_ = enc.Encode(probe.RunEvent{Result: &one})
		}
		if state != "" {
			_ = enc.Encode(probe.RunEvent{End: end})
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestProbeExitCodes(t *testing.T) {
	of := func(states ...string) (out []probe.RunResult) {
		for n, s := range states {
			out = append(out, probe.RunResult{Vantage: fmt.Sprint("v", n), State: s})
		}
		return out
	}
	for _, tc := range []struct {
		verdict          string
		states           []string
		any, all, quorum int
	}{
		{"up", []string{"up", "up"}, 0, 0, 0},
		{"up", []string{"up", "down", "up"}, 1, 0, 0},
		{"degraded", []string{"up", "slow"}, 1, 0, 0},
		{"down", []string{"up", "down", "down"}, 1, 0, 1},
		{"down", []string{"down"}, 1, 1, 1},
		{"degraded", []string{"slow", "slow"}, 1, 1, 1},
		{"up", []string{"up", "silent", "refused"}, 0, 0, 0},
		{"unknown", []string{"silent", "refused"}, 2, 2, 2},
		{"", []string{"up"}, 2, 2, 2}, // cut short
	} {
		island := said(t, tc.verdict, of(tc.states...)...)
		for flag, want := range map[string]int{"any": tc.any, "all": tc.all, "quorum": tc.quorum} {
			say(t, want, "probe", "https://x.example/", "-u", island, "--fail-if", flag)
		}
	}
	for _, args := range [][]string{
		{"-u", "http://127.0.0.1:1"}, {"-u", "::"}, {"--interval", "1ms"}, {"--spread", "-1"}, {"--per", "region"}, {"--fail-if", "most"}, {"--watch", "-i", "2s"},
	} {
		say(t, 2, append([]string{"probe", "https://x.example/"}, args...)...)
	}
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"from: \"moon\""}`, http.StatusBadRequest)
	}))
	defer refuses.Close()
	var out, errs bytes.Buffer
	if code := execute([]string{"probe", "x", "-u", refuses.URL}, streams{&out, &errs}); code != 2 || !strings.Contains(errs.String(), `from: "moon"`) {
		t.Errorf("code %d, %s", code, &errs)
	}
}

// TestProbeScreen draws on terminals of all widths what servers and islands that mean
// ill could say: no line is too long, and no character is an order to the terminal.
func TestProbeScreen(t *testing.T) {
	evil := strings.Repeat("\x1b[2J\u202eword\n", 60)
	results := []probe.RunResult{
		{Vantage: evil, State: probe.RunDown, Reason: evil, Words: evil, Took: 1e300, Phases: map[string]float64{"connect": -1, "tls": 1e300}},
		{Vantage: "a", State: evil, Answered: evil, Remark: evil, Records: []string{evil}, Took: -1},
		{Vantage: "b", State: probe.RunUp, Answered: evil, Remark: evil, Took: 5e-324, Phases: map[string]float64{"connect": 5e-324}},
		{Vantage: "c", State: probe.RunUp, Answered: "[2001:db8::1]:443", Remark: "200", Took: 0.18, Phases: map[string]float64{"resolve": 0.004, "connect": 0.05, "tls": 0.1, "request": 1e-5, "first_byte": 0.02, "transfer": 0.006}, Hops: []probe.RunHop{
			{TTL: 1, Addresses: []string{"192.0.2.1", evil}, Sent: 3, RTT: []float64{0.001, 0.002}},
			{TTL: 1 << 31, Sent: 3, Lost: 1 << 31, Unreachable: evil}, {TTL: 3, Addresses: []string{strings.Repeat("2001:db8:", 9)}, RTT: []float64{1e300}},
		}},
	}
	for width := 1; width < 200; width += 3 {
		for _, color := range []bool{false, true} {
			var out bytes.Buffer
			s := newScreen(&out, render.Options{Width: width, Color: color}, true)
			s.watch()
			s.redraw = color
			plan := &probe.RunPlan{Target: evil, Module: evil, Vantages: []string{evil, "a", "b"}}
			for _, e := range []probe.RunEvent{{Plan: plan}, {Result: &results[0]}, {Result: &results[1]}, {Result: &results[2]}, {Result: &results[3]}, {End: &probe.RunEnd{State: evil, Words: evil}}} {
				if err := s.show(e); err != nil {
					t.Fatal(err)
				}
			}
			text := out.String()
			for _, ours := range []string{"\x1b[H\x1b[2J", "\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[36m", "\x1b[37m"} {
				if color {
					text = strings.ReplaceAll(text, ours, "")
				}
			}
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				if n := utf8.RuneCountInString(line); n > max(width, leastColumns) {
					t.Fatalf("%d columns in a terminal of %d: %q", n, width, line)
				}
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Fatalf("not text: %q", line)
				}
			}
		}
	}
}

func TestProbeLine(t *testing.T) {
	s := newScreen(&bytes.Buffer{}, render.Options{}, true)
	s.plan = &probe.RunPlan{Vantages: []string{"berlin", "cloud-beijing"}}
	got := s.vantage(&probe.RunResult{Vantage: "cloud-beijing", State: probe.RunUp, Answered: "192.0.2.7:443", Remark: "200, HTTP/2", Took: 7.9, Phases: map[string]float64{
		"resolve": 0.0037, "connect": 3.2, "tls": 3.4, "request": 2e-5, "first_byte": 1.29,
	}})
	want := "cloud-beijing  cccccccctttttttttfff      7.9 s  192.0.2.7:443  200, HTTP/2\n" +
		"  dns 3.7 ms, connect 3.2 s, tls 3.4 s, send 20 µs, wait 1.29 s\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for seconds, want := range map[float64]int{0: 0, 1e-9: 1, 1e-3: 1, 0.1: 16, 10: 31, 1e9: 31} {
		if got := barLength(seconds, 31); got != want {
			t.Errorf("%g s are %d columns, want %d", seconds, got, want)
		}
	}
}
