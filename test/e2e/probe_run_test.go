package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"github.com/atoll-mesh/atoll/probe"
)

// threeVantages are islands of one network. Two let loopback be probed by hand; lima
// does not.
func threeVantages(t *testing.T) []*island {
	t.Helper()
	regions := []string{"eu", "ap", "sa"}
	var all []*island
	for n, name := range []string{"berlin", "tokyo", "lima"} {
		allow := "probe: {allow_ad_hoc: [127.0.0.1]}"
		if name == "lima" {
			allow = ""
		}
		i := newIsland(t, fmt.Sprintf(`
island: {name: %s, labels: {region: %s, isp: acme}}
mesh: {port: 0, addresses: [127.0.0.1], mdns: false}
collect: {host: {enabled: false}}
%s
`, name, regions[n], allow)).up()
		if n == 0 {
			output(t, i.dir, binary, "init", "acme")
		} else {
			enter(t, all[0], i, "--label", "region="+regions[n], "--label", "isp=acme")
		}
		all = append(all, i)
	}
	eventually(t, time.Minute, "all islands are connected", func() error {
		for _, i := range all {
			got, err := i.get("/api/atoll/v1/mesh/peers")
			if err == nil && strings.Count(got, `"connected"`) < 2 {
				err = errors.New(got)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return all
}

// enter makes an island a member of another's network.
func enter(t *testing.T, host, guest *island, as ...string) {
	t.Helper()
	token := regexp.MustCompile(`atoll1\S+`).FindString(output(t, host.dir, binary, append([]string{"invite"}, as...)...))
	output(t, guest.dir, binary, "join", "--no-run", token)
}

// probed runs atoll probe and returns its code, and what it said.
func probed(t *testing.T, i *island, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(binary, append([]string{"probe", "--url", i.url("")}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "{") && !strings.HasPrefix(line, "atoll:") {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if os.Getenv("ATOLL_SHOW") != "" {
		t.Logf("atoll probe %s → %d\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), &out)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestProbeRun has three islands probe by hand: what they say, what the command says
// of it, and what is written down where.
func TestProbeRun(t *testing.T) {
	var asked, uneven atomic.Int64
	cancelled := make(chan struct{}, 8)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/hang":
			<-r.Context().Done()
			cancelled <- struct{}{}
		case "/uneven":
			if uneven.Add(1)%2 == 0 {
				http.Error(w, "not you", http.StatusForbidden)
			}
		case "/broken":
			http.Error(w, "broken", http.StatusInternalServerError)
		default:
			fmt.Fprint(w, "hello")
		}
	}))
	defer web.Close()
	plain := httptest.NewServer(web.Config.Handler)
	defer plain.Close()
	server := nameServer(t)
	all := threeVantages(t)
	berlin, tokyo, lima := all[0], all[1], all[2]

	code, said := probed(t, berlin, plain.URL, "--from", "berlin,tokyo")
	contains(t, said, "2 vantages", "berlin ", "tokyo ", "200", "up: fine from all 2 vantages")
	if code != 0 {
		t.Errorf("up: code %d", code)
	}
	for _, tc := range []struct {
		code int
		says string
		args []string
	}{
		{0, "is refused as loopback; an operator of this island may open it with probe.allow_ad_hoc", []string{plain.URL, "-v"}},
		{0, "up: fine from all 2 vantages; 1 refused", []string{plain.URL}},
		{0, "below the quorum", []string{plain.URL + "/uneven", "--from", "berlin,tokyo", "--fail-if", "quorum"}},
		{0, "below the quorum", []string{plain.URL + "/uneven", "--from", "berlin,tokyo", "--fail-if", "all"}},
		{1, "below the quorum", []string{plain.URL + "/uneven", "--from", "berlin,tokyo"}},
		{1, "status 500", []string{plain.URL + "/broken", "--from", "region=eu"}},
		{1, "down from tokyo in ap", []string{plain.URL + "/broken", "--fail-if", "quorum", "--from", "berlin,tokyo"}},
		{1, "tls untrusted", []string{web.URL, "--from", "this"}},
		{0, "tokyo", []string{plain.URL, "--type", "tcp", "--from", "region=ap"}},
		{0, "hub.test. 300 IN A 192.0.2.7", []string{"hub.test@" + server, "--type", "dns", "--from", "berlin,tokyo"}},
		{0, "10 mail.test.", []string{"hub.test@" + server, "--type", "dns", "--record", "MX", "--from", "this"}},
		{0, "reached", []string{plain.URL, "--type", "mtr", "--from", "berlin,tokyo"}},
		{0, "rtt", []string{plain.URL, "--type", "icmp", "--from", "this"}},
		{2, "there are berlin, lima, tokyo", []string{plain.URL, "--from", "moon"}},
		{2, "none of that name", []string{plain.URL, "--type", "carrier-pigeon"}},
		{2, "must be from", []string{plain.URL, "--timeout", "1h"}},
		{2, "unknown flag --bogus", []string{plain.URL, "--bogus"}},
		{2, "is refused as metadata; it is never probed", []string{"http://169.254.169.254/latest/meta-data/"}},
	} {
		code, said := probed(t, berlin, tc.args...)
		if n := uneven.Load(); n%2 != 0 {
			t.Errorf("%d requests for what is uneven", n)
		}
		if code != tc.code || !strings.Contains(strings.Join(strings.Fields(said), " "), tc.says) {
			t.Errorf("atoll probe %s: code %d, want %d with %q in\n%s", strings.Join(tc.args, " "), code, tc.code, tc.says, said)
		}
	}
	before := asked.Load()
	if code, said = probed(t, lima, plain.URL, "--from", "this"); code != 2 || asked.Load() != before {
		t.Errorf("lima asked a server that it may not: code %d\n%s", code, said)
	}

	streamed(t, berlin, plain.URL)
	refused(t, all, plain.URL)
	stopped(t, all, plain.URL+"/hang", cancelled)
	for i, want := range map[*island][]string{
		berlin: {`"probe","subject":"` + plain.URL + `","detail":"module http_2xx, from 2 vantages: berlin, tokyo"`, `"actor":"127.0.0.1"`},
		tokyo:  {`"actor":"berlin","action":"probe-for","subject":"` + plain.URL + `","detail":"module http_2xx, asked there by 127.0.0.1"`},
		lima:   {`"actor":"berlin","action":"probe-for"`},
	} {
		contains(t, output(t, i.dir, binary, "audit", "--json"), want...)
	}
	if _, err := tokyo.get("/probe?target=" + url.QueryEscape(plain.URL)); err != nil {
		t.Error(err)
	}
	contains(t, output(t, tokyo.dir, binary, "audit", "--json"), "by GET /probe")
	limited(t, berlin, tokyo, plain.URL)
}

// refused asks from an island whose role may look, and not probe.
func refused(t *testing.T, all []*island, target string) {
	t.Helper()
	watcher := newIsland(t, "island: {name: watcher}\nmesh: {port: 0, addresses: [127.0.0.1], mdns: false}\ncollect: {host: {enabled: false}}\n").up()
	enter(t, all[0], watcher, "--role", "observer")
	eventually(t, time.Minute, "the observer knows the others", func() error {
		code, said := probed(t, watcher, target, "--from", "berlin")
		if code != 2 || !strings.Contains(strings.Join(strings.Fields(said), " "), "no policy permits watcher (observer) to probe") {
			return errors.New(said)
		}
		return nil
	})
}

// streamed reads the lines of JSON.
func streamed(t *testing.T, i *island, target string) {
	t.Helper()
	_, said := probed(t, i, target, "--json", "--from", "berlin,tokyo", "--spread", "2")
	var events []probe.RunEvent
	for line := range strings.Lines(said) {
		var e probe.RunEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, said)
		}
		events = append(events, e)
	}
	if len(events) != 4 || events[0].Plan == nil || events[3].End == nil || events[3].End.Up != 2 {
		t.Fatalf("events:\n%s", said)
	}
	for _, e := range events[1:3] {
		r := e.Result
		if r == nil || r.Samples["probe_http_status_code"] != 200 || r.Phases["connect"] <= 0 || r.ISP != "acme" || r.Region == "" {
			t.Errorf("result %+v", r)
		}
	}
}

// stopped ends a run as Ctrl-C does: no vantage goes on.
func stopped(t *testing.T, all []*island, target string, cancelled chan struct{}) {
	t.Helper()
	cmd := exec.Command(binary, "probe", "--url", all[0].url(""), target, "--from", "berlin,tokyo", "--timeout", "50s")
	var out logBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for n, asked := range []string{"here", "island"} {
		eventually(t, 30*time.Second, "both vantages probe", func() error {
			got, err := all[n].get("/metrics")
			if err == nil && !strings.Contains(got, fmt.Sprintf("atoll_probe_ad_hoc_running{asked=%q} 1\n", asked)) {
				err = errors.New(out.String())
			}
			return err
		})
	}
	start := time.Now()
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // the code is what counts
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("stopped before anything was heard: code %d\n%s", code, out.String())
	}
	for range 2 {
		select {
		case <-cancelled:
		case <-time.After(30 * time.Second):
			t.Fatal("a vantage probes on after its caller went")
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s until all had ended", took)
	}
}

// limited asks until an island refuses: the one that probes, and the one that is asked.
func limited(t *testing.T, berlin, tokyo *island, target string) {
	t.Helper()
	refused := false
	for range 300 { // tokyo lets one caller of berlin have 25 at once, and 2.5 a second
		got, err := berlin.get(probe.RunPath + "?from=tokyo&target=" + url.QueryEscape(target))
		if err != nil {
			t.Fatal(err)
		}
		if refused = strings.Contains(got, `"state":"refused"`) && strings.Contains(got, "probe.islands.rate"); refused {
			break
		}
	}
	if !refused {
		t.Error("tokyo probes whatever berlin wants")
	}
	if got, err := tokyo.get("/metrics"); err != nil || !strings.Contains(got, `atoll_probe_ad_hoc_total{asked="island",result="refused"}`) {
		t.Errorf("refusals are not counted: %v", err)
	}
}

// nameServer answers for hub.test.
func nameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, text := range []string{"hub.test. 300 IN A 192.0.2.7", "hub.test. 300 IN A 192.0.2.8", "hub.test. 300 IN MX 10 mail.test."} {
			if rr, err := dns.NewRR(text); err == nil && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		_ = w.WriteMsg(m)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	return conn.LocalAddr().String()
}
