package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// wire is a call in memory, as who serves it sees it.
type wire struct {
	grpc.ServerStream
	ctx     context.Context
	replies chan *probepb.RunReply
	ended   chan error
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) Send(r *probepb.RunReply) error {
	select {
	case w.replies <- r:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// far is the same as the caller sees it.
type far struct {
	grpc.ClientStream
	*wire
}

func (far) RecvMsg(any) error          { panic("not called") }
func (far) SendMsg(any) error          { panic("not called") }
func (f far) Context() context.Context { return f.ctx }

func (f far) Recv() (*probepb.RunReply, error) {
	w := f.wire
	select {
	case r := <-w.replies:
		return r, nil
	case err := <-w.ended:
		return nil, err
	case <-w.ctx.Done():
		return nil, grpcstatus.FromContextError(w.ctx.Err()).Err()
	}
}

// dialled is a client of whatever serves.
type dialled func(r *probepb.RunRequest, w *wire) error

func (d dialled) Run(ctx context.Context, r *probepb.RunRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[probepb.RunReply], error) {
	w := &wire{ctx: ctx, replies: make(chan *probepb.RunReply), ended: make(chan error, 1)}
	go func() { w.ended <- d(r, w) }()
	return far{wire: w}, nil
}

// archipelago is some islands that reach each other in memory.
type archipelago struct {
	t       *testing.T
	islands map[string]*Prober
	// behave replaces what the prober of an island does, answer what an island does that
	// is asked.
	behave map[string]protocol.Func
	answer map[string]dialled

	mu     sync.Mutex
	audit  []string
	broken error // of the audit log
}

func archipelagoOf(t *testing.T, change func(string, *Config), names ...string) *archipelago {
	t.Helper()
	a := &archipelago{t: t, islands: map[string]*Prober{}, behave: map[string]protocol.Func{}, answer: map[string]dialled{}}
	members := func() (out []schedule.Member) {
		for i, n := range names {
			out = append(out, schedule.Member{Name: n, Labels: map[string]string{"island": n, "region": []string{"eu", "ap"}[i%2]}})
		}
		return out
	}
	for i, name := range names {
		cfg := Default()
		if change != nil {
			change(name, &cfg)
		}
		o := Options{
			Config: cfg, Store: &samples{last: map[string]string{}, n: map[string]int{}}, Members: members, Registerer: prometheus.NewRegistry(),
			Labels: func() map[string]string { return members()[i].Labels },
			Runs:   func(to string) (probepb.RunsClient, error) { return a.dial(name, to) },
			Audit:  func(actor, action, subject, detail string) error { return a.note(name, actor, action, subject, detail) },
			table:  map[string]protocol.Func{},
		}
		for _, prober := range definition.Probers() {
			o.table[prober] = func(ctx context.Context, r *protocol.Request) *protocol.Result {
				if do := a.behave[name]; do != nil {
					return do(ctx, r)
				}
				return &protocol.Result{Up: true, Start: time.Now(), Took: 3 * time.Millisecond}
			}
		}
		var err error
		if a.islands[name], err = New(o); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *archipelago) dial(from, to string) (probepb.RunsClient, error) {
	if d := a.answer[to]; d != nil {
		return d, nil
	}
	return dialled(func(r *probepb.RunRequest, w *wire) error { return a.islands[to].RunFor(from, r, w) }), nil
}

func (a *archipelago) note(island, actor, action, subject, detail string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken == nil {
		a.audit = append(a.audit, strings.Join([]string{island, actor, action, subject, detail}, "|"))
	}
	return a.broken
}

// run asks an island and returns all results by vantage, and the end.
func (a *archipelago) run(ctx context.Context, island string, ask Ask) (map[string]*RunResult, *RunEnd, error) {
	results, end := map[string]*RunResult{}, (*RunEnd)(nil)
	err := a.islands[island].Ask(ctx, ask, func(e RunEvent) {
		if e.Result != nil {
			results[e.Result.Vantage] = e.Result
		}
		if e.End != nil {
			end = e.End
		}
	})
	return results, end, err
}

func failing(code protocol.Code) protocol.Func {
	return func(context.Context, *protocol.Request) *protocol.Result {
		return (&protocol.Result{Start: time.Now(), Took: time.Second}).Fail(code, protocol.Connect, "no answer")
	}
}

func hanging(ctx context.Context, _ *protocol.Request) *protocol.Result {
	start := time.Now()
	<-ctx.Done()
	return (&protocol.Result{Start: start}).FailError(protocol.Connect, "connect", ctx.Err())
}

func TestRunFromManyVantages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := archipelagoOf(t, nil, "berlin", "tokyo", "lima")
		got, end, err := a.run(t.Context(), "berlin", Ask{Target: "https://x.example/", Caller: "me"})
		if err != nil || len(got) != 3 || end.State != "up" || end.Words != "fine from all 3 vantages" || end.Up != 3 {
			t.Errorf("all fine: %v, %+v, %v", got, end, err)
		}
		if r := got["tokyo"]; r.State != RunUp || r.Region != "ap" || r.Took != 0.003 || r.At == nil {
			t.Errorf("a result from elsewhere: %+v", r)
		}
		a.behave["tokyo"] = failing(protocol.ConnectTimeout)
		_, end, _ = a.run(t.Context(), "berlin", Ask{Target: "https://x.example/", Caller: "me"})
		if want := "down from tokyo in ap (connect timeout), fine from 2 other vantages; below the quorum of 2"; end.Words != want || end.State != "up" {
			t.Errorf("%q, want %q; state %s", end.Words, want, end.State)
		}
		a.behave["lima"] = failing(protocol.Slow)
		_, end, _ = a.run(t.Context(), "lima", Ask{Target: "https://x.example/", Caller: "me"})
		if end.State != "degraded" || end.Down != 1 || end.Slow != 1 {
			t.Errorf("down and slow: %+v", end)
		}
		from, err := ParseFrom("region=eu", 0, "")
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ = a.run(t.Context(), "tokyo", Ask{Target: "x.example:1", From: from, Caller: "me"})
		if len(got) != 2 || got["tokyo"] != nil {
			t.Errorf("from eu: %v", got)
		}
		want := []string{
			"berlin|me|probe|https://x.example/|module http_2xx, from 3 vantages: berlin, lima, tokyo",
			"lima|berlin|probe-for|https://x.example/|module http_2xx, asked there by me",
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, line := range want {
			if n := count(a.audit, line); n != 1 { // asked for twice, and one entry
				t.Errorf("%d times in the audit logs: %s\n%s", n, line, strings.Join(a.audit, "\n"))
			}
		}
	})
}

func count(list []string, want string) (n int) {
	for _, s := range list {
		if s == want {
			n++
		}
	}
	return n
}

// TestRunEndsWithItsCaller cancels a run: the probe elsewhere ends too.
func TestRunEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := archipelagoOf(t, nil, "berlin", "tokyo")
		ended := make(chan struct{})
		a.behave["tokyo"] = func(ctx context.Context, r *protocol.Request) *protocol.Result {
			defer close(ended)
			return hanging(ctx, r)
		}
		a.behave["berlin"] = hanging
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, _, err := a.run(ctx, "berlin", Ask{Target: "https://x.example/", Caller: "me", Timeout: 30 * time.Second})
		<-ended
		if took := time.Since(start); err != nil || took != time.Second {
			t.Errorf("ended after %s: %v", took, err)
		}
		synctest.Wait()
		if n := testutil.ToFloat64(a.islands["tokyo"].m.adHoc.WithLabelValues("island", "cancelled")); n != 1 {
			t.Errorf("%v probes were cancelled", n)
		}
	})
}

// TestRunWithOthersWhoMisbehave asks islands that are silent, endless, or lie.
func TestRunWithOthersWhoMisbehave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := archipelagoOf(t, nil, "berlin", "mute", "begins", "old", "endless", "liar")
		accept := &probepb.RunReply{Said: &probepb.RunReply_Accepted{Accepted: &probepb.RunAccepted{TimeoutMs: math.MaxInt64}}}
		wait := func(w *wire) error { <-w.ctx.Done(); return w.ctx.Err() }
		a.answer["mute"] = func(_ *probepb.RunRequest, w *wire) error { return wait(w) }
		a.answer["begins"] = func(_ *probepb.RunRequest, w *wire) error { _ = w.Send(accept); return wait(w) }
		a.answer["old"] = func(*probepb.RunRequest, *wire) error { return grpcstatus.Error(codes.Unimplemented, "not here") }
		a.answer["endless"] = func(_ *probepb.RunRequest, w *wire) error {
			for w.Send(accept) == nil {
			}
			return nil
		}
		a.answer["liar"] = func(_ *probepb.RunRequest, w *wire) error {
			long := strings.Repeat("\x1b[2J\u202e\n\xff", 10_000)
			lie := &probepb.RunResult{
				Reason: long, Phase: long, Words: long, AtMs: math.MinInt64, TookNs: math.MinInt64, PhasesNs: make([]int64, 10_000),
				Address: long, Remark: long, Region: long, Isp: long, Records: slices.Repeat([]string{long}, 1000),
				Samples: []*probepb.RunSample{nil, {Name: long, Value: math.NaN()}, {Name: long, Labels: []string{long, long, long}, Value: 1}},
			}
			for range 1000 {
				lie.Hops = append(lie.Hops, &probepb.RunHop{Ttl: math.MaxUint32, Addresses: []string{long}, RttNs: []int64{-1}, Unreachable: long}, nil)
			}
			return w.Send(&probepb.RunReply{Said: &probepb.RunReply_Result{Result: lie}})
		}
		start := time.Now()
		got, end, err := a.run(t.Context(), "berlin", Ask{Target: "https://x.example/", Caller: "me"})
		if took := time.Since(start); err != nil || took != longestRun+answerWithin {
			t.Errorf("took %s: %v", took, err)
		}
		states := map[string]string{}
		for name, r := range got {
			states[name] = r.State
		}
		want := map[string]string{"berlin": RunUp, "mute": RunSilent, "begins": RunSilent, "old": RunRefused, "endless": RunSilent, "liar": RunDown}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Error(diff)
		}
		text, err := json.Marshal(got["liar"])
		if err != nil || len(text) > 100_000 || strings.ContainsAny(string(text), "\x1b\u202e") || strings.Contains(string(text), `\u001b`) {
			t.Errorf("%d bytes of a lie, %v", len(text), err)
		}
		if end.Silent != 3 || end.Refused != 1 || !strings.HasSuffix(end.Words, "; 1 refused; 3 did not answer") {
			t.Errorf("%+v", end)
		}
	})
}

// TestGuestsAreBounded asks too much of an island, as one that was taken over would.
func TestGuestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		modules, err := definition.ReadModules("m.yml", []byte("modules:\n  secret: {prober: http}\n  open: {prober: http}\n  http_2xx: {prober: http, http: {headers: {Authorization: secret}}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		a := archipelagoOf(t, func(_ string, c *Config) { c.Islands = Islands{Rate: 2, Modules: []string{"open", "gone"}} }, "berlin", "tokyo")
		tokyo := a.islands["tokyo"]
		tokyo.adopt(tokyo.makePlan(tokyo.opts.Config, Set{Modules: modules}))
		ask := func(caller string, r *probepb.RunRequest) error {
			if r.Target == "" {
				r.Target = "https://x.example/"
			}
			r.Caller = caller
			w := &wire{ctx: t.Context(), replies: make(chan *probepb.RunReply, 9)}
			return tokyo.RunFor("berlin", r, w)
		}
		a.behave["tokyo"] = func(_ context.Context, r *protocol.Request) *protocol.Result {
			if len(r.Module.HTTP.Headers) > 0 {
				t.Error("a module of the file was used under a built-in name")
			}
			return &protocol.Result{Up: true}
		}
		for module, want := range map[string]codes.Code{"": codes.OK, "open": codes.OK, "http": codes.OK, "secret": codes.NotFound, "gone": codes.NotFound} {
			if err := ask("me", &probepb.RunRequest{Module: module}); grpcstatus.Code(err) != want {
				t.Errorf("module %q: %v, want %s", module, err, want)
			}
		}
		for _, bad := range []*probepb.RunRequest{
			{Target: strings.Repeat("x", longestTarget+1)}, {Target: "a\nb"}, {Target: "x\x1b[2J"}, {Host: "a\x00"}, {TimeoutMs: 1}, {Record: "MX"}, {Target: "@", Module: "dns"},
		} {
			if err := ask("me", bad); grpcstatus.Code(err) != codes.InvalidArgument {
				t.Errorf("%v: %v", bad, err)
			}
		}
		time.Sleep(time.Minute) // the allowance is whole again
		refused := func(caller string) (n int) {
			for range 15 {
				if grpcstatus.Code(ask(caller, &probepb.RunRequest{})) == codes.ResourceExhausted {
					n++
				}
			}
			return n
		}
		if one, other, third := refused("me"), refused("you"), refused("third"); one != 5 || other != 5 || third != 15 {
			t.Errorf("15 each: %d of one caller, %d of another, %d of a third were refused; want 5, 5, 15", one, other, third)
		}
		time.Sleep(time.Minute)
		a.behave["tokyo"] = hanging
		var busy sync.WaitGroup
		for range mostOfOne {
			busy.Go(func() { _ = ask("me", &probepb.RunRequest{}) })
		}
		synctest.Wait()
		if err := ask("you", &probepb.RunRequest{}); grpcstatus.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "for berlin") {
			t.Errorf("one too many at once: %v", err)
		}
		busy.Wait()
		a.broken = errors.New("disk full")
		if err := ask("me", &probepb.RunRequest{Target: "https://new.example"}); grpcstatus.Code(err) != codes.Unavailable {
			t.Errorf("without an audit log: %v", err)
		}
		tokyo.guests.set(0)
		if err := ask("me", &probepb.RunRequest{}); grpcstatus.Code(err) != codes.ResourceExhausted {
			t.Errorf("rate 0: %v", err)
		}
	})
}

func TestRunOverHTTP(t *testing.T) {
	a := archipelagoOf(t, nil, "berlin", "tokyo")
	p := a.islands["berlin"]
	get := func(query string, header ...string) *httptest.ResponseRecorder {
		return ask(p, RunPath+"?"+query, header...)
	}
	w := get("target=https://x.example/&from=all")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/x-ndjson" || len(lines) != 4 ||
		!strings.HasPrefix(lines[0], `{"plan":{"target":"https://x.example/","module":"http_2xx","prober":"http"`) || !strings.HasPrefix(lines[3], `{"end":{"state":"up"`) {
		t.Errorf("%d %v:\n%s", w.Code, w.Header(), w.Body)
	}
	for query, want := range map[string]string{
		"":                                "target",
		"target=x&module=nope":            "there are browser, dns",
		"target=x&from=region=moon":       "there are berlin, tokyo",
		"target=x&from={region":           "from: ",
		"target=x&spread=0":               "spread",
		"target=x&timeout=5":              "must be like 5s",
		"target=x&timeout=10m":            "from 100ms to 1m0s",
		"target=x&record=MX":              "record=MX",
		"target=x&per=region":             "says nothing without spread",
		"target=" + url.QueryEscape("\n"): "can be printed",
	} {
		if w := get(query); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %d %s, want %q", query, w.Code, w.Body, want)
		}
	}
	if w := get("target=x", "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("from another site's page: %d", w.Code)
	}
	a.broken = errors.New("disk full")
	if w := get("target=https://other.example/"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "disk full") {
		t.Errorf("without an audit log: %d %s", w.Code, w.Body)
	}
	if w := ask(p, "/probe?target=https://other.example/"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("GET /probe without an audit log: %d %s", w.Code, w.Body)
	}
	a.broken = nil
	p.limiter.Set(0)
	if w := get("target=x"); w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "probe.rate") {
		t.Errorf("over the rate: %d %s", w.Code, w.Body)
	}
}

func TestParseFrom(t *testing.T) {
	for text, want := range map[string]string{
		"": "berlin tokyo lima", "all": "berlin tokyo lima", "berlin,lima": "berlin lima", "region=ap": "tokyo",
		"region=eu, isp=acme": "lima", "be.lin": "", `{region=~"e.|ap"}`: "berlin tokyo lima", `region!="eu"`: "tokyo", "eu,region=eu": "",
	} {
		from, err := ParseFrom(text, 0, "")
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		var got []string
		for _, m := range []map[string]string{{"island": "berlin", "region": "eu"}, {"island": "tokyo", "region": "ap"}, {"island": "lima", "region": "eu", "isp": "acme"}} {
			if from.Selects(m) {
				got = append(got, m["island"])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q selects %v, want %s", text, got, want)
		}
	}
	for _, bad := range []string{"{", "=x", `{region="eu"`, "a b=c"} {
		if _, err := ParseFrom(bad, 0, ""); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestTargetsSuitTheirProtocol writes one URL for all of them.
func TestTargetsSuitTheirProtocol(t *testing.T) {
	p := answering(t, nil)
	for _, tc := range []struct{ module, target, record, want string }{
		{"", "https://h.example/x", "", "http https://h.example/x"},
		{"", "wss://h.example/x", "", "websocket wss://h.example/x"},
		{"", "h.example:5432", "", "tcp h.example:5432"},
		{"", "h.example", "", "http h.example"},
		{"tcp", "https://h.example/x", "", "tcp h.example:443"},
		{"tls", "http://h.example:81/x", "", "tls h.example:81"},
		{"tcp", "http://[2001:db8::1]/", "", "tcp [2001:db8::1]:80"},
		{"ping", "https://h.example/x", "", "icmp h.example"},
		{"mtr", "https://h.example/x", "", "trace https://h.example/x"},
		{"ssh", "ssh://h.example", "", "ssh h.example"},
		{"smtp", "mail.example", "", "smtp mail.example"},
		{"dns", "https://h.example/x", "", "lookup h.example"},
		{"dns", "h.example", "aaaa", "lookup h.example"},
		{"dns", "192.0.2.53", "", "dns 192.0.2.53 . NS"},
		{"dns", "192.0.2.53:5353", "", "dns 192.0.2.53:5353 . NS"},
		{"dns", "h.example@192.0.2.53", "", "dns 192.0.2.53 h.example A"},
		{"dns_tls", "h.example@[2001:db8::1]:853", "mx", "dns [2001:db8::1]:853 h.example MX"},
		{"dns_https", "https://dns.example/q", "", "dns https://dns.example/q . NS"},
		{"dns", "h.example", "MX", "error"},
		{"dns", "192.0.2.53", "MX", "error"},
		{"http", "h.example", "MX", "error"},
		{"nope", "h.example", "", "error"},
	} {
		got := "error"
		if made, err := p.task(p.Modules(), Ask{Module: tc.module, Target: tc.target, Record: tc.record}); err == nil {
			got = made.module.Prober + " " + made.target
			if made.module.Prober == "dns" {
				got += " " + made.module.DNS.QueryName + " " + made.module.DNS.QueryType
				if fmt.Sprintf("%p", made.run) != fmt.Sprintf("%p", p.table["dns"]) {
					got = "lookup " + made.target
				}
			}
		}
		if got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.module, tc.target, got, tc.want)
		}
	}
}
