package receive

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesEveryField(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"remote_write.max_body_bytes: got 0B":                                    func(c *Config) { c.RemoteWrite.MaxBodyBytes = 0 },
		"remote_write.max_decoded_bytes: got 2GiB":                               func(c *Config) { c.RemoteWrite.MaxDecodedBytes = 2 << 30 },
		"remote_write.max_in_flight_bytes: got 1MiB, must be at least 160MiB":    func(c *Config) { c.RemoteWrite.MaxInFlightBytes = 1 << 20 },
		"remote_write.max_in_flight: got 0":                                      func(c *Config) { c.RemoteWrite.MaxInFlight = 0 },
		"remote_write.max_series: got 0":                                         func(c *Config) { c.RemoteWrite.MaxSeries = 0 },
		"remote_write.max_labels: got -1":                                        func(c *Config) { c.RemoteWrite.MaxLabels = -1 },
		"remote_write.max_label_name_bytes: got 16MiB":                           func(c *Config) { c.RemoteWrite.MaxLabelNameBytes = 16 << 20 },
		"remote_write.max_label_value_bytes: got 0B":                             func(c *Config) { c.RemoteWrite.MaxLabelValueBytes = 0 },
		"remote_write.cache.max_series: got -1":                                  func(c *Config) { c.RemoteWrite.Cache.MaxSeries = -1 },
		"remote_write.cache.max_bytes: got 1KiB":                                 func(c *Config) { c.RemoteWrite.Cache.MaxBytes = 1 << 10 },
		"remote_write.cache.idle: got 1s":                                        func(c *Config) { c.RemoteWrite.Cache.Idle = model.Duration(time.Second) },
		"otlp.max_decoded_bytes: got 33MiB, must be at most 32MiB":               func(c *Config) { c.OTLP.MaxDecodedBytes = 33 << 20 },
		"otlp.max_in_flight_bytes: got 255MiB, must be at least 288MiB, so that": func(c *Config) { c.OTLP.MaxInFlightBytes = 255 << 20 },
		"otlp.max_in_flight: got 0":                                              func(c *Config) { c.OTLP.MaxInFlight = 0 },
	} {
		c := Default()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestConfigInYAML(t *testing.T) {
	const doc = `
remote_write:
  enabled: false
  max_body_bytes: 1MiB
  max_labels: 7
  cache: {max_series: 9}
otlp: {enabled: false}
`
	want := Default()
	want.RemoteWrite.Enabled, want.OTLP.Enabled = false, false
	want.RemoteWrite.MaxBodyBytes, want.RemoteWrite.MaxLabels, want.RemoteWrite.Cache.MaxSeries = 1<<20, 7, 9
	got := Default()
	if err := yaml.Unmarshal([]byte(doc), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
