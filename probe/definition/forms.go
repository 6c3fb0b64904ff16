package definition

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/promql/parser"
)

// UnmarshalYAML takes a text, or a mapping.
func (t *Target) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err == nil {
		*t = Target{Host: text}
		if strings.Contains(text, "://") {
			*t = Target{URL: text}
		}
		return nil
	}
	type plain Target
	return unmarshal((*plain)(t))
}

// Use names a module, or holds one.
type Use struct {
	Name   string
	Inline *Module
}

// UnmarshalYAML takes a name, or a module.
func (u *Use) UnmarshalYAML(unmarshal func(any) error) error {
	var name string
	if err := unmarshal(&name); err == nil {
		*u = Use{Name: name}
		return nil
	}
	m := &Module{}
	if err := unmarshal(m); err != nil {
		return err
	}
	*u = Use{Inline: m}
	return nil
}

// MarshalYAML is the inverse of UnmarshalYAML.
func (u Use) MarshalYAML() (any, error) {
	if u.Inline != nil {
		return u.Inline, nil
	}
	return u.Name, nil
}

// IsZero reports whether nothing was written.
func (u Use) IsZero() bool { return u == Use{} }

// Discovery finds targets as a scrape configuration of Prometheus does. What its
// relabelling leaves in __param_target, else in __address__, is the target, and
// labels that do not begin with __ are the target's, instance among them.
type Discovery struct {
	RelabelConfigs []*relabel.Config `yaml:"relabel_configs,omitempty"`
	// Configs stand beside it under their own keys: dns_sd_configs and so on.
	Configs discovery.Configs `yaml:"-"`
}

// UnmarshalYAML knows the keys of all discoveries that are linked.
func (d *Discovery) UnmarshalYAML(unmarshal func(any) error) error {
	if err := discovery.UnmarshalYAMLWithInlineConfigs(d, unmarshal); err != nil {
		return err
	}
	if len(d.Configs) == 0 {
		return errors.New("holds no service discovery: write static_configs, dns_sd_configs, file_sd_configs, http_sd_configs or another")
	}
	for _, c := range d.RelabelConfigs {
		if c == nil {
			return errors.New("empty or null relabel_configs entry")
		}
		if err := c.Validate(model.UTF8Validation); err != nil {
			return err
		}
	}
	return nil
}

// MarshalYAML is the inverse of UnmarshalYAML.
func (d Discovery) MarshalYAML() (any, error) { return discovery.MarshalYAMLWithInlineConfigs(&d) }

// From selects the islands that probe.
type From struct {
	// This is the island that the definition was written on, and no other.
	This bool
	// Selector is matched against an island's labels, its name being the label
	// "island"; "" selects all. Islands is what it means.
	Selector string
	Islands  []*labels.Matcher
	// Spread is how many of them probe each target, a different few for each; 0 for
	// all. Per has that many of each value of this label.
	Spread int
	Per    string
}

// fromMapping is the long form.
type fromMapping struct {
	Islands string `yaml:"islands,omitempty"`
	Spread  int    `yaml:"spread,omitempty"`
	Per     string `yaml:"per,omitempty"`
}

// The words that stand for selectors.
const (
	fromAll  = "all"
	fromThis = "this"
)

// UnmarshalYAML takes all, this, a selector such as {region="eu"}, or a mapping of
// islands (the same), spread and per.
func (f *From) UnmarshalYAML(unmarshal func(any) error) error {
	var long fromMapping
	if err := unmarshal(&long.Islands); err != nil {
		long = fromMapping{}
		if err := unmarshal(&long); err != nil {
			return err
		}
	}
	*f = From{Spread: long.Spread, Per: long.Per}
	if long.Spread < 0 {
		return fmt.Errorf("spread is %d; it must be 1 or more, or left out for all islands", long.Spread)
	}
	if long.Per != "" && long.Spread == 0 {
		return fmt.Errorf("per is %q, which says nothing without spread, the number of islands of each %s", long.Per, long.Per)
	}
	switch text := strings.TrimSpace(long.Islands); text {
	case "", fromAll, "{}":
	case fromThis:
		if f.This = true; f.Spread > 0 {
			return errors.New("spread is over many islands, and from selects this one; leave one of them out")
		}
	default:
		return f.selectBy(text)
	}
	return nil
}

func (f *From) selectBy(text string) (err error) {
	if !strings.HasPrefix(text, "{") {
		text = "{" + text + "}"
	}
	f.Selector = text
	f.Islands, err = parser.NewParser(parser.Options{}).ParseMetricSelector(text)
	if err != nil {
		return fmt.Errorf(`%q: must be all, this or a selector such as '{region="eu"}': %w`, text, err)
	}
	return nil
}

// MarshalYAML is the inverse of UnmarshalYAML.
func (f From) MarshalYAML() (any, error) {
	text := f.Selector
	switch {
	case f.This:
		text = fromThis
	case text == "":
		text = fromAll
	}
	if f.Spread == 0 {
		return text, nil
	}
	return fromMapping{Islands: text, Spread: f.Spread, Per: f.Per}, nil
}

// Selects reports whether an island with these labels is one of those that spread
// chooses from.
func (f From) Selects(of map[string]string) bool {
	for _, m := range f.Islands {
		if !m.Matches(of[m.Name]) {
			return false
		}
	}
	return true
}

// History damps: a vantage has changed its mind when that many of its last
// results say so. It is written "2 of 3".
type History struct{ Need, Of int }

// LongestHistory bounds what is kept for each target.
const LongestHistory = 100

// UnmarshalText reads "2 of 3".
func (h *History) UnmarshalText(text []byte) error {
	need, of, ok := strings.Cut(string(text), " of ")
	n, err := strconv.Atoi(strings.TrimSpace(need))
	m, err2 := strconv.Atoi(strings.TrimSpace(of))
	if !ok || err != nil || err2 != nil || n < 1 || m < n || m > LongestHistory {
		return fmt.Errorf("%q: must be like 2 of 3: so many of the last results, of at most %d", text, LongestHistory)
	}
	*h = History{Need: n, Of: m}
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (h History) MarshalText() ([]byte, error) {
	if h.IsZero() {
		return nil, nil
	}
	return fmt.Appendf(nil, "%d of %d", h.Need, h.Of), nil
}

// IsZero reports whether nothing was written.
func (h History) IsZero() bool { return h == History{} }
