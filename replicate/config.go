package replicate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/atoll-mesh/atoll/flow"
)

// Config is the section "replicate".
type Config struct {
	// Streams are what this island sends.
	Streams []Stream `yaml:"streams"`
	// Receive bounds what other islands may keep here.
	Receive Receive `yaml:"receive"`
}

// Stream is series that are copied to other islands.
type Stream struct {
	// Name is unique here, and names the copy there.
	Name string `yaml:"name"`
	// To are the receivers: names of members, or selectors such as role=admin or
	// tier=primary,region=eu. Whoever one of them fits gets a copy.
	To []string `yaml:"to,omitempty"`
	// Buddy auto, in place of To, chooses one live member of another region.
	Buddy string `yaml:"buddy,omitempty"`
	// Match are series selectors; none copies all series.
	Match []string `yaml:"match,omitempty"`
	// Keep is for how long the receiver keeps samples; 0 takes its own retention.
	Keep model.Duration `yaml:"keep,omitempty"`
	// History is how far back a new copy begins; 0 means Keep, but 2h at most.
	History model.Duration `yaml:"history,omitempty"`
	// Delay is how long samples are gathered before they are sent; 0 means 15s.
	Delay model.Duration `yaml:"delay,omitempty"`
	// Budget bounds what travels, to all receivers together.
	Budget Budget `yaml:"budget,omitempty"`
}

// Budget bounds a stream's bytes; 0 is no bound.
type Budget struct {
	PerSecond flow.Bytes `yaml:"per_second,omitempty"`
	PerDay    flow.Bytes `yaml:"per_day,omitempty"`
}

// Receive bounds copies of other islands' series.
type Receive struct {
	// Copies is how many streams may be kept here; 0 refuses all.
	Copies int `yaml:"copies"`
	// Series bounds the live series of one copy.
	Series int `yaml:"series"`
	// Size bounds each copy on disk; 0 is no bound.
	Size flow.Bytes `yaml:"size"`
}

// BuddyAuto chooses the receiver by rendezvous.
const BuddyAuto = "auto"

// Values where a stream says nothing, and bounds.
const (
	defaultDelay   = 15 * time.Second
	defaultHistory = 2 * time.Hour
	mostStreams    = 32
	mostMatch      = 64
	mostMatchText  = 4096
)

// Default sends nothing and keeps copies of others.
func Default() Config {
	return Config{Receive: Receive{Copies: 64, Series: 1 << 20}}
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,30}[A-Za-z0-9])?$`)

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if len(c.Streams) > mostStreams {
		errs = append(errs, fmt.Errorf("streams: %d: must be at most %d", len(c.Streams), mostStreams))
	}
	names := map[string]bool{}
	for i, s := range c.Streams {
		for _, err := range s.validate() {
			errs = append(errs, fmt.Errorf("streams[%d].%w", i, err))
		}
		if names[s.Name] {
			errs = append(errs, fmt.Errorf("streams[%d].name: %q is another stream's too: give each its own", i, s.Name))
		}
		names[s.Name] = true
	}
	if c.Receive.Copies < 0 || c.Receive.Copies > 4096 {
		errs = append(errs, fmt.Errorf("receive.copies: %d: must be from 0, which refuses all, to 4096", c.Receive.Copies))
	}
	if c.Receive.Series < 1 || c.Receive.Series > 1<<24 {
		errs = append(errs, fmt.Errorf("receive.series: %d: must be from 1 to %d", c.Receive.Series, 1<<24))
	}
	if c.Receive.Size < 0 {
		errs = append(errs, fmt.Errorf("receive.size: %s must not be negative; 0 sets no bound", c.Receive.Size))
	}
	return errors.Join(errs...)
}

func (s Stream) validate() (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !streamName.MatchString(s.Name) {
		bad("name", "%q: must be 1 to 32 letters, digits, '_' or '-', with a letter or digit at both ends", s.Name)
	}
	switch {
	case s.Buddy != "" && s.Buddy != BuddyAuto:
		bad("buddy", "%q: must be auto, or left out where `to` names the receivers", s.Buddy)
	case s.Buddy == "" && len(s.To) == 0:
		bad("to", "is missing: name members, give selectors such as role=admin, or set buddy: auto")
	case s.Buddy != "" && len(s.To) > 0:
		bad("to", "%v beside buddy: %s: give one of the two", s.To, s.Buddy)
	}
	for _, to := range s.To {
		if _, err := parseReceiver(to); err != nil {
			bad("to", "%v", err)
		}
	}
	if _, err := parseMatch(s.Match); err != nil {
		bad("match", "%v", err)
	}
	if d := time.Duration(s.Keep); d != 0 && (d < 10*time.Minute || d > maxKeep) {
		bad("keep", "%s: must be between 10m and %s, or 0 for the receiver's own retention", s.Keep, model.Duration(maxKeep))
	}
	if s.History < 0 || s.Keep > 0 && s.History > s.Keep {
		bad("history", "%s: must be from 0 to keep (%s)", s.History, s.Keep)
	}
	if d := s.delay(); d < time.Second || d > 15*time.Minute {
		bad("delay", "%s: must be between 1s and 15m", s.Delay)
	}
	if b := s.Budget; b.PerSecond < 0 || b.PerDay < 0 || b.PerSecond > 0 && b.PerSecond < 1<<10 {
		bad("budget", "%s per second, %s per day: must be 0 for no bound, or at least 1KiB per second", b.PerSecond, b.PerDay)
	}
	return errs
}

// maxKeep keeps times in milliseconds far from overflow.
const maxKeep = 20 * 365 * 24 * time.Hour

func (s Stream) delay() time.Duration {
	if s.Delay == 0 {
		return defaultDelay
	}
	return time.Duration(s.Delay)
}

func (s Stream) history() time.Duration {
	switch {
	case s.History > 0:
		return time.Duration(s.History)
	case s.Keep > 0:
		return min(time.Duration(s.Keep), defaultHistory)
	}
	return defaultHistory
}

// same reports whether a running stream can stay as it is.
func (s Stream) same(other Stream) bool {
	return s.Name == other.Name && s.Buddy == other.Buddy && slices.Equal(s.To, other.To) && slices.Equal(s.Match, other.Match) &&
		s.Keep == other.Keep && s.History == other.History && s.Delay == other.Delay && s.Budget == other.Budget
}

// selectors are lists of matchers; a series fits if all of one list do. Nil fits all.
type selectors [][]*labels.Matcher

func (s selectors) fit(ls labels.Labels) bool {
	for _, ms := range s {
		if fits(ms, ls) {
			return true
		}
	}
	return len(s) == 0
}

func fits(ms []*labels.Matcher, ls labels.Labels) bool {
	for _, m := range ms {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// parseMatch reads series selectors, of this island's file or of a peer.
func parseMatch(texts []string) (selectors, error) {
	if len(texts) > mostMatch {
		return nil, fmt.Errorf("%d selectors: at most %d", len(texts), mostMatch)
	}
	var all selectors
	p := parser.NewParser(parser.Options{})
	for _, text := range texts {
		if len(text) > mostMatchText {
			return nil, fmt.Errorf("a selector of %d bytes: at most %d", len(text), mostMatchText)
		}
		ms, err := p.ParseMetricSelector(text)
		if err != nil {
			return nil, fmt.Errorf("%q: must be a series selector such as {job=\"api\"}: %w", text, err)
		}
		all = append(all, ms)
	}
	return all, nil
}

// receiver is who an entry of Stream.To fits: a name, or labels.
type receiver struct {
	name   string
	labels map[string]string // role among them
}

func parseReceiver(text string) (receiver, error) {
	if !strings.Contains(text, "=") {
		if text == "" || strings.ContainsAny(text, " ,") {
			return receiver{}, fmt.Errorf("%q: must be a member's name, or label=value pairs with commas between", text)
		}
		return receiver{name: text}, nil
	}
	r := receiver{labels: map[string]string{}}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || name == "" || value == "" {
			return receiver{}, fmt.Errorf("%q: %q must be label=value, such as role=admin", text, pair)
		}
		r.labels[name] = value
	}
	return r, nil
}

func (r receiver) fits(m Member) bool {
	if r.name != "" {
		return r.name == m.Name
	}
	for name, value := range r.labels {
		if name == "role" && m.Role == value || m.Labels[name] == value {
			continue
		}
		return false
	}
	return true
}
