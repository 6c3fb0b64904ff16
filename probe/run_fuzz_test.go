package probe

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/probepb"
)

// FuzzRunResult reads what another island answers: it is bounded, text, and JSON.
func FuzzRunResult(f *testing.F) {
	for _, r := range []*probepb.RunResult{
		{Up: true, AtMs: 1, TookNs: 1, PhasesNs: []int64{1, 2, 3, 4, 5, 6}, Address: "192.0.2.1:443", Prober: "http", Remark: "200"},
		{Reason: "slow", Words: "\x1b[2J", AtMs: math.MaxInt64, Records: []string{"a\nb"}, Samples: []*probepb.RunSample{{Name: "x", Labels: []string{"a"}, Value: math.Inf(1)}}},
		{Reason: "denied", Hops: []*probepb.RunHop{{Ttl: 1, Addresses: []string{"\u202e"}, Sent: 1, Lost: 2, RttNs: []int64{math.MinInt64}}}},
	} {
		text, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &probepb.RunResult{}
		if proto.Unmarshal(text, r) != nil {
			return
		}
		out := heard("v", r)
		switch out.State {
		case RunUp, RunSlow, RunDown, RunRefused:
		default:
			t.Errorf("state %q", out.State)
		}
		encoded, err := json.Marshal(out)
		if err != nil || strings.ContainsFunc(string(encoded), unicode.IsControl) {
			t.Errorf("%v: %q", err, encoded)
		}
	})
}

// FuzzParseFrom reads what people type: what is taken selects something, or nothing,
// and never more than was said.
func FuzzParseFrom(f *testing.F) {
	for _, text := range []string{"", "all", "this", "berlin,tokyo", "region=eu,isp=acme", `{region=~"eu|us"}`, "a=b=c", "\"", "{", "- x", "&a *a", "!!int 1"} {
		f.Add(text, 2, "region")
	}
	f.Fuzz(func(t *testing.T, text string, spread int, per string) {
		from, err := ParseFrom(text, spread, per)
		if err != nil {
			return
		}
		if all := strings.TrimSpace(text); from.Selector == "" && !from.This && all != "" && all != "all" && strings.Trim(all, "{} \t\r\n") != "" {
			t.Errorf("%q selects all", text)
		}
	})
}
