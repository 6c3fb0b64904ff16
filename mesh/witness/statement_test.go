package witness

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/trust"
)

func sample() Statement {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return Statement{
		Kind: KindLost, Target: testKey(1), Name: "oslo", Region: "eu", By: testKey(2),
		Since: at.Add(-30 * time.Second), At: at,
		Votes: []Vote{
			{Key: testKey(2), Name: "lima", Region: "us", Error: "dial: no answer", Heard: at.Add(-time.Minute), At: at},
			{Key: testKey(3), Name: "perth", Region: "ap", Alone: true, At: at},
		},
	}
}

// TestStatementText holds the document's text, which other versions read.
func TestStatementText(t *testing.T) {
	got, err := EncodeStatement(sample())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/statement.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	back, err := DecodeStatement(got)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), back); d != "" {
		t.Errorf("read back: -want +got:\n%s", d)
	}
}

func TestStatementRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Statement)
		want   string
	}{
		"kind":               {func(s *Statement) { s.Kind = "dead" }, "kind"},
		"no target":          {func(s *Statement) { s.Target = trust.Key{} }, "target"},
		"no writer":          {func(s *Statement) { s.By = trust.Key{} }, "by"},
		"lost by itself":     {func(s *Statement) { s.By = s.Target }, "by"},
		"cut off by another": {func(s *Statement) { s.Kind = KindCutOff }, "by"},
		"too many votes":     {func(s *Statement) { s.Votes = make([]Vote, maxVotes+1) }, "votes"},
		"a vote of nobody":   {func(s *Statement) { s.Votes[0].Key = trust.Key{} }, "votes"},
		"a long error":       {func(s *Statement) { s.Votes[0].Error = strings.Repeat("x", maxWords+1) }, "votes"},
		"a long name":        {func(s *Statement) { s.Name = strings.Repeat("x", maxName+1) }, "name"},
	} {
		s := sample()
		tc.change(&s)
		if _, err := EncodeStatement(s); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error about %s", name, err, tc.want)
		}
	}
	for _, text := range []string{"", "kind: lost", "a: b", "[]", strings.Repeat(" ", maxStatement+1)} {
		if _, err := DecodeStatement([]byte(text)); err == nil {
			t.Errorf("%.20q is read, want an error", text)
		}
	}
}

func TestBrief(t *testing.T) {
	long := strings.Repeat("ä", maxWords)
	if got := brief(long); len(got) > maxWords || !strings.HasSuffix(got, "ä…") {
		t.Errorf("got %d bytes ending %q", len(got), got[len(got)-6:])
	}
}

func FuzzDecodeStatement(f *testing.F) {
	text, err := os.ReadFile("testdata/statement.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := DecodeStatement(text)
		if err != nil {
			return
		}
		if err := s.check(); err != nil {
			t.Errorf("read, and yet: %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	err := Config{Regions: 5, Witnesses: 3}.Validate()
	for _, field := range []string{"period", "wide_period", "fresh", "look_timeout", "failures", "silence", "grace", "recovery", "recheck", "looks_per_second", "asks_per_second", "caller_per_second", "regions"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("no fault found with %s in %v", field, err)
		}
	}
}
