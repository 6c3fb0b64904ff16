package sink

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/atoll-mesh/atoll/aggregate/sink/kafka"
	"github.com/atoll-mesh/atoll/aggregate/sink/remotetest"
)

// brokerEnv names a directory that Kafka is, or shall be, installed in.
const brokerEnv = "ATOLL_TEST_KAFKA"

const kafkaPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>test</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>3.9.1</version></dependency></dependencies></project>`

// realBroker installs Apache Kafka from Maven Central, once, and returns the jars.
func realBroker(t *testing.T) (jars string) {
	t.Helper()
	dir := os.Getenv(brokerEnv)
	if dir == "" {
		t.Skipf("a real broker is not tried: set %s to a directory that Kafka (70 MB) may be installed in", brokerEnv)
	}
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("a real broker cannot be had: %v", err)
		}
	}
	libs := filepath.Join(dir, "libs")
	if have, _ := filepath.Glob(filepath.Join(libs, "kafka_*.jar")); len(have) > 0 {
		return libs
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(kafkaPOM), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory="+libs)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("a real broker cannot be had: %v: %s", err, out)
	}
	return libs
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestRealBroker produces to Apache Kafka, kills it with -9 in the middle, and
// starts it again: each sample is in the topic exactly once.
func TestRealBroker(t *testing.T) {
	jars := realBroker(t)
	dir := t.TempDir()
	port, controller := freePort(t), freePort(t)
	conf := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
log.dirs=%[3]s/logs
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
`, port, controller, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	format := exec.Command("java", "-cp", jars+"/*", "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", conf)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format: %v: %s", err, out)
	}
	boot := func() (kill func()) {
		cmd := exec.Command("java", "-Xmx384m", "-cp", jars+"/*", "kafka.Kafka", conf)
		cmd.Dir = dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	addrs := []string{fmt.Sprintf("127.0.0.1:%d", port)}
	kill := boot()
	t.Cleanup(func() { kill() })
	createTopic(t, addrs)

	r := start(t, t.TempDir(), Config{Kafka: []kafka.Config{{Brokers: addrs, Topic: "samples", KeyLabels: []string{"i"}}}})
	var all [][]Sample
	write := func(n int) {
		for range n {
			samples := window(200, begin()+int64(len(all))*1000)
			all = append(all, samples)
			if err := r.Write(samples); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(50)
	remotetest.Eventually(t, "the first samples", func() bool { return r.metric("atoll_sink_samples_total") > 0 })
	write(50)
	kill()
	write(50)
	kill = boot()
	remotetest.Eventually(t, "the queue to empty", func() bool { return r.Status()[0].Queue.Entries == 0 })
	got, _ := consume(t, addrs, "samples", 150*200, parseJSON)
	if d := cmp.Diff(points(all...), got); d != "" {
		t.Errorf("written (-) and consumed (+) differ:\n%s", d[:min(len(d), 2000)])
	}
}

func createTopic(t *testing.T, addrs []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "samples", 3, 1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic)
	last := "nothing"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		resp, err := req.RequestWith(ctx, client)
		cancel()
		switch {
		case err != nil:
			last = err.Error()
		case len(resp.Topics) == 1 && resp.Topics[0].ErrorCode == 0, len(resp.Topics) == 1 && resp.Topics[0].ErrorCode == 36:
			return
		default:
			last = strings.TrimSpace(fmt.Sprint(resp.Topics))
		}
		wait := time.NewTimer(200 * time.Millisecond)
		<-wait.C
	}
	t.Fatalf("the topic cannot be created: %s", last)
}
