package probe

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

// MatrixPath shows every target from every vantage.
const MatrixPath = "/api/v1/probes/matrix"

const (
	// defaultRows and mostRows are how many targets one answer has, mostCells what they
	// may have in all.
	defaultRows = 100
	mostRows    = 1000
	mostCells   = 20_000
)

// Matrix is what each vantage sees of each target.
type Matrix struct {
	// Vantages are those with a cell, in order.
	Vantages []string    `json:"vantages"`
	Targets  []MatrixRow `json:"targets"`
	// Next is the parameter after= of the next page, "" on the last one; LeftOff is how
	// many targets there are beyond this one.
	Next    string `json:"next,omitempty"`
	LeftOff int    `json:"leftOff,omitempty"`
	// Missing are islands that judge and did not answer, and why: their targets are not
	// here.
	Missing map[string]string `json:"missing,omitempty"`
}

// MatrixRow is one target.
type MatrixRow struct {
	Definition string            `json:"definition"`
	Target     string            `json:"target"`
	Address    string            `json:"address,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	State      string            `json:"state"`
	Since      *time.Time        `json:"since,omitempty"`
	Words      string            `json:"words"`
	Page       bool              `json:"page"`
	Cells      []MatrixCell      `json:"cells"`
}

// MatrixCell is one target from one vantage.
type MatrixCell struct {
	Vantage string `json:"vantage"`
	// State is what the vantage thinks; Counted is how that was taken: failing, slow,
	// fine, blind or silent.
	State   string    `json:"state"`
	Counted string    `json:"counted"`
	Since   time.Time `json:"since"`
	// Reason is a code and Words say why it is not up; Phase is known of this island's
	// own probes only.
	Reason string `json:"reason,omitempty"`
	Phase  string `json:"phase,omitempty"`
	Words  string `json:"words,omitempty"`
	Bad    int    `json:"bad"`
	Of     int    `json:"of"`
	// Measured is when the probe was that Took and Phases are of. Here tells that it is
	// this island's newest one.
	Measured *time.Time         `json:"measured,omitempty"`
	Took     float64            `json:"tookSeconds"`
	Phases   map[string]float64 `json:"phases,omitempty"`
	Here     bool               `json:"here,omitempty"`
	Evidence string             `json:"evidence,omitempty"`
}

// serveMatrix answers ?definition=&instance=&vantage=&state=&limit=&after=, all optional.
func (p *Prober) serveMatrix(w http.ResponseWriter, r *http.Request) {
	f, err := matrixFilter(r.URL.Query())
	if err != nil {
		reply(w, http.StatusBadRequest, envelope{Status: "error", Error: err.Error()})
		return
	}
	all, left, missing := p.council.Everywhere(r.Context(), f)
	reply(w, http.StatusOK, envelope{Status: "success", Data: p.matrix(all, left, missing)})
}

func matrixFilter(q url.Values) (f council.Filter, err error) {
	f = council.Filter{Definition: q.Get("definition"), Instance: q.Get("instance"), Vantage: q.Get("vantage"), State: q.Get("state"), Limit: defaultRows}
	if !knownState(f.State) {
		return f, fmt.Errorf("state=%.40q: must be up, degraded, down or unknown", f.State)
	}
	if text := q.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > mostRows {
			return f, fmt.Errorf("limit=%.40q: must be a number from 1 to %d", text, mostRows)
		}
	}
	if text := q.Get("after"); text != "" {
		if f.After, err = readPlace(text); err != nil {
			return f, fmt.Errorf("after=%.40q: must be next of another answer", text)
		}
	}
	return f, nil
}

func knownState(s string) bool {
	return s == "" || slices.Contains([]string{verdict.Up.String(), verdict.Degraded.String(), verdict.Down.String(), verdict.Unknown.String()}, s)
}

// placeOf writes where in the list of targets one is.
func placeOf(t *council.Target) string {
	text, _ := json.Marshal([]string{t.Definition, t.Instance, t.Address, t.Pack()}) // strings are always written
	return base64.RawURLEncoding.EncodeToString(text)
}

func readPlace(text string) (*council.Target, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	var parts []string
	if err := json.Unmarshal(raw, &parts); err != nil {
		return nil, err
	}
	const n = 4
	if len(parts) != n {
		return nil, fmt.Errorf("%d parts: must be %d", len(parts), n)
	}
	return council.Unpack(parts[0], parts[1], parts[2], parts[3]), nil
}

func (p *Prober) matrix(all []council.Verdict, left int, missing map[string]string) Matrix {
	out := Matrix{Vantages: []string{}, Targets: []MatrixRow{}, LeftOff: left, Missing: missing}
	here, self := p.newest(all), p.vantage.Load().Name
	cells := 0
	seen := map[string]bool{}
	for i := range all {
		row := matrixRow(&all[i], self, here[all[i].Target])
		if cells += len(row.Cells); cells > mostCells && i > 0 {
			out.LeftOff += len(all) - i
			all = all[:i]
			break
		}
		for _, c := range row.Cells {
			seen[c.Vantage] = true
		}
		out.Targets = append(out.Targets, row)
	}
	if out.LeftOff > 0 && len(all) > 0 {
		out.Next = placeOf(&all[len(all)-1].Target)
	}
	for name := range seen {
		out.Vantages = append(out.Vantages, name)
	}
	slices.Sort(out.Vantages)
	return out
}

// newest are the last results of this island for some targets.
func (p *Prober) newest(of []council.Verdict) map[council.Target]*last {
	out := make(map[council.Target]*last, len(of))
	for i := range of {
		out[of[i].Target] = nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, t := range p.targets {
		subject := t.job.Load().subject
		if _, wanted := out[subject]; wanted {
			out[subject] = t.last.Load()
		}
	}
	return out
}

func matrixRow(v *council.Verdict, self string, newest *last) MatrixRow {
	row := MatrixRow{
		Definition: v.Definition, Target: v.Instance, Address: v.Address, Labels: v.Own(), State: v.State.String(), Since: known(v.Since), Words: v.Words, Page: v.Page,
		Cells: []MatrixCell{},
	}
	for _, counted := range []struct {
		as    string
		votes []verdict.Vote
	}{{"failing", v.Failing}, {"slow", v.Slow}, {"fine", v.Fine}, {"blind", v.Blind}, {"silent", v.Silent}} {
		for _, vote := range counted.votes {
			c := MatrixCell{
				Vantage: vote.Vantage.Name, State: vote.State.String(), Counted: counted.as, Since: vote.Since.UTC(), Reason: vote.Code, Words: vote.Words,
				Bad: vote.Bad, Of: vote.Of, Measured: known(vote.Measured), Took: vote.Took.Seconds(), Phases: phaseSeconds(vote.Phases),
			}
			if vote.Failure != "" {
				c.Evidence = EvidencePath + "/" + vote.Failure
			}
			if c.Vantage == self && newest != nil {
				c.Here, c.Measured, c.Took, c.Phases = true, known(newest.at), newest.took.Seconds(), phaseSeconds(newest.phases[:])
				if code := string(newest.reason.Code); code != "" && code == c.Reason {
					c.Phase = newest.reason.Phase.String()
				}
			}
			row.Cells = append(row.Cells, c)
		}
	}
	slices.SortFunc(row.Cells, func(a, b MatrixCell) int { return cmp.Compare(a.Vantage, b.Vantage) })
	return row
}
