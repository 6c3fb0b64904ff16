package replicate

import (
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/prometheus/prometheus/model/labels"
)

// Fact is what all islands are told of a copy, so that they can ask for it.
type Fact struct {
	// Origin is the ID of the island that the copy is of, Name what it goes by.
	Origin   string            `yaml:"origin"`
	Name     string            `yaml:"name"`
	Stream   string            `yaml:"stream"`
	External map[string]string `yaml:"external,omitempty"`
	Match    []string          `yaml:"match,omitempty"`
	// Opened is when the stream last began anew, to the hour or so.
	Opened time.Time `yaml:"opened"`
}

// Selectors are the series that the copy has; nil for all.
func (f Fact) Selectors() [][]*labels.Matcher {
	all, err := parseMatch(f.Match)
	if err != nil {
		return [][]*labels.Matcher{} // DecodeFacts lets none through
	}
	return all
}

// Facts are those of the copies kept here.
func (r *Replicator) Facts() []Fact {
	var out []Fact
	for _, c := range r.Copies() {
		out = append(out, Fact{
			Origin: c.Origin.ID, Name: c.Origin.Name, Stream: c.Stream, External: c.External, Match: c.Match,
			Opened: time.UnixMilli(c.Opened).UTC().Truncate(time.Second),
		})
	}
	return out
}

// mostFacts bounds the copies of one island.
const mostFacts = 4096

// EncodeFacts writes a document.
func EncodeFacts(facts []Fact) ([]byte, error) { return yaml.Marshal(facts) }

// DecodeFacts reads a document, which another island may have written.
func DecodeFacts(text []byte) ([]Fact, error) {
	if len(text) > 1<<20 {
		return nil, fmt.Errorf("facts about copies: %d bytes: at most %d", len(text), 1<<20)
	}
	var facts []Fact
	if err := yaml.Unmarshal(text, &facts); err != nil {
		return nil, fmt.Errorf("facts about copies: %w", err)
	}
	if len(facts) > mostFacts {
		return nil, fmt.Errorf("facts about copies: %d: at most %d", len(facts), mostFacts)
	}
	for _, f := range facts {
		if f.Origin == "" || f.Name == "" || !streamName.MatchString(f.Stream) || len(f.External) > mostExternal {
			return nil, errors.New("facts about copies: one names no island or stream, or has too many labels")
		}
		if _, err := parseMatch(f.Match); err != nil {
			return nil, fmt.Errorf("facts about copies: match: %w", err)
		}
	}
	return facts, nil
}
