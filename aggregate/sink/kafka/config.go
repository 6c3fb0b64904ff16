package kafka

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	commonconfig "github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue"
)

// The values of Config.Format.
const (
	// JSON makes a record of each sample: {"labels":{…},"timestamp":ms,"value":1.5};
	// the value is a string where it is NaN, +Inf or -Inf. A native histogram has
	// "histogram" instead: {"count":…,"sum":…,"buckets":[[rule,"lower","upper",count],…]},
	// as in answers of the Prometheus API.
	JSON = "json"
	// RemoteWrite makes a record of up to SamplesPerRecord samples of one key: a
	// remote write 1.0 WriteRequest, compressed with snappy.
	RemoteWrite = "remote_write"
)

// Config is one Kafka sink.
type Config struct {
	// Name tells it from others in metrics and names its queue; by default it is
	// made from brokers and topic.
	Name string `yaml:"name,omitempty"`
	// Brokers are the host:port pairs to begin with.
	Brokers []string `yaml:"brokers"`
	Topic   string   `yaml:"topic"`
	// Format is json or remote_write; json by default.
	Format string `yaml:"format,omitempty"`
	// KeyLabels make the record's key: their values, joined by ";". Without any,
	// records have no key and spread over the partitions.
	KeyLabels []string `yaml:"key_labels,omitempty"`
	// SamplesPerRecord bounds a record of the format remote_write; 500 by default.
	SamplesPerRecord int `yaml:"samples_per_record,omitempty"`
	// Acks is all (default), leader or none: who must have a record before it is done.
	Acks string `yaml:"acks,omitempty"`
	// Compression is snappy (default), gzip, lz4, zstd or none.
	Compression string `yaml:"compression,omitempty"`
	// TLS, if set, encrypts.
	TLS *commonconfig.TLSConfig `yaml:"tls_config,omitempty"`
	// SASL, if set, authenticates.
	SASL *SASL `yaml:"sasl,omitempty"`
	// Queue bounds what waits on disk; 1GiB by default.
	Queue flow.Bytes `yaml:"queue,omitempty"`
}

// SASL says as whom to log in.
type SASL struct {
	// Mechanism is plain, scram-sha-256 or scram-sha-512.
	Mechanism    string              `yaml:"mechanism"`
	Username     string              `yaml:"username"`
	Password     commonconfig.Secret `yaml:"password,omitempty"`
	PasswordFile string              `yaml:"password_file,omitempty"`
}

func (s *SASL) password() (string, error) {
	if s.PasswordFile == "" {
		return string(s.Password), nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("sasl.password_file: %w; give a file that can be read", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	set := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	set(&c.Format, JSON)
	set(&c.Acks, "all")
	set(&c.Compression, "snappy")
	if c.SamplesPerRecord == 0 {
		c.SamplesPerRecord = 500
	}
	if c.Queue == 0 {
		c.Queue = queue.DefaultBytes
	}
	return c
}

// Validate returns every mistake at once, joined; it takes what is not set for
// its default.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		bad("brokers: none is given; give at least one as host:port")
	}
	for i, b := range c.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			bad("brokers[%d]: got %q, must be host:port, such as kafka-1:9092", i, b)
		}
	}
	if c.Topic == "" {
		bad("topic: is empty; give the topic to produce to")
	}
	oneOf := func(field, got string, of ...string) {
		if !slices.Contains(of, got) {
			bad("%s: got %q, must be one of %s", field, got, strings.Join(of, ", "))
		}
	}
	oneOf("format", c.Format, JSON, RemoteWrite)
	oneOf("acks", c.Acks, "all", "leader", "none")
	oneOf("compression", c.Compression, "snappy", "gzip", "lz4", "zstd", "none")
	if slices.Contains(c.KeyLabels, "") {
		bad("key_labels: holds an empty name; remove it")
	}
	if c.SamplesPerRecord < 1 || c.SamplesPerRecord > 10_000 {
		bad("samples_per_record: got %d, must be 1 to 10000", c.SamplesPerRecord)
	}
	if c.Queue < queue.LeastBytes {
		bad("queue: got %s, must be at least %s", c.Queue, queue.LeastBytes)
	}
	if s := c.SASL; s != nil {
		oneOf("sasl.mechanism", s.Mechanism, "plain", "scram-sha-256", "scram-sha-512")
		if s.Username == "" {
			bad("sasl.username: is empty; give the user to log in as")
		}
		if (s.Password == "") == (s.PasswordFile == "") {
			bad("sasl: give exactly one of password and password_file")
		}
		if s.Mechanism == "plain" && c.TLS == nil {
			bad("sasl.mechanism: plain sends the password in the clear; add tls_config, or use scram-sha-512")
		}
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			bad("tls_config: %w", err)
		}
	}
	return errors.Join(errs...)
}
