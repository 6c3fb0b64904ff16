package collect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/health"
)

// warnings are what can be wrong with collecting.
type warnings struct {
	sampleLimit, faulty, incomplete, shadowed, builtins, cgroupLimit *health.Handle
}

func declare(l *health.List) warnings {
	return warnings{
		sampleLimit: l.Declare(health.Warning{
			Code: "collect-sample-limit", Severity: health.SeverityWarning,
			Title:  "Targets return more samples than allowed; their scrapes are dropped",
			Remedy: "Drop samples at the target, or give its job a sample_limit of its own, or raise budget.samples_per_target.",
		}),
		faulty: l.Declare(health.Warning{
			Code: "collect-job-faulty", Severity: health.SeverityWarning,
			Title:  "Scrape jobs cannot work as configured",
			Remedy: "Mend the files or the configuration named, then reload.",
		}),
		incomplete: l.Declare(health.Warning{
			Code: "collect-reload-incomplete", Severity: health.SeverityCritical,
			Title:  "A new scrape configuration was applied in part",
			Remedy: "See the log, then reload or restart.",
		}),
		shadowed: l.Declare(health.Warning{
			Code: "collect-builtin-replaced", Severity: health.SeverityInfo,
			Title:  "Built-in jobs are replaced by configured jobs of the same name",
			Remedy: "Rename the configured jobs to have both, or disable the built-in ones.",
		}),
		builtins: l.Declare(health.Warning{
			Code: "collect-builtin-unreachable", Severity: health.SeverityWarning,
			Title:  "The built-in jobs cannot be scraped",
			Remedy: "Allow unix sockets to the process (systemd: RestrictAddressFamilies=AF_UNIX), then restart.",
		}),
		cgroupLimit: l.Declare(health.Warning{
			Code: "collect-cgroup-limit", Severity: health.SeverityInfo,
			Title:  "Not all control groups are reported",
			Remedy: "Raise collect.cgroup.max_groups or max_depth, or exclude groups that matter less.",
		}),
	}
}

// errSampleLimit is the text of upstream's error, which is not exported.
const errSampleLimit = "sample limit exceeded"

// watch keeps the warnings about scrapes up to date.
func (c *Collector) watch(ctx context.Context) {
	tick := time.NewTicker(c.pace.watch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look()
		}
	}
}

func (c *Collector) look() {
	over := c.overSampleLimit()
	c.metrics.overSampleLimit.Set(float64(len(over)))
	if len(over) > 0 {
		c.warnings.sampleLimit.Set("%s", strings.Join(firstFew(over), "; "))
	} else {
		c.warnings.sampleLimit.Clear()
	}
	if n := c.builtins.cgroup.Skipped(); n > 0 {
		c.warnings.cgroupLimit.Set("%d control groups left out", n)
	} else {
		c.warnings.cgroupLimit.Clear()
	}
}

// overSampleLimit names the targets whose last scrape was dropped.
func (c *Collector) overSampleLimit() []string {
	var over []string
	for pool, targets := range c.scrape.TargetsActive() {
		for _, t := range targets {
			if err := t.LastError(); err == nil || err.Error() != errSampleLimit {
				continue
			}
			limit := uint(0)
			if sc, err := c.scrape.ScrapePoolConfig(pool); err == nil {
				limit = sc.SampleLimit
			}
			over = append(over, fmt.Sprintf("job %q target %s: over %d samples", pool, t.URL(), limit))
		}
	}
	slices.SortFunc(over, cmp.Compare)
	return over
}

// firstFew keeps a text readable when everything is wrong at once.
func firstFew(texts []string) []string {
	const few = 5
	if len(texts) <= few {
		return texts
	}
	return append(slices.Clone(texts[:few]), fmt.Sprintf("and %d more", len(texts)-few))
}
