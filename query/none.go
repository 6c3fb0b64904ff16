package query

import (
	"fmt"
	"net/url"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
)

// none is an island without targets, rules or alertmanagers.
type none struct{}

func (none) TargetsActive() map[string][]*scrape.Target  { return nil }
func (none) TargetsDropped() map[string][]*scrape.Target { return nil }
func (none) TargetsDroppedCounts() map[string]int        { return nil }
func (none) ScrapePools() []string                       { return []string{} }
func (none) RuleGroups() []*rules.Group                  { return nil }
func (none) AlertingRules() []*rules.AlertingRule        { return nil }
func (none) Alertmanagers() []*url.URL                   { return nil }
func (none) DroppedAlertmanagers() []*url.URL            { return nil }

func (none) ScrapePoolConfig(pool string) (*promconfig.ScrapeConfig, error) {
	return nil, fmt.Errorf("unknown scrape pool %q", pool)
}
