package probe

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// standing tells a child process, which stands in a namespace, to be a vantage.
type standing struct {
	Name, Dir, Definition string
	// Members are all vantages: by their names, the hosts at which they answer.
	Members map[string]string
}

const (
	standingVariable = "ATOLL_TEST_VANTAGE"
	peerPort         = "7000"
	apiPort          = "7001"
)

// nothing stores nothing.
type nothing struct{}

func (nothing) AppenderV2(context.Context) storage.AppenderV2 { return nothing{} }
func (nothing) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}
func (nothing) Commit() error   { return nil }
func (nothing) Rollback() error { return nil }

// stand probes until its input ends.
func stand(text string) error {
	var s standing
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	shared, err := definition.Read("shop", "shop.yml", []byte(s.Definition))
	if err != nil {
		return err
	}
	cfg := probe.Default()
	cfg.Allow, cfg.Evidence.Capture = []string{"10.0.0.0/8"}, true
	own := map[string]string{"island": s.Name}
	p, err := probe.New(probe.Options{
		Config: cfg, Set: probe.Set{Shared: []*definition.Definition{shared}}, Store: nothing{}, Dir: s.Dir,
		Labels: func() map[string]string { return own },
		Members: func() (out []schedule.Member) {
			for name := range s.Members {
				out = append(out, schedule.Member{Name: name, Labels: map[string]string{"island": name}})
			}
			return out
		},
		Evidence: func(to string, _ bool) (probepb.EvidenceClient, error) {
			conn, err := grpc.NewClient(net.JoinHostPort(s.Members[to], peerPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
			return probepb.NewEvidenceClient(conn), err
		},
	})
	if err != nil {
		return err
	}
	peers, err := net.Listen("tcp", ":"+peerPort)
	if err != nil {
		return err
	}
	api, err := net.Listen("tcp", ":"+apiPort)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	probepb.RegisterEvidenceServer(server, p.EvidenceServer(func(context.Context) string { return "" }))
	web := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: time.Minute}
	ctx, cancel := context.WithCancel(context.Background())
	g := new(errgroup.Group)
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error { return server.Serve(peers) })
	g.Go(func() error {
		if err := web.Serve(api); err != http.ErrServerClosed {
			return err
		}
		return nil
	})
	_, err = io.Copy(io.Discard, os.Stdin)
	cancel()
	server.Stop()
	if err := web.Close(); err != nil {
		return err
	}
	return errors.Join(err, g.Wait())
}

// station is a vantage that goes on probing.
type station struct {
	t    *testing.T
	node *lab.Node
	at   string
}

// settle starts a vantage on a host, whose name server is the one given.
func settle(t *testing.T, n *lab.Node, s standing, nameServer string) *station {
	t.Helper()
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skipf("%v: apt-get install util-linux", err)
	}
	s.Dir = t.TempDir()
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+nameServer+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := n.Command(context.Background(), "unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$1"`, resolv, os.Args[0])
	cmd.Env = append(os.Environ(), standingVariable+"="+string(text))
	var problem bytes.Buffer
	cmd.Stderr = &problem
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("vantage %s: %v\n%s", s.Name, err, problem.String())
		}
	})
	return &station{t, n, "http://" + s.Members[s.Name] + ":" + apiPort}
}

// get asks the vantage's API.
func (s *station) get(path string) ([]byte, error) {
	client := s.node.HTTPClient()
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.at + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return b, err
}

// wait asks until the answer is as it should be.
func (s *station) wait(path string, good func(b []byte) bool) []byte {
	s.t.Helper()
	const patience = 90 * time.Second
	var b []byte
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		if b, err = s.get(path); err == nil && good(b) {
			return b
		}
	}
	s.t.Fatalf("%s of %s: %v\n%s", path, s.node.Name(), err, b)
	return nil
}

// files downloads a bundle through this vantage.
func (s *station) files(failure, of string) map[string][]byte {
	s.t.Helper()
	b, err := s.get("/api/v1/probes/evidence/" + failure + "/" + of)
	if err != nil {
		s.t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		s.t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			s.t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			s.t.Fatal(err)
		}
		r.Close()
	}
	return files
}

// wayOf is the first address of each hop of a trace, "*" for none.
func wayOf(t *testing.T, text []byte) (way string, reached bool, words string) {
	t.Helper()
	var trace struct {
		Over    string
		Port    int
		Reached bool
		Words   string
		Hops    []struct{ Addresses []string }
	}
	if err := json.Unmarshal(text, &trace); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if trace.Over != "tcp" || trace.Port != 8080 {
		t.Errorf("the trace is over %s to port %d", trace.Over, trace.Port)
	}
	var all []string
	for _, h := range trace.Hops {
		all = append(all, append(h.Addresses, "*")[0])
	}
	return strings.Join(all, " "), trace.Reached, trace.Words
}

// segments reads the TCP segments of a pcapng file of IPv4 packets.
func segments(t *testing.T, content []byte) (all []segment) {
	t.Helper()
	const packet, section = 6, 0x0A0D0D0A
	if len(content) < 12 || binary.LittleEndian.Uint32(content) != section {
		t.Fatalf("%d bytes are no pcapng", len(content))
	}
	for len(content) >= 12 {
		size := binary.LittleEndian.Uint32(content[4:])
		if size < 12 || int(size) > len(content) {
			t.Fatalf("a block of %d bytes, %d are left", size, len(content))
		}
		if binary.LittleEndian.Uint32(content) == packet {
			p := content[28 : 28+binary.LittleEndian.Uint32(content[20:])]
			header := int(p[0]&15) * 4
			s := segment{
				ttl: p[8], proto: p[9], from: netip.AddrFrom4([4]byte(p[12:16])), to: netip.AddrFrom4([4]byte(p[16:20])),
				toPort: binary.BigEndian.Uint16(p[header+2:]), flags: p[header+13], text: string(p[header:]),
			}
			all = append(all, s)
		}
		content = content[size:]
	}
	return all
}

type segment struct {
	ttl, proto, flags byte
	from, to          netip.Addr
	toPort            uint16
	text              string
}

// nameServer answers for the zone lab.example, to whoever asks.
func nameServer(t *testing.T, conn net.PacketConn) {
	t.Helper()
	records := map[dns.Question]dns.RR{}
	for _, text := range []string{"lab.example. 60 IN NS ns.lab.example.", "ns.lab.example. 60 IN A 10.9.4.2", "web.lab.example. 60 IN A 10.9.4.2"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		h := rr.Header()
		records[dns.Question{Name: h.Name, Qtype: h.Rrtype, Qclass: h.Class}] = rr
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = !q.RecursionDesired
		if rr := records[q.Question[0]]; rr != nil {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	t.Cleanup(func() { conn.Close(); <-done })
}

// TestEvidence breaks the way from one of two vantages to a server: both gather, the
// failing one says behind which router it ends, the other one that the server is well.
func TestEvidence(t *testing.T) {
	c := newChain(t)
	names, err := c.there.ListenPacket("udp4", "10.9.4.2:53")
	if err != nil {
		t.Fatal(err)
	}
	nameServer(t, names)
	l, err := c.there.Listen("tcp4", "10.9.4.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	shop := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Pop", "there")
		fmt.Fprint(w, "open all day\n")
	})}
	go func() { _ = shop.Serve(l) }()
	t.Cleanup(func() { shop.Close() })

	s := standing{
		Members:    map[string]string{"here": "10.9.1.1", "twin": "10.9.5.2"},
		Definition: "targets: ['http://web.lab.example:8080/']\ninterval: 1s\ntimeout: 1s\nevidence: {capture: true}\n",
	}
	s.Name = "here"
	here := settle(t, c.here, s, "10.9.4.2")
	s.Name = "twin"
	twin := settle(t, c.twin, s, "10.9.4.2")
	for _, v := range []*station{here, twin} {
		v.wait("/api/v1/probes/targets?state=up", func(b []byte) bool { return strings.Contains(string(b), "web.lab.example") })
	}

	cmd := exec.Command("ip", "netns", "exec", c.r2.Namespace(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table ip broken { chain way { type filter hook forward priority 0; ip saddr 10.9.1.1 tcp dport 8080 drop\n}\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	type bundle struct {
		Island, Failure, Role, Code string
		At, Began, Gathered         time.Time
		Missing                     map[string]string
	}
	var all struct{ Data struct{ Bundles []bundle } }
	twin.wait("/api/v1/probes/evidence", func(b []byte) bool {
		return json.Unmarshal(b, &all) == nil && len(all.Data.Bundles) == 2
	})
	failing, healthy := all.Data.Bundles[0], all.Data.Bundles[1]
	if failing.Island != "here" || failing.Role != "failing" || failing.Code != "connect_timeout" || healthy.Island != "twin" || healthy.Role != "healthy" || failing.Failure != healthy.Failure {
		t.Fatalf("%+v", all)
	}
	for _, b := range all.Data.Bundles {
		t.Logf("%s began %s after the probe that failed began, and took %s", b.Island, b.Began.Sub(b.At), b.Gathered.Sub(b.Began))
	}

	for _, b := range all.Data.Bundles {
		if why := b.Missing["flow.pcapng"]; why != "" {
			t.Errorf("the packets of %s: %s", b.Island, why)
		}
	}
	files := twin.files(failing.Failure, "here") // through the other one
	way, reached, words := wayOf(t, files["trace.json"])
	if way != "10.9.1.2 10.9.2.2 *" || reached || !strings.Contains(words, "nothing answers beyond hop 2, 10.9.2.2") {
		t.Errorf("the way from here: %q, %v, %q", way, reached, words)
	}
	if files["response.txt"] != nil || !strings.Contains(failing.Missing["response.txt"], "timeout") {
		t.Errorf("a response from behind the break: %s, %v", files["response.txt"], failing.Missing)
	}
	requests := 0
	for _, p := range segments(t, files["flow.pcapng"]) {
		const syn = 2
		if p.ttl <= 30 || p.toPort != 8080 || p.flags != syn {
			t.Errorf("packet %+v is none of a connection that is not answered", p)
		}
		requests++
	}
	if requests < 1 {
		t.Error("no packet of the flow")
	}
	checkNames(t, files["dns.json"])

	files = here.files(failing.Failure, "twin")
	if way, reached, words = wayOf(t, files["trace.json"]); way != "10.9.6.2 10.9.4.2" || !reached {
		t.Errorf("the way from the twin: %q, %v, %q", way, reached, words)
	}
	if r := string(files["response.txt"]); !strings.Contains(r, "200 OK\n") || !strings.Contains(r, "X-Pop: there\n") || !strings.HasSuffix(r, "\n\nopen all day\n") {
		t.Errorf("the response:\n%s", r)
	}
	said := ""
	for _, p := range segments(t, files["flow.pcapng"]) {
		said += p.text
	}
	if !strings.Contains(said, "GET / HTTP/1.1") || !strings.Contains(said, "open all day") {
		t.Errorf("%d bytes of the flow are not the conversation", len(said))
	}
	checkNames(t, files["dns.json"])
}

// checkNames holds a bundle's answers of name servers against the zone.
func checkNames(t *testing.T, text []byte) {
	t.Helper()
	var names struct {
		Zone    string
		Servers []struct {
			Role    string
			Answers []struct{ Records []string }
		}
	}
	if err := json.Unmarshal(text, &names); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if names.Zone != "lab.example." || len(names.Servers) != 2 || names.Servers[0].Role != "system" || names.Servers[1].Role != "authoritative" {
		t.Fatalf("%s", text)
	}
	for _, s := range names.Servers {
		if len(s.Answers[0].Records) != 1 || !strings.HasSuffix(s.Answers[0].Records[0], "10.9.4.2") {
			t.Errorf("%s", text)
		}
	}
}
