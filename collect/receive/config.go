package receive

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Config says what is received and how much of it at once.
type Config struct {
	RemoteWrite RemoteWriteConfig `yaml:"remote_write"`
	OTLP        OTLPConfig        `yaml:"otlp"`
}

// RemoteWriteConfig bounds remote write 1.0 and 2.0.
type RemoteWriteConfig struct {
	// Enabled serves the endpoint; otherwise it answers 404.
	Enabled bool `yaml:"enabled"`
	Limits  `yaml:",inline"`
	// MaxSeries is the most series (TimeSeries messages) in one request.
	MaxSeries int `yaml:"max_series"`
	// StoreMetadata hands type, unit and help of 2.0 series to the storage.
	StoreMetadata bool `yaml:"store_metadata"`
	// Cache holds the series that were written lately.
	Cache CacheConfig `yaml:"cache"`
}

// OTLPConfig bounds OTLP/HTTP metrics.
type OTLPConfig struct {
	// Enabled serves the endpoint; otherwise it answers 404.
	Enabled bool `yaml:"enabled"`
	Limits  `yaml:",inline"`
}

// Limits bound one request, and all requests in flight together.
type Limits struct {
	// MaxBodyBytes is the largest body as it arrives, compressed or not.
	MaxBodyBytes flow.Bytes `yaml:"max_body_bytes"`
	// MaxDecodedBytes is the largest body after decompression.
	MaxDecodedBytes flow.Bytes `yaml:"max_decoded_bytes"`
	// MaxInFlightBytes bounds the bodies of all requests in flight together.
	MaxInFlightBytes flow.Bytes `yaml:"max_in_flight_bytes"`
	// MaxInFlight is the most requests served at the same time.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxLabels is the most labels of one series.
	MaxLabels int `yaml:"max_labels"`
	// MaxLabelNameBytes is the longest label name.
	MaxLabelNameBytes flow.Bytes `yaml:"max_label_name_bytes"`
	// MaxLabelValueBytes is the longest label value.
	MaxLabelValueBytes flow.Bytes `yaml:"max_label_value_bytes"`
}

// CacheConfig bounds the series cache of remote write.
type CacheConfig struct {
	// MaxSeries is the most series held; 0 turns the cache off.
	MaxSeries int `yaml:"max_series"`
	// MaxBytes bounds what they take, labels included.
	MaxBytes flow.Bytes `yaml:"max_bytes"`
	// Idle is how long a series is held after it was last written.
	Idle model.Duration `yaml:"idle"`
}

// otlpDecodeLimit is where Prometheus' OTLP decoder cuts a body off (its
// decodeReadLimit), silently if it happens to be at the end of a message.
const otlpDecodeLimit = 32 << 20

// otlpExpansion is what a decoded OTLP body is taken to grow to as structs.
const otlpExpansion = 8

// maxLabelBytes is the longest string that labels.Labels can hold: 24 bits.
const maxLabelBytes = 1<<24 - 1

// Default receives both protocols.
func Default() Config {
	limits := Limits{
		MaxBodyBytes:       32 << 20,
		MaxDecodedBytes:    128 << 20,
		MaxInFlightBytes:   256 << 20,
		MaxInFlight:        64,
		MaxLabels:          128,
		MaxLabelNameBytes:  1 << 10,
		MaxLabelValueBytes: 8 << 10,
	}
	c := Config{
		RemoteWrite: RemoteWriteConfig{
			Enabled:   true,
			Limits:    limits,
			MaxSeries: 100_000,
			Cache: CacheConfig{
				MaxSeries: 1_000_000,
				MaxBytes:  256 << 20,
				Idle:      model.Duration(30 * time.Minute),
			},
		},
		OTLP: OTLPConfig{Enabled: true, Limits: limits},
	}
	c.OTLP.MaxDecodedBytes = otlpDecodeLimit
	c.OTLP.MaxInFlightBytes = otlpExpansion*otlpDecodeLimit + c.OTLP.MaxBodyBytes
	return c
}

// Validate lists every field that cannot hold, joined.
func (c Config) Validate() error {
	rw, o := c.RemoteWrite, c.OTLP
	errs := append(rw.check("remote_write", 1), o.check("otlp", otlpExpansion)...)
	if rw.MaxSeries < 1 {
		errs = append(errs, fmt.Errorf("remote_write.max_series: got %d, must be at least 1", rw.MaxSeries))
	}
	if rw.Cache.MaxSeries < 0 {
		errs = append(errs, fmt.Errorf("remote_write.cache.max_series: got %d, must not be negative; 0 turns the cache off", rw.Cache.MaxSeries))
	}
	if rw.Cache.MaxSeries > 0 && rw.Cache.MaxBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("remote_write.cache.max_bytes: got %s, must be at least 1MiB; set cache.max_series to 0 to turn the cache off", rw.Cache.MaxBytes))
	}
	if rw.Cache.MaxSeries > 0 && time.Duration(rw.Cache.Idle) < time.Minute {
		errs = append(errs, fmt.Errorf("remote_write.cache.idle: got %s, must be at least 1m", rw.Cache.Idle))
	}
	if o.MaxDecodedBytes > otlpDecodeLimit {
		errs = append(errs, fmt.Errorf("otlp.max_decoded_bytes: got %s, must be at most %s, where the decoder cuts a body off; let the sender use smaller batches", o.MaxDecodedBytes, flow.Bytes(otlpDecodeLimit)))
	}
	return errors.Join(errs...)
}

func (l Limits) check(section string, expansion flow.Bytes) (errs []error) {
	bad := func(field string, got any, rule string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: got %v, must be %s", section, field, got, fmt.Sprintf(rule, args...)))
	}
	if l.MaxBodyBytes < 1 {
		bad("max_body_bytes", l.MaxBodyBytes, "at least 1B")
	}
	if l.MaxDecodedBytes < 1 || l.MaxDecodedBytes > 1<<30 {
		bad("max_decoded_bytes", l.MaxDecodedBytes, "from 1B to 1GiB")
	}
	if need := l.MaxBodyBytes + expansion*l.MaxDecodedBytes; l.MaxInFlightBytes < need {
		bad("max_in_flight_bytes", l.MaxInFlightBytes, "at least %s, so that one largest request fits (max_body_bytes + %d × max_decoded_bytes)", need, expansion)
	}
	if l.MaxInFlight < 1 {
		bad("max_in_flight", l.MaxInFlight, "at least 1")
	}
	if l.MaxLabels < 1 {
		bad("max_labels", l.MaxLabels, "at least 1")
	}
	if l.MaxLabelNameBytes < 1 || l.MaxLabelNameBytes > maxLabelBytes {
		bad("max_label_name_bytes", l.MaxLabelNameBytes, "from 1B to %d", maxLabelBytes)
	}
	if l.MaxLabelValueBytes < 1 || l.MaxLabelValueBytes > maxLabelBytes {
		bad("max_label_value_bytes", l.MaxLabelValueBytes, "from 1B to %d", maxLabelBytes)
	}
	return errs
}
