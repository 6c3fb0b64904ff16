package sink

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v2"

	"github.com/atoll-mesh/atoll/aggregate/sink/fleet"
	"github.com/atoll-mesh/atoll/aggregate/sink/kafka"
	"github.com/atoll-mesh/atoll/aggregate/sink/remote"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue"
	"github.com/atoll-mesh/atoll/flow/send/request"
)

// Config lists the sinks.
type Config struct {
	// RemoteWrite are receivers of remote write, of any vendor.
	RemoteWrite []RemoteWrite `yaml:"remote_write,omitempty"`
	// Kafka are topics.
	Kafka []kafka.Config `yaml:"kafka,omitempty"`
}

// RemoteWrite is an entry as in Prometheus' remote_write section, with the queue's
// bound beside it. Native histograms are sent unless it says otherwise, and a
// request holds up to 5000 samples. Of queue_config it heeds max_samples_per_send,
// min_backoff, max_backoff and sample_age_limit; there are no shards.
type RemoteWrite struct {
	// Queue bounds what waits on disk; 1GiB by default.
	Queue flow.Bytes
	promconfig.RemoteWriteConfig
}

// DefaultRemoteWrite returns an entry without a URL.
func DefaultRemoteWrite() RemoteWrite {
	r := RemoteWrite{Queue: queue.DefaultBytes, RemoteWriteConfig: promconfig.DefaultRemoteWriteConfig}
	r.SendNativeHistograms = true
	r.QueueConfig.MaxSamplesPerSend = 5000
	return r
}

// Upstream is Prometheus' entry without its methods, to be decoded inline in one
// with more fields.
type Upstream promconfig.RemoteWriteConfig

type entry struct {
	Queue    flow.Bytes `yaml:"queue,omitempty"`
	Upstream Upstream   `yaml:",inline"`
}

// UnmarshalYAML implements the interface of all versions of the library.
func (r *RemoteWrite) UnmarshalYAML(unmarshal func(any) error) error {
	*r = DefaultRemoteWrite()
	e := entry{Queue: r.Queue, Upstream: Upstream(r.RemoteWriteConfig)}
	if err := unmarshal(&e); err != nil {
		return err
	}
	return r.Take(e.Queue, e.Upstream)
}

// Take sets what was decoded, with upstream's checks: upstream makes them while it
// decodes, so it is handed what is decoded already.
func (r *RemoteWrite) Take(queue flow.Bytes, u Upstream) error {
	r.Queue = queue
	return r.RemoteWriteConfig.UnmarshalYAML(func(into any) error {
		v := reflect.ValueOf(into).Elem()
		v.Set(reflect.ValueOf(u).Convert(v.Type()))
		return nil
	})
}

// MarshalYAML writes what UnmarshalYAML reads.
func (r RemoteWrite) MarshalYAML() (any, error) {
	return entry{Queue: r.Queue, Upstream: Upstream(r.RemoteWriteConfig)}, nil
}

// Validate returns every mistake at once, joined.
func (r RemoteWrite) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.URL == nil || r.URL.URL == nil || r.URL.Host == "" {
		bad("url: is missing; give the receiver's write URL, such as http://host:9090/api/v1/write")
	} else if s := r.URL.Scheme; s != "http" && s != "https" {
		bad("url: the scheme is %q, must be http or https", s)
	}
	if r.ConvertNHCBToClassic {
		bad("convert_nhcb_to_classic: true is not supported; send native histograms with protobuf_message: io.prometheus.write.v2.Request")
	}
	if r.Queue < queue.LeastBytes {
		bad("queue: got %s, must be at least %s", r.Queue, queue.LeastBytes)
	}
	if n := r.QueueConfig.MaxSamplesPerSend; n < 1 {
		bad("queue_config.max_samples_per_send: got %d, must be at least 1", n)
	}
	if r.QueueConfig.MinBackoff <= 0 || r.QueueConfig.MaxBackoff < r.QueueConfig.MinBackoff {
		bad("queue_config: got min_backoff %s and max_backoff %s; the first must be more than 0s and not above the second", r.QueueConfig.MinBackoff, r.QueueConfig.MaxBackoff)
	}
	return errors.Join(errs...)
}

// Validate returns every mistake at once, joined.
func (c Config) Validate() error {
	var errs []error
	seen := map[string]string{}
	check := func(at string, err error, key string) {
		for _, line := range strings.Split(errText(err), "\n") {
			if line != "" {
				errs = append(errs, fmt.Errorf("%s.%s", at, line))
			}
		}
		if err != nil {
			return
		}
		if other, twice := seen[key]; twice {
			errs = append(errs, fmt.Errorf("%s: is the same receiver as %s; remove one, or give them different names", at, other))
		}
		seen[key] = at
	}
	for i, r := range c.RemoteWrite {
		err := r.Validate()
		key := ""
		if err == nil {
			key = remoteKey(r)
		}
		check(fmt.Sprintf("remote_write[%d]", i), err, key)
	}
	for i, k := range c.Kafka {
		check(fmt.Sprintf("kafka[%d]", i), k.Validate(), kafkaKey(k))
	}
	return errors.Join(errs...)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// remoteKey names the queue: what makes the receiver that receiver. A name tells
// entries to one URL apart.
func remoteKey(r RemoteWrite) string {
	return "remote-" + request.Digest(request.Identity(&r.RemoteWriteConfig)+"\n"+r.Name)
}

func kafkaKey(k kafka.Config) string {
	if k.Name != "" {
		return "kafka-" + request.Digest("name\n"+k.Name)
	}
	return "kafka-" + request.Digest(strings.Join(k.Brokers, ",")+"\n"+k.Topic)
}

func (c Config) specs() ([]fleet.Spec, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var out []fleet.Spec
	names := map[string]bool{}
	add := func(s fleet.Spec) {
		if names[s.Name] {
			s.Name += "-" + s.Key[len(s.Key)-6:]
		}
		names[s.Name] = true
		out = append(out, s)
	}
	for _, r := range c.RemoteWrite {
		s, err := r.Spec(remoteKey(r), nil)
		if err != nil {
			return nil, err
		}
		add(s)
	}
	for _, k := range c.Kafka {
		s, err := kafkaSpec(k.WithDefaults())
		if err != nil {
			return nil, err
		}
		add(s)
	}
	return out, nil
}

// Spec describes a receiver with a queue of that key; gate may be nil.
func (r RemoteWrite) Spec(key string, gate remote.Gate) (fleet.Spec, error) {
	text, err := yaml.Marshal(r)
	if err != nil {
		return fleet.Spec{}, fmt.Errorf("hash a receiver's configuration: %w", err)
	}
	s := fleet.Spec{
		Key: key, Name: r.Name, Bytes: r.Queue,
		Hash: request.Digest(fmt.Sprintf("%s\n%s\n%q", text, r.URL, secretsOf(&r))),
	}
	if s.Name == "" {
		s.Name = r.URL.Host
	}
	name := s.Name
	s.Build = func(log *slog.Logger) (fleet.Sender, error) {
		return remote.New(remote.Options{Name: name, Config: &r.RemoteWriteConfig, Gate: gate, Logger: log})
	}
	return s, nil
}

func kafkaSpec(k kafka.Config) (fleet.Spec, error) {
	text, err := yaml.Marshal(k)
	if err != nil {
		return fleet.Spec{}, fmt.Errorf("hash a sink's configuration: %w", err)
	}
	secret := ""
	if k.SASL != nil {
		secret = string(k.SASL.Password)
	}
	s := fleet.Spec{Key: kafkaKey(k), Name: k.Name, Bytes: k.Queue, Hash: request.Digest(string(text) + secret)}
	if s.Name == "" {
		s.Name = "kafka/" + k.Topic
	}
	s.Build = func(log *slog.Logger) (fleet.Sender, error) {
		return kafka.New(kafka.Options{Config: k, Logger: log})
	}
	return s, nil
}

// secretsOf are those that YAML hides.
func secretsOf(r *RemoteWrite) []string {
	var out []string
	h := r.HTTPClientConfig
	if h.BasicAuth != nil {
		out = append(out, string(h.BasicAuth.Password))
	}
	if h.Authorization != nil {
		out = append(out, string(h.Authorization.Credentials))
	}
	if h.OAuth2 != nil {
		out = append(out, string(h.OAuth2.ClientSecret))
	}
	if r.SigV4Config != nil {
		out = append(out, string(r.SigV4Config.SecretKey))
	}
	return append(out, string(h.BearerToken), string(h.TLSConfig.Key))
}
