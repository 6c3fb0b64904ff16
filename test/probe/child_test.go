package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/protocol/path"
	"github.com/atoll-mesh/atoll/probe/protocol/talk"
)

// order tells a child process, which stands in a namespace, what to probe.
type order struct {
	Prober, Target string
	Timeout        time.Duration
	Trace          definition.Trace
	Echo           definition.Echo
	Expect         string
}

const orderVariable = "ATOLL_TEST_PROBE"

func TestMain(m *testing.M) {
	if text := os.Getenv(orderVariable); text != "" {
		if err := obey(text, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(standingVariable); text != "" {
		if err := stand(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type openDialer struct{}

func (openDialer) DialContext(ctx context.Context, network, address string, _ netip.Addr) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (openDialer) Permit(netip.Addr, uint16) error { return nil }

func obey(text string, out io.Writer) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	m := &definition.Module{Module: blackbox.DefaultModule, Trace: o.Trace, Echo: o.Echo}
	if o.Expect != "" {
		m.TCP.QueryResponse = []blackbox.QueryResponse{{Send: "hello", Expect: blackbox.MustNewRegexp(o.Expect)}}
		if o.Prober == "tcp" { // the server waits for the query
			m.TCP.QueryResponse = []blackbox.QueryResponse{{Send: "hello"}, {Expect: blackbox.MustNewRegexp(o.Expect)}}
		}
	}
	p := path.New()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	defer func() { cancel(); <-done }()
	f, ok := p.Table()[o.Prober]
	if !ok {
		f = talk.Table()[o.Prober]
	}
	within, stop := context.WithTimeout(ctx, o.Timeout)
	defer stop()
	return json.NewEncoder(out).Encode(f(within, &protocol.Request{Target: o.Target, Module: m, Dialer: openDialer{}, Resolver: net.DefaultResolver}))
}

// vantage is a host that probes.
type vantage struct {
	t    *testing.T
	node *lab.Node
	// wrap are words before the command, such as those of setpriv.
	wrap []string
	self string
}

func from(t *testing.T, n *lab.Node) *vantage { return &vantage{t: t, node: n, self: os.Args[0]} }

// nobody probes without any privilege.
func (v *vantage) nobody() *vantage {
	v.t.Helper()
	if _, err := exec.LookPath("setpriv"); err != nil {
		v.t.Skipf("%v: apt-get install util-linux", err)
	}
	dir, err := os.MkdirTemp("", "probe") // t.TempDir's parents are not for others
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		v.t.Fatal(err)
	}
	b, err := os.ReadFile(v.self)
	if err != nil {
		v.t.Fatal(err)
	}
	self := filepath.Join(dir, "probe.test")
	if err := os.WriteFile(self, b, 0o755); err != nil {
		v.t.Fatal(err)
	}
	return &vantage{t: v.t, node: v.node, self: self, wrap: []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"}}
}

func (v *vantage) probe(o order) *protocol.Result {
	v.t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	text, err := json.Marshal(o)
	if err != nil {
		v.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(v.t.Context(), o.Timeout+30*time.Second)
	defer cancel()
	words := append(append([]string(nil), v.wrap...), v.self)
	cmd := v.node.Command(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), orderVariable+"="+string(text))
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		v.t.Fatalf("probe %s from %s: %v\n%s", o.Target, v.node.Name(), err, problem.String())
	}
	var r protocol.Result
	if err := json.Unmarshal(out, &r); err != nil {
		v.t.Fatalf("read a result: %v\n%s", err, out)
	}
	return &r
}

// near tells whether a duration is what the network makes it, within 5 % or 2 ms.
func near(got, want time.Duration) bool {
	return math.Abs(float64(got-want)) <= max(0.05*float64(want), float64(2*time.Millisecond))
}

func value(t *testing.T, r *protocol.Result, name string, labels ...string) float64 {
	t.Helper()
	for _, s := range r.Samples {
		if s.Name == name && strings.Join(s.Labels, "=") == strings.Join(labels, "=") {
			return s.Value
		}
	}
	t.Errorf("no sample %s%v among %v", name, labels, r.Samples)
	return math.NaN()
}

func wantDown(t *testing.T, r *protocol.Result, code protocol.Code, words ...string) {
	t.Helper()
	if r.Up || r.Reason.Code != code {
		t.Errorf("up %v, %v; want %s", r.Up, r.Reason, code)
	}
	for _, w := range words {
		if !strings.Contains(r.Reason.Words, w) {
			t.Errorf("the reason is %q, want %q in it", r.Reason.Words, w)
		}
	}
}
