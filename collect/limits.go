package collect

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/atoll-mesh/atoll/flow"
)

// ScrapeLimits bound what one answer of a target may hold. Prometheus' own
// settings (body_size_limit, label_limit, label_name_length_limit,
// label_value_length_limit), per job or global, go before them. An answer over a
// limit is refused as a whole and the target is down, as upstream does; 0 sets
// no limit.
type ScrapeLimits struct {
	// MaxBodyBytes is the largest answer, decompressed.
	MaxBodyBytes flow.Bytes `yaml:"max_body_bytes"`
	// MaxLabels is the most labels of one series.
	MaxLabels int `yaml:"max_labels"`
	// MaxLabelNameBytes is the longest label name.
	MaxLabelNameBytes flow.Bytes `yaml:"max_label_name_bytes"`
	// MaxLabelValueBytes is the longest label value.
	MaxLabelValueBytes flow.Bytes `yaml:"max_label_value_bytes"`
}

// defaultScrapeLimits are far above what exporters send, and keep a broken or
// hostile one from filling the memory of a small island.
func defaultScrapeLimits() ScrapeLimits {
	return ScrapeLimits{
		MaxBodyBytes:       256 << 20,
		MaxLabels:          256,
		MaxLabelNameBytes:  4 << 10,
		MaxLabelValueBytes: 64 << 10,
	}
}

func (l ScrapeLimits) validate() error {
	var errs []error
	for field, n := range map[string]int64{
		"max_body_bytes": int64(l.MaxBodyBytes), "max_labels": int64(l.MaxLabels),
		"max_label_name_bytes": int64(l.MaxLabelNameBytes), "max_label_value_bytes": int64(l.MaxLabelValueBytes),
	} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("scrape.%s: got %d, must not be negative; 0 sets no limit", field, n))
		}
	}
	return errors.Join(errs...)
}

// limited returns a copy with the island's limits where the user set none.
func (c *Collector) limited(cfg Config, sc *promconfig.ScrapeConfig) *promconfig.ScrapeConfig {
	out := *sc
	l := cfg.Scrape
	out.SampleLimit = cmp.Or(sc.SampleLimit, uint(c.samplesPerTarget))
	out.BodySizeLimit = cmp.Or(sc.BodySizeLimit, units.Base2Bytes(l.MaxBodyBytes))
	out.LabelLimit = cmp.Or(sc.LabelLimit, uint(l.MaxLabels))
	out.LabelNameLengthLimit = cmp.Or(sc.LabelNameLengthLimit, uint(l.MaxLabelNameBytes))
	out.LabelValueLengthLimit = cmp.Or(sc.LabelValueLengthLimit, uint(l.MaxLabelValueBytes))
	return &out
}
