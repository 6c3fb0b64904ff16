package sink

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"

	"github.com/atoll-mesh/atoll/aggregate/sink/kafka"
	"github.com/atoll-mesh/atoll/aggregate/sink/remotetest"
)

const crashEnv = "ATOLL_TEST_SINK_CRASH"

// TestKill kills a process that writes and sends, again and again over the same
// queues: every window that Write acknowledged arrives everywhere.
func TestKill(t *testing.T) {
	if args := os.Getenv(crashEnv); args != "" {
		crashing(t, args)
		return
	}
	one, two, c := remotetest.New(t), remotetest.New(t), cluster(t)
	dir, from := t.TempDir(), begin()-24*3_600_000
	acknowledged := -1
	for round := range 4 {
		if round == 2 { // one receiver is away for a round
			two.Answer(http.StatusServiceUnavailable)
		} else {
			two.Spoil(nil)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s %d %d", crashEnv, dir, one.URL(), two.URL(), c.ListenAddrs()[0], from, acknowledged+1))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var i int
			if n, _ := fmt.Sscanf(lines.Text(), "stored %d", &i); n != 1 {
				t.Log(lines.Text())
				continue
			}
			acknowledged = i
			if seen++; seen == 30+41*round {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		if seen < 30+41*round {
			t.Fatalf("round %d: the child ended by itself", round)
		}
	}
	two.Spoil(nil)
	r := start(t, dir, crashConfig(t, one.URL(), two.URL(), c.ListenAddrs()[0]))
	remotetest.Eventually(t, "the queues to empty", func() bool {
		for _, s := range r.Status() {
			if s.Queue.Entries > 0 {
				return false
			}
		}
		return true
	})
	want := contents{}
	for i := range acknowledged + 1 {
		add(want, window(50, from+int64(i)*60_000))
	}
	for name, got := range map[string]contents{"v1": one.Contents(), "v2": two.Contents()} {
		for series, ps := range want {
			have := map[int64]remotetest.Point{}
			for _, p := range got[series] {
				have[p.T] = p
			}
			for _, p := range ps {
				if have[p.T] != p {
					t.Fatalf("%s: %s at %d is %v, was %v; %d windows were acknowledged", name, series, p.T, have[p.T], p, acknowledged+1)
				}
			}
		}
	}
	got, _ := consume(t, c.ListenAddrs(), "samples", 50*(acknowledged+1), parseJSON)
	seen := map[string]map[int64]bool{}
	for series, ps := range got {
		seen[series] = map[int64]bool{}
		for _, p := range ps {
			seen[series][p.T] = true
		}
	}
	for series, ps := range want {
		for _, p := range ps {
			if !seen[series][p.T] {
				t.Fatalf("kafka: %s has nothing at %d", series, p.T)
			}
		}
	}
}

func crashConfig(t testing.TB, one, two, broker string) Config {
	return Config{
		RemoteWrite: []RemoteWrite{to(t, one, remoteapi.WriteV1MessageType), to(t, two, remoteapi.WriteV2MessageType)},
		Kafka:       []kafka.Config{{Brokers: []string{broker}, Topic: "samples", KeyLabels: []string{"i"}}},
	}
}

func crashing(t *testing.T, args string) {
	var dir, one, two, broker string
	var from, first int64
	if _, err := fmt.Sscan(args, &dir, &one, &two, &broker, &from, &first); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, crashConfig(t, one, two, broker))
	for i := first; ; i++ {
		if err := r.Write(window(50, from+i*60_000)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("stored", i)
	}
}
