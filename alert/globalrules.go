package alert

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/alert/global"
)

// onMissingField is what rules of the whole network may say beyond upstream's.
const onMissingField = "on_missing"

// maxGlobalGroups bounds one document: each group is a state document, too.
const maxGlobalGroups = 200

// ParseGlobal reads a document of rules for the whole network: a rule file whose
// groups and rules may say on_missing, the rule's word going before the group's.
// The error is of type Problems and says everything that is wrong, with positions.
func ParseGlobal(name string, text []byte, p parser.Parser) ([]global.Group, error) {
	file := global.KindRules + "/" + name
	c := &rulesChecker{file: file, source: text, parser: p, scheme: model.UTF8Validation, global: true}
	c.document()
	if refused, _ := c.problems.split(); len(refused) > 0 {
		return nil, refused.sorted()
	}
	// The field that upstream does not know is left to the walk above, which has
	// refused all others.
	parsed, errs := rulefmt.Parse(text, true, c.scheme, p, slog.New(slog.DiscardHandler))
	var words struct {
		Groups []struct {
			OnMissing string `yaml:"on_missing"`
			Rules     []struct {
				OnMissing string `yaml:"on_missing"`
			}
		}
	}
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&words); err != nil && !errors.Is(err, io.EOF) {
		errs = append(errs, err)
	}
	for _, err := range errs {
		c.positioned(nil, err.Error())
	}
	if len(errs) == 0 && len(parsed.Groups) > maxGlobalGroups {
		c.add(nil, "%d groups in one document: at most %d; divide it", len(parsed.Groups), maxGlobalGroups)
	}
	if refused, _ := c.problems.split(); len(refused) > 0 {
		return nil, refused.sorted()
	}
	out := make([]global.Group, len(parsed.Groups))
	for i, g := range parsed.Groups {
		out[i] = global.Group{Document: name, Name: g.Name, Interval: time.Duration(g.Interval), Limit: g.Limit}
		if g.QueryOffset != nil {
			out[i].Offset = time.Duration(*g.QueryOffset)
		}
		for n, r := range g.Rules {
			word := cmp.Or(words.Groups[i].Rules[n].OnMissing, words.Groups[i].OnMissing)
			missing, _ := global.ParseOnMissing(word) // it was checked at its place
			out[i].Rules = append(out[i].Rules, global.Rule{
				Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: time.Duration(r.For), KeepFiringFor: time.Duration(r.KeepFiringFor),
				Labels: rules.FromMaps(g.Labels, r.Labels), Annotations: labels.FromMap(r.Annotations), OnMissing: missing,
			})
		}
	}
	return out, nil
}

func (c *rulesChecker) allowed(fields ...string) []string {
	if c.global {
		return append(slices.Clip(fields), onMissingField)
	}
	return fields
}

// onMissing checks the word of a group or a rule. A recording rule cannot fire.
func (c *rulesChecker) onMissing(fields map[string]*yaml.Node) {
	n := fields[onMissingField]
	if n == nil {
		return
	}
	word, err := global.ParseOnMissing(n.Value)
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		err = fmt.Errorf("%s is %s: must be keep, fire or ignore", onMissingField, kindOf(n))
	}
	if err == nil && word == global.Fire && fields["record"] != nil {
		err = errors.New("on_missing: fire is for alerts: a recording rule keeps or ignores")
	}
	if err != nil {
		c.add(n, "%v", err)
	}
}
