package alert

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// ruleSet is every rule group a configuration names, read and parsed.
type ruleSet struct {
	files    []string
	groups   map[string]*rulefmt.RuleGroups // by file
	interval time.Duration                  // of groups that name none
	offset   time.Duration                  // of groups that name none
	longest  time.Duration                  // interval of any group that can alert
	external labels.Labels
}

// RuleFiles returns the files that rule_files of a configuration matches now,
// sorted, each once.
func RuleFiles(conf *promconfig.Config) ([]string, error) {
	var files []string
	for _, pattern := range conf.RuleFiles {
		matched, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("matching rule_files: %q: %w: escape the character or correct the pattern", pattern, err)
		}
		files = append(files, matched...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// Supplied is a rule file that is no file: what a part of the program alerts on
// unless told otherwise.
type Supplied struct {
	// Name stands where the rules API shows a file.
	Name string
	Text []byte
}

// loadRules reads all rule files; the problems are those of all files.
func loadRules(conf *promconfig.Config, p parser.Parser, supplied []Supplied) (*ruleSet, Problems) {
	s := &ruleSet{
		groups:   map[string]*rulefmt.RuleGroups{},
		interval: time.Duration(conf.GlobalConfig.EvaluationInterval),
		offset:   time.Duration(conf.GlobalConfig.RuleQueryOffset),
		external: conf.GlobalConfig.ExternalLabels,
	}
	files, err := RuleFiles(conf)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	s.files = files
	var problems Problems
	check := func(file string, content []byte) {
		groups, found := checkRules(file, content, p, conf.GlobalConfig.MetricNameValidationScheme)
		problems = append(problems, found...)
		if groups == nil {
			return
		}
		s.groups[file] = groups
		for _, g := range groups.Groups {
			if slices.ContainsFunc(g.Rules, func(r rulefmt.Rule) bool { return r.Alert != "" }) {
				s.longest = max(s.longest, cmp.Or(time.Duration(g.Interval), s.interval))
			}
		}
	}
	for _, one := range supplied {
		s.files = append(s.files, one.Name)
		check(one.Name, one.Text)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			problems = append(problems, Problem{File: file, Message: fmt.Sprintf("reading rules: %v: make the file readable or take it out of rule_files", err)})
			continue
		}
		check(file, content)
	}
	return s, problems
}

// groupLoader gives the rule manager the groups that were read in Prepare, so
// that taking them over reads no file and cannot fail.
type groupLoader struct {
	parser parser.Parser

	mu       sync.Mutex
	set      *ruleSet
	external string
	flip     bool
}

// serve makes set what the next Load calls return. The manager keeps a group
// whose text is unchanged, with the external labels and URL it was made with.
// Where these have changed every group gets a query offset that differs by one
// nanosecond, below the resolution of samples, from the one before: it is made
// anew, and takes over the state of its alerts.
func (l *groupLoader) serve(set *ruleSet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	external := set.external.String()
	if l.set != nil && l.external != external {
		l.flip = !l.flip
	}
	l.set, l.external = set, external
}

// Load implements rules.GroupLoader.
func (l *groupLoader) Load(file string, _ bool, _ model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	groups, ok := l.set.groups[file]
	if !ok {
		return nil, []error{fmt.Errorf("BUG: rule file %s was not prepared", file)}
	}
	out := &rulefmt.RuleGroups{Groups: slices.Clone(groups.Groups)}
	for i := range out.Groups {
		offset := model.Duration(l.set.offset)
		if own := out.Groups[i].QueryOffset; own != nil {
			offset = *own
		}
		if l.flip {
			offset++
		}
		out.Groups[i].QueryOffset = &offset
	}
	return out, nil
}

// Parse implements rules.GroupLoader.
func (l *groupLoader) Parse(query string) (parser.Expr, error) {
	return l.parser.ParseExpr(query)
}
