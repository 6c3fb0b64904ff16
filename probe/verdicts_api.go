package probe

import (
	"net/http"
	"strconv"
	"time"

	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

// VerdictsPath is where verdicts of all judges are.
const VerdictsPath = "/api/v1/probes/verdicts"

// VerdictStatus is what all vantages together say of a target. Times are RFC 3339 and
// seconds.
type VerdictStatus struct {
	Definition string            `json:"definition"`
	Target     string            `json:"target"`
	Address    string            `json:"address,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Owner      string            `json:"owner,omitempty"`
	Severity   string            `json:"severity,omitempty"`
	// State is up, degraded, down or unknown.
	State string     `json:"state"`
	Since *time.Time `json:"since,omitempty"`
	// Words say it all in one sentence.
	Words string `json:"words"`
	// Page tells that enough vantages agree to wake somebody, which takes PageQuorum.
	Page       bool `json:"page"`
	PageQuorum int  `json:"pageQuorum"`
	Flapping   bool `json:"flapping,omitempty"`
	// Judge is the island that says so.
	Judge string `json:"judge"`
	// Blind vantages have a bad way out themselves, silent ones were not heard of late.
	Failing []VantageStatus `json:"failing,omitempty"`
	Slow    []VantageStatus `json:"slow,omitempty"`
	Fine    []VantageStatus `json:"fine,omitempty"`
	Blind   []VantageStatus `json:"blind,omitempty"`
	Silent  []VantageStatus `json:"silent,omitempty"`
	// Differences are those of the answers that are compared.
	Differences []DifferenceStatus `json:"differences,omitempty"`
}

// DifferenceStatus is one thing in which answers are not as they should be.
type DifferenceStatus struct {
	// What is status, body, age, origin, or a header's name.
	What string `json:"what"`
	// Vantages got it, from Edges.
	Vantages []string `json:"vantages"`
	Edges    []string `json:"edges,omitempty"`
	Want     string   `json:"want"`
	Got      string   `json:"got"`
	Words    string   `json:"words"`
}

// VantageStatus is what one vantage says.
type VantageStatus struct {
	Vantage string    `json:"vantage"`
	Region  string    `json:"region,omitempty"`
	Country string    `json:"country,omitempty"`
	ISP     string    `json:"isp,omitempty"`
	Since   time.Time `json:"since"`
	Heard   time.Time `json:"heard"`
	Code    string    `json:"code,omitempty"`
	Words   string    `json:"words,omitempty"`
	// Bad of Of last probes were not as they should be.
	Bad int `json:"bad"`
	Of  int `json:"of"`
	// Took and Phases are of a probe that says so, Measured is when it was: of another
	// vantage the newest one, or one that took much the same.
	Measured *time.Time         `json:"measured,omitempty"`
	Took     float64            `json:"tookSeconds,omitempty"`
	Phases   map[string]float64 `json:"phases,omitempty"`
	// Evidence is where it is found out why, below EvidencePath.
	Evidence string `json:"evidence,omitempty"`
	// Uplink is why its own way out is bad.
	Uplink string `json:"uplink,omitempty"`
}

// VerdictList is the answer of VerdictsPath.
type VerdictList struct {
	Verdicts []VerdictStatus `json:"verdicts"`
	// LeftOff is how many more there are.
	LeftOff int `json:"leftOff,omitempty"`
	// Missing are islands that judge and did not answer, and why.
	Missing map[string]string `json:"missing,omitempty"`
}

// serveVerdicts answers ?definition=&instance=&state=up|degraded|down|unknown&limit=N,
// all optional.
func (p *Prober) serveVerdicts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := council.Filter{Definition: q.Get("definition"), Instance: q.Get("instance"), State: q.Get("state")}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > council.MostListed {
			reply(w, http.StatusBadRequest, envelope{Status: "error", Error: "limit=" + strconv.Quote(text) + ": must be a number from 1 to " + strconv.Itoa(council.MostListed)})
			return
		}
		f.Limit = n
	}
	if !knownState(f.State) {
		reply(w, http.StatusBadRequest, envelope{Status: "error", Error: "state=" + strconv.Quote(f.State) + ": must be up, degraded, down or unknown"})
		return
	}
	all, left, missing := p.council.Everywhere(r.Context(), f)
	out := VerdictList{Verdicts: make([]VerdictStatus, len(all)), LeftOff: left, Missing: missing}
	for i := range all {
		out.Verdicts[i] = verdictStatus(&all[i])
	}
	reply(w, http.StatusOK, envelope{Status: "success", Data: out})
}

func verdictStatus(v *council.Verdict) VerdictStatus {
	s := VerdictStatus{
		Definition: v.Definition, Target: v.Instance, Address: v.Address, Labels: v.Own(), Owner: v.Owner, Severity: v.Severity,
		State: v.State.String(), Words: v.Words, Page: v.Page, PageQuorum: v.PageQuorum, Flapping: v.Flapping, Judge: v.Judge,
		Failing: vantages(v.Failing), Slow: vantages(v.Slow), Fine: vantages(v.Fine), Blind: vantages(v.Blind), Silent: vantages(v.Silent),
	}
	s.Since = known(v.Since)
	for _, d := range v.Differences {
		s.Differences = append(s.Differences, DifferenceStatus{What: d.What, Vantages: d.Vantages, Edges: d.Edges, Want: d.Want, Got: d.Got, Words: d.String()})
	}
	return s
}

func vantages(votes []verdict.Vote) (out []VantageStatus) {
	for _, v := range votes {
		s := VantageStatus{
			Vantage: v.Vantage.Name, Region: v.Vantage.Region, Country: v.Vantage.Country, ISP: v.Vantage.ISP, Since: v.Since.UTC(), Heard: v.At.UTC(),
			Code: v.Code, Words: v.Words, Bad: v.Bad, Of: v.Of, Measured: known(v.Measured), Took: v.Took.Seconds(), Phases: phaseSeconds(v.Phases), Uplink: v.Uplink,
		}
		if v.Failure != "" {
			s.Evidence = EvidencePath + "/" + v.Failure
		}
		out = append(out, s)
	}
	return out
}

// known is nil for no time.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// phaseSeconds are those that happened, by name; nil for none.
func phaseSeconds(phases []time.Duration) (out map[string]float64) {
	for phase, took := range phases[:min(len(phases), int(protocol.Phases))] {
		if took > 0 {
			if out == nil {
				out = map[string]float64{}
			}
			out[protocol.Phase(phase).String()] = took.Seconds()
		}
	}
	return out
}
