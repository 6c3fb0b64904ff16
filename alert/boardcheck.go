package alert

import (
	"fmt"
	"net/http"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"
)

type checkRequest struct {
	// Kind of the document: rules (the default) or globalrules.
	Kind string `json:"kind"`
	YAML string `json:"yaml"`
}

// Checked is POST CheckPath's answer.
type Checked struct {
	// OK says that it can be saved: there may be warnings.
	OK       bool             `json:"ok"`
	Problems []CheckedProblem `json:"problems"`
	// Rules are those of a text that is OK.
	Rules []CheckedRule `json:"rules"`
}

// CheckedProblem is a Problem; line and column count from 1.
type CheckedProblem struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	Warning bool   `json:"warning,omitempty"`
}

// CheckedRule is one rule as it was understood; durations are as in rule files.
type CheckedRule struct {
	Group         string            `json:"group"`
	Interval      string            `json:"interval,omitempty"`
	Alert         string            `json:"alert,omitempty"`
	Record        string            `json:"record,omitempty"`
	Expr          string            `json:"expr"`
	For           string            `json:"for,omitempty"`
	KeepFiringFor string            `json:"keep_firing_for,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Bounds of an answer.
const (
	maxProblems     = 200
	maxCheckedRules = 2000
)

func (b *board) check(r *http.Request) (any, error) {
	req := checkRequest{Kind: "rules"}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if len(req.YAML) > maxRules {
		return nil, &apiError{
			Status: http.StatusRequestEntityTooLarge, Code: "too_large", Field: "yaml", Message: fmt.Sprintf("yaml has %d bytes, at most %d", len(req.YAML), maxRules),
			Remedy: "divide it into several documents",
		}
	}
	if req.Kind != "rules" && req.Kind != "globalrules" {
		return nil, invalid("kind", "kind is %.60q: must be rules or globalrules", req.Kind)
	}
	out := Checked{OK: true, Problems: []CheckedProblem{}, Rules: []CheckedRule{}}
	for _, p := range b.o.Check(req.Kind, []byte(req.YAML)) {
		out.OK = out.OK && p.Warning
		if len(out.Problems) < maxProblems {
			out.Problems = append(out.Problems, CheckedProblem{Line: max(p.Line, 1), Column: max(p.Column, 1), Message: p.Message, Warning: p.Warning})
		}
	}
	if out.OK {
		out.Rules = checkedRules([]byte(req.YAML))
	}
	return out, nil
}

// checkedRules lists the rules of a text without problems.
func checkedRules(text []byte) []CheckedRule {
	out := []CheckedRule{}
	var all struct {
		Groups []struct {
			Name     string
			Interval model.Duration
			Rules    []rulefmt.Rule
		}
	}
	if yaml.Unmarshal(text, &all) != nil {
		return out
	}
	written := func(d model.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if len(out) == maxCheckedRules {
				return out
			}
			out = append(out, CheckedRule{
				Group: g.Name, Interval: written(g.Interval), Alert: r.Alert, Record: r.Record, Expr: r.Expr,
				For: written(r.For), KeepFiringFor: written(r.KeepFiringFor), Labels: r.Labels, Annotations: r.Annotations,
			})
		}
	}
	return out
}
