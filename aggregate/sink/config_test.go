package sink

import (
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/sink/kafka"
)

func TestConfigFromYAML(t *testing.T) {
	var c Config
	text := `
remote_write:
- url: http://vm:8428/api/v1/write
- url: https://mimir/api/v1/push
  name: mimir
  queue: 10GiB
  protobuf_message: io.prometheus.write.v2.Request
  headers: {X-Scope-OrgID: a}
  basic_auth: {username: u, password: secret}
  send_native_histograms: false
  queue_config: {max_samples_per_send: 1000, sample_age_limit: 2h}
  write_relabel_configs: [{regex: pod, action: labeldrop}]
kafka:
- brokers: [k1:9092, k2:9092]
  topic: samples
  format: remote_write
  key_labels: [job]
  acks: leader
  compression: zstd
  tls_config: {insecure_skip_verify: true}
  sasl: {mechanism: plain, username: u, password: secret}
  queue: 1GiB
`
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	a, b, k := c.RemoteWrite[0], c.RemoteWrite[1], c.Kafka[0]
	if a.Queue != 1<<30 || !a.SendNativeHistograms || a.QueueConfig.MaxSamplesPerSend != 5000 || a.ProtobufMessage != remoteapi.WriteV1MessageType {
		t.Errorf("defaults: %+v", a)
	}
	if b.Queue != 10<<30 || b.SendNativeHistograms || b.QueueConfig.MaxSamplesPerSend != 1000 || b.QueueConfig.SampleAgeLimit != model.Duration(2*time.Hour) ||
		b.HTTPClientConfig.BasicAuth.Password != "secret" || len(b.WriteRelabelConfigs) != 1 || b.ProtobufMessage != remoteapi.WriteV2MessageType {
		t.Errorf("%+v", b)
	}
	if k.SASL.Password != "secret" || k.TLS == nil || k.Acks != "leader" {
		t.Errorf("%+v", k)
	}
	for text, want := range map[string]string{
		"remote_write: [{queue: 1MB}]": "url for remote_write is empty",
		"remote_write: [{url: http://x/, basic_auth: {username: u}, authorization: {credentials: c}}]": "at most one of",
		"remote_write: [{url: http://x/, protobuf_message: nonsense}]":                                 "protobuf_message",
		"remote_write: [{url: http://x/, headers: {Authorization: x}}]":                                "uthorization",
	} {
		if err := yaml.Unmarshal([]byte(text), &Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	c := Config{
		RemoteWrite: []RemoteWrite{{}, to(t, "http://x/", remoteapi.WriteV1MessageType), to(t, "http://x/", remoteapi.WriteV2MessageType), to(t, "htp://x/", remoteapi.WriteV1MessageType)},
		Kafka: []kafka.Config{
			{Brokers: []string{"k"}, Format: "xml", Acks: "some", Compression: "zip", KeyLabels: []string{""}, SamplesPerRecord: -1, Queue: 5,
				SASL: &kafka.SASL{Mechanism: "plain"}},
			{},
		},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("all of it is valid")
	}
	for _, want := range []string{
		"remote_write[0].url: is missing", "remote_write[0].queue: got 0B, must be at least 64KiB", "remote_write[2]: is the same receiver as remote_write[1]",
		`remote_write[3].url: the scheme is "htp", must be http or https`,
		`kafka[0].brokers[0]: got "k"`, "kafka[0].topic", `kafka[0].format: got "xml", must be one of json, remote_write`, "kafka[0].acks", "kafka[0].compression",
		"kafka[0].key_labels", "kafka[0].samples_per_record", "kafka[0].queue", "kafka[0].sasl.username", "kafka[0].sasl: give exactly one", "sends the password in the clear",
		"kafka[1].brokers: none is given",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}
