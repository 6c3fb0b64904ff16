package witness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/trust"
)

// Kind is what a statement says of its target.
type Kind string

const (
	// KindLost says that no island that was asked reaches it.
	KindLost Kind = "lost"
	// KindCutOff is said by an island of itself: it reaches hardly anybody.
	KindCutOff Kind = "cut_off"
)

// Statement is what the network says of one island: the value of the document
// statement/<peer id of the target>.
type Statement struct {
	Kind   Kind      `yaml:"kind"`
	Target trust.Key `yaml:"target"`
	Name   string    `yaml:"name"`
	Region string    `yaml:"region"`
	// By is the island that wrote it.
	By trust.Key `yaml:"by"`
	// Since is when looks began to fail, At when it was stated, by the writer's clock.
	Since time.Time `yaml:"since"`
	At    time.Time `yaml:"at"`
	// Votes are of the writer, first, and of those it asked.
	Votes []Vote `yaml:"votes"`
}

// Vote is what one island saw of the target.
type Vote struct {
	Key     trust.Key `yaml:"key"`
	Name    string    `yaml:"name"`
	Region  string    `yaml:"region"`
	Reached bool      `yaml:"reached"`
	// Alone is set where the witness is cut off itself and does not count; Silent
	// where it did not answer.
	Alone  bool `yaml:"alone,omitempty"`
	Silent bool `yaml:"silent,omitempty"`
	// RTT is of a look that succeeded; Error says why it did not.
	RTT   time.Duration `yaml:"rtt,omitempty"`
	Error string        `yaml:"error,omitempty"`
	// Heard is when the witness last heard the target, by the witness's clock; zero if never.
	Heard time.Time `yaml:"heard,omitempty"`
	// At is when the vote came in, by the asker's clock.
	At time.Time `yaml:"at"`
}

// counts reports whether the vote says anything about the target.
func (v Vote) counts() bool { return !v.Alone && !v.Silent }

// What one statement may hold.
const (
	maxStatement = 16 << 10 // bytes
	maxVotes     = 16
	maxWords     = 300 // bytes of an error
	maxName      = 128
)

// EncodeStatement writes the document's value.
func EncodeStatement(s Statement) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("write statement: %w", err)
	}
	out, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write statement: %w", err)
	}
	if len(out) > maxStatement {
		return nil, fmt.Errorf("write statement: %d bytes: at most %d", len(out), maxStatement)
	}
	return out, nil
}

// DecodeStatement reads the document's value. It trusts nothing in it.
func DecodeStatement(text []byte) (Statement, error) {
	var s Statement
	if len(text) > maxStatement {
		return s, fmt.Errorf("read statement: %d bytes: at most %d", len(text), maxStatement)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Statement{}, errors.New("read statement: more than one YAML document")
	}
	if err := s.check(); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	return s, nil
}

func (s Statement) check() error {
	switch {
	case s.Kind != KindLost && s.Kind != KindCutOff:
		return fmt.Errorf("kind: %q must be %s or %s", s.Kind, KindLost, KindCutOff)
	case s.Target.IsZero():
		return errors.New("target: must be a peer ID")
	case s.By.IsZero():
		return errors.New("by: must be a peer ID")
	case s.Kind == KindCutOff && s.By != s.Target:
		return errors.New("by: an island is cut off by its own word only")
	case s.Kind == KindLost && s.By == s.Target:
		return errors.New("by: an island is lost by the word of others only")
	case len(s.Name) > maxName || len(s.Region) > maxName:
		return fmt.Errorf("name, region: at most %d bytes", maxName)
	case len(s.Votes) > maxVotes:
		return fmt.Errorf("votes: %d: at most %d", len(s.Votes), maxVotes)
	}
	for _, v := range s.Votes {
		if v.Key.IsZero() || len(v.Name) > maxName || len(v.Region) > maxName || len(v.Error) > maxWords {
			return fmt.Errorf("votes: each has a peer ID, names of at most %d and an error of at most %d bytes", maxName, maxWords)
		}
	}
	return nil
}

// brief keeps what others say within what a statement holds.
func brief(s string) string {
	if len(s) <= maxWords {
		return s
	}
	cut := maxWords - len("…")
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
