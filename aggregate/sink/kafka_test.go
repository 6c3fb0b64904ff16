package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/util/compression"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/atoll-mesh/atoll/aggregate/sink/kafka"
	"github.com/atoll-mesh/atoll/aggregate/sink/remotetest"
)

// point is a sample as it came back from a topic.
type point struct {
	T int64
	V string
}

func number(v float64) string { return fmt.Sprint(v) }

func points(samples ...[]Sample) map[string][]point {
	out := map[string][]point{}
	for _, all := range samples {
		for _, s := range all {
			v := number(s.V)
			if s.H != nil {
				v = "h" + number(s.H.Count)
			}
			out[s.Labels.String()] = append(out[s.Labels.String()], point{s.T, v})
		}
	}
	return out
}

func size(all map[string][]point) (n int) {
	for _, p := range all {
		n += len(p)
	}
	return n
}

func parseJSON(t testing.TB, value []byte, into map[string][]point) {
	t.Helper()
	var r struct {
		Labels    map[string]string
		Timestamp int64
		Value     any
		Histogram *struct{ Count float64 }
	}
	if err := json.Unmarshal(value, &r); err != nil {
		t.Fatalf("record %q: %v", value, err)
	}
	p := point{T: r.Timestamp}
	switch v := r.Value.(type) {
	case nil:
		p.V = "h" + number(r.Histogram.Count)
	case float64:
		p.V = number(v)
	case string: // only what JSON has no number for
		if v != "NaN" && v != "+Inf" && v != "-Inf" {
			t.Errorf("value %q", v)
		}
		p.V = v
	}
	k := labels.FromMap(r.Labels).String()
	into[k] = append(into[k], p)
}

func parseRemoteWrite(t testing.TB, value []byte, into map[string][]point) {
	t.Helper()
	raw, err := compression.Decode(compression.Snappy, value, compression.NewSyncDecodeBuffer())
	if err != nil {
		t.Fatal(err)
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	b := labels.NewScratchBuilder(8)
	for _, ts := range req.Timeseries {
		k := ts.ToLabels(&b, nil).String()
		for _, s := range ts.Samples {
			into[k] = append(into[k], point{s.Timestamp, number(s.Value)})
		}
		for _, h := range ts.Histograms {
			into[k] = append(into[k], point{h.Timestamp, "h" + number(h.ToFloatHistogram().Count)})
		}
	}
}

// consume reads a topic until it has n samples.
func consume(t testing.TB, brokers []string, topic string, n int, parse func(testing.TB, []byte, map[string][]point)) (map[string][]point, []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	out := map[string][]point{}
	var records []*kgo.Record
	for size(out) < n {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d samples came out of the topic", size(out), n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			parse(t, r.Value, out)
			records = append(records, r)
		})
	}
	return out, records
}

func cluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(4, "samples")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func parserOf(format string) func(testing.TB, []byte, map[string][]point) {
	if format == kafka.RemoteWrite {
		return parseRemoteWrite
	}
	return parseJSON
}

func TestKafka(t *testing.T) {
	for _, format := range []string{kafka.JSON, kafka.RemoteWrite} {
		for _, compression := range []string{"snappy", "gzip", "lz4", "zstd", "none"} {
			t.Run(format+" "+compression, func(t *testing.T) {
				c := cluster(t)
				r := start(t, t.TempDir(), Config{Kafka: []kafka.Config{{
					Brokers: c.ListenAddrs(), Topic: "samples", Format: format, Compression: compression, KeyLabels: []string{"__name__", "i"},
				}}})
				var all [][]Sample
				for w := range 3 {
					samples := window(300, begin()+int64(w)*60_000)
					all = append(all, samples)
					if err := r.Write(samples); err != nil {
						t.Fatal(err)
					}
				}
				got, records := consume(t, c.ListenAddrs(), "samples", 900, parserOf(format))
				if d := cmp.Diff(points(all...), got); d != "" {
					t.Errorf("written (-) and consumed (+) differ:\n%s", d[:min(len(d), 2000)])
				}
				if k := string(records[0].Key); !strings.HasPrefix(k, "m:1m_total;") {
					t.Errorf("key %q", k)
				}
				remotetest.Eventually(t, "the counter", func() bool { return r.metric("atoll_sink_samples_total") == 900 })
			})
		}
	}
}

// TestKafkaBrokerRestart: a cluster that goes and comes back on the same ports,
// with what it stored, has every sample once.
func TestKafkaBrokerRestart(t *testing.T) {
	data := t.TempDir()
	boot := func(ports ...int) *kfake.Cluster {
		opts := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(4, "samples"), kfake.DataDir(data)}
		if len(ports) > 0 {
			opts = append(opts, kfake.Ports(ports...))
		}
		c, err := kfake.NewCluster(opts...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := boot()
	addrs := c.ListenAddrs()
	var port int
	if _, err := fmt.Sscanf(addrs[0][strings.LastIndex(addrs[0], ":"):], ":%d", &port); err != nil {
		t.Fatal(err)
	}
	r := start(t, t.TempDir(), Config{Kafka: []kafka.Config{{Brokers: addrs, Topic: "samples", KeyLabels: []string{"i"}}}})
	var all [][]Sample
	write := func() {
		samples := window(200, begin()+int64(len(all))*60_000)
		all = append(all, samples)
		if err := r.Write(samples); err != nil {
			t.Fatal(err)
		}
	}
	write()
	remotetest.Eventually(t, "the first window", func() bool { return r.metric("atoll_sink_samples_total") == 200 })
	c.Close()
	for range 5 {
		write() // does not wait
	}
	remotetest.Eventually(t, "the failure to show", func() bool { return !r.Status()[0].FailingSince.IsZero() })
	c = boot(port)
	t.Cleanup(func() { c.Close() })
	got, _ := consume(t, addrs, "samples", 1200, parseJSON)
	if d := cmp.Diff(points(all...), got); d != "" {
		t.Errorf("written (-) and consumed (+) differ:\n%s", d[:min(len(d), 2000)])
	}
	remotetest.Eventually(t, "the failure to end", func() bool { s := r.Status()[0]; return s.FailingSince.IsZero() && s.Queue.Entries == 0 })
}

func TestKafkaTopicDoesNotExist(t *testing.T) {
	c := cluster(t)
	r := start(t, t.TempDir(), Config{Kafka: []kafka.Config{{Brokers: c.ListenAddrs(), Topic: "missing"}}})
	samples := window(10, begin())
	if err := r.Write(samples); err != nil {
		t.Fatal(err)
	}
	remotetest.Eventually(t, "the warning", func() bool {
		w := r.list.Active()
		return len(w) == 1 && w[0].Code == "sink-unreachable" && strings.Contains(w[0].Text, `topic "missing" does not exist`) && strings.Contains(w[0].Text, "create it")
	})
	if err := c.CreateTopic("missing", 1, nil); err != nil {
		t.Fatal(err)
	}
	consume(t, c.ListenAddrs(), "missing", 10, parseJSON)
	remotetest.Eventually(t, "the warning to end", func() bool { return len(r.list.Active()) == 0 })
}

func TestKafkaLogin(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "atoll", "right"))
	conf := func(password string) Config {
		return Config{Kafka: []kafka.Config{{Name: "k", Brokers: c.ListenAddrs(), Topic: "samples", SASL: &kafka.SASL{
			Mechanism: "scram-sha-512", Username: "atoll", Password: commonconfig.Secret(password),
		}}}}
	}
	r := start(t, t.TempDir(), conf("wrong"))
	if err := r.Write(window(10, begin())); err != nil {
		t.Fatal(err)
	}
	remotetest.Eventually(t, "the failure to show", func() bool {
		return strings.Contains(strings.ToUpper(r.Status()[0].LastError), "SASL")
	})
	r.reload(conf("right")) // keeps the queue
	remotetest.Eventually(t, "the samples", func() bool { return r.metric("atoll_sink_samples_total") == 10 })
}

// TestKafkaRefusesARecord: one that is too large is counted, the rest goes on.
func TestKafkaRefusesARecord(t *testing.T) {
	c := cluster(t)
	r := start(t, t.TempDir(), Config{Kafka: []kafka.Config{{Brokers: c.ListenAddrs(), Topic: "samples", Compression: "none"}}})
	huge := Sample{Labels: labels.FromStrings("__name__", "huge", "l", strings.Repeat("x", 3<<20)), T: begin(), V: 1}
	samples := window(10, begin())
	if err := r.Write(append([]Sample{huge}, samples...)); err != nil {
		t.Fatal(err)
	}
	got, _ := consume(t, c.ListenAddrs(), "samples", 10, parseJSON)
	if d := cmp.Diff(points(samples), got); d != "" {
		t.Error(d)
	}
	remotetest.Eventually(t, "the refusal to be counted", func() bool { return r.metric("atoll_sink_dropped_samples_total", "rejected") == 1 })
}
