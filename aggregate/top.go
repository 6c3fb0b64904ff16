package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// TopPath is where an island answers AskTop.
const TopPath = "/api/atoll/v1/top/series"

// answerMost bounds the answer of an island: 1000 entries of each kind are far less.
const answerMost = 64 << 20

// Tops are what the rules weigh, the heaviest first.
type Tops struct {
	Rules  []RuleTop  `json:"rules"`
	Groups []GroupTop `json:"groups"`
	Labels []LabelTop `json:"labels"`
}

// RuleTop is what one rule takes. Overflow is the number of series that found its
// groups full.
type RuleTop struct {
	Rule     string `json:"rule"`
	Series   int    `json:"series"`
	Groups   int    `json:"groups"`
	Overflow uint64 `json:"overflow"`
}

// GroupTop is the number of series that fold into one group.
type GroupTop struct {
	Rule   string        `json:"rule"`
	Group  labels.Labels `json:"group"`
	Series int           `json:"series"`
}

// LabelTop is the number of groups, and of series in them, that have a value of a label.
type LabelTop struct {
	Rule   string `json:"rule"`
	Label  string `json:"label"`
	Value  string `json:"value"`
	Series int    `json:"series"`
	Groups int    `json:"groups"`
}

// Top lists the n heaviest of each kind.
func (a *Aggregator) Top(n int) Tops {
	t := Tops{Rules: []RuleTop{}, Groups: []GroupTop{}, Labels: []LabelTop{}}
	for _, e := range a.engine.Top(n) {
		switch e.Kind {
		case "rule":
			t.Rules = append(t.Rules, RuleTop{e.Rule, e.Series, e.Groups, e.Overflow})
		case "group":
			t.Groups = append(t.Groups, GroupTop{e.Rule, e.Group, e.Series})
		default:
			t.Labels = append(t.Labels, LabelTop{e.Rule, e.Label, e.Value, e.Series, e.Groups})
		}
	}
	return t
}

// AskTop asks the island at a URL.
func AskTop(ctx context.Context, client *http.Client, url string, n int) (t Tops, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s?limit=%d", strings.TrimSuffix(url, "/"), TopPath, n), nil)
	if err != nil {
		return t, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status says enough
		return t, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(said)))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerMost)).Decode(&t); err != nil {
		return t, fmt.Errorf("read the answer: %w", err)
	}
	return t, nil
}
