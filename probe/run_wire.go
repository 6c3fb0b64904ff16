package probe

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// RunEvent is a line of what a run streams: first the plan, then a result for each
// vantage as it comes, then the end. One of them is set.
type RunEvent struct {
	Plan   *RunPlan   `json:"plan,omitempty"`
	Result *RunResult `json:"result,omitempty"`
	End    *RunEnd    `json:"end,omitempty"`
}

// RunPlan says who probes what.
type RunPlan struct {
	Target   string    `json:"target"`
	Module   string    `json:"module"`
	Prober   string    `json:"prober"`
	At       time.Time `json:"at"`
	Timeout  float64   `json:"timeoutSeconds"`
	Vantages []string  `json:"vantages"`
}

// The states of a RunResult.
const (
	RunUp      = "up"
	RunSlow    = "slow" // it answered later than its module allows
	RunDown    = "down"
	RunRefused = "refused" // the vantage does not probe this
	RunSilent  = "silent"  // the vantage did not answer
)

// RunResult is what one vantage says.
type RunResult struct {
	Vantage string `json:"vantage"`
	Region  string `json:"region,omitempty"`
	Country string `json:"country,omitempty"`
	ISP     string `json:"isp,omitempty"`
	Geohash string `json:"geohash,omitempty"`
	State   string `json:"state"`
	// Reason, Phase and Words say why it is not up.
	Reason string `json:"reason,omitempty"`
	Phase  string `json:"phase,omitempty"`
	Words  string `json:"words,omitempty"`
	// At is when the probe began, by the vantage's clock.
	At     *time.Time         `json:"at,omitempty"`
	Took   float64            `json:"tookSeconds,omitempty"`
	Phases map[string]float64 `json:"phases,omitempty"`
	// Answered is who was asked at last.
	Answered string   `json:"answered,omitempty"`
	Remark   string   `json:"remark,omitempty"`
	Records  []string `json:"records,omitempty"`
	Hops     []RunHop `json:"hops,omitempty"`
	// Samples are by series, as in the text form of metrics.
	Samples map[string]float64 `json:"samples,omitempty"`
}

// RunHop is one router on the way. Times are in seconds.
type RunHop struct {
	TTL         uint32    `json:"ttl"`
	Addresses   []string  `json:"addresses,omitempty"`
	Sent        uint32    `json:"sent"`
	Lost        uint32    `json:"lost"`
	RTT         []float64 `json:"rttSeconds,omitempty"`
	MTU         uint32    `json:"mtu,omitempty"`
	Unreachable string    `json:"unreachable,omitempty"`
}

// RunEnd is what all vantages together say.
type RunEnd struct {
	// State is up, degraded, down or unknown, by the quorum that definitions have by
	// default; Words say it.
	State   string  `json:"state"`
	Words   string  `json:"words"`
	Up      int     `json:"up"`
	Slow    int     `json:"slow"`
	Down    int     `json:"down"`
	Refused int     `json:"refused"`
	Silent  int     `json:"silent"`
	Took    float64 `json:"tookSeconds"`
}

// Bounds of what another island may answer.
const (
	mostWords    = 600
	mostHops     = 64
	mostHopAddrs = 16
	mostHopRTTs  = 64
	mostSamples  = 400
	mostLabels   = 16
)

// printable takes from a text what does not belong on a screen, and what is too long.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), most)], "\uFFFD"))
	return strings.TrimSpace(text)
}

func seconds(ns int64) float64 { return time.Duration(max(0, ns)).Seconds() }

// heard is an answer as it is passed on: bounded, and without anything that is not text.
func heard(vantage string, r *probepb.RunResult) *RunResult {
	at := time.UnixMilli(r.GetAtMs()).UTC()
	out := &RunResult{
		Vantage: vantage, Region: printable(r.GetRegion(), 64), Country: printable(r.GetCountry(), 64), ISP: printable(r.GetIsp(), 64), Geohash: printable(r.GetGeohash(), 16),
		State: RunUp, At: &at, Took: seconds(r.GetTookNs()), Phases: map[string]float64{},
		Answered: printable(r.GetAddress(), 64), Remark: printable(r.GetRemark(), 120),
	}
	if y := at.Year(); y < 1 || y > 9999 { // cannot be written as JSON
		out.At = nil
	}
	if !r.GetUp() {
		out.State, out.Reason, out.Phase, out.Words = RunDown, printable(r.GetReason(), 64), printable(r.GetPhase(), 32), printable(r.GetWords(), mostWords)
		switch out.Reason {
		case string(protocol.Slow):
			out.State = RunSlow
		case string(protocol.Denied): // which says nothing of the target
			out.State = RunRefused
		}
	}
	for phase, ns := range r.GetPhasesNs() {
		if phase < int(protocol.Phases) && ns > 0 {
			out.Phases[protocol.Phase(phase).String()] = seconds(ns)
		}
	}
	for _, record := range r.GetRecords()[:min(len(r.GetRecords()), mostAnswerRows)] {
		out.Records = append(out.Records, printable(record, 300))
	}
	for _, h := range r.GetHops()[:min(len(r.GetHops()), mostHops)] {
		hop := RunHop{TTL: h.GetTtl(), Sent: h.GetSent(), Lost: h.GetLost(), MTU: h.GetMtu(), Unreachable: printable(h.GetUnreachable(), 16)}
		for _, a := range h.GetAddresses()[:min(len(h.GetAddresses()), mostHopAddrs)] {
			hop.Addresses = append(hop.Addresses, printable(a, 64))
		}
		for _, ns := range h.GetRttNs()[:min(len(h.GetRttNs()), mostHopRTTs)] {
			hop.RTT = append(hop.RTT, seconds(ns))
		}
		out.Hops = append(out.Hops, hop)
	}
	out.Samples = heardSamples(r.GetSamples())
	return out
}

func heardSamples(samples []*probepb.RunSample) map[string]float64 {
	out := map[string]float64{}
	for _, s := range samples[:min(len(samples), mostSamples)] {
		if math.IsNaN(s.GetValue()) || math.IsInf(s.GetValue(), 0) {
			continue // JSON has no such numbers
		}
		name, ls := printable(s.GetName(), 200), s.GetLabels()
		var pairs []string
		for i := 0; i+1 < min(len(ls), 2*mostLabels); i += 2 {
			pairs = append(pairs, fmt.Sprintf("%s=%q", printable(ls[i], 100), printable(ls[i+1], 200)))
		}
		if len(pairs) > 0 {
			name += "{" + strings.Join(pairs, ",") + "}"
		}
		out[name] = s.GetValue()
	}
	return out
}
