package probe

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/evidence"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// village is islands that reach each other in memory.
type village struct {
	t     *testing.T
	rooms map[string]*room
	// down are those for which targets fail.
	down map[string]*atomic.Bool
	// liars answer in place of islands.
	liars map[string]probepb.EvidenceClient
	names []string
	gone  map[string]bool // those that do not answer
}

func (v *village) members() (out []schedule.Member) {
	for _, n := range v.names {
		out = append(out, schedule.Member{Name: n, Labels: map[string]string{"island": n, "region": n[:2]}})
	}
	return out
}

func newVillage(t *testing.T, set Set, names ...string) *village {
	v := &village{t: t, rooms: map[string]*room{}, down: map[string]*atomic.Bool{}, liars: map[string]probepb.EvidenceClient{}, names: names, gone: map[string]bool{}}
	for _, n := range names {
		v.down[n] = new(atomic.Bool)
		v.rooms[n] = begin(t, n, set, func(o *Options) {
			o.Dir, o.Members, o.nameServers = t.TempDir(), v.members, []netip.AddrPort{}
			o.Evidence = func(to string, _ bool) (probepb.EvidenceClient, error) { return v.client(n, to) }
			for name := range o.table {
				o.table[name] = func(_ context.Context, r *protocol.Request) *protocol.Result {
					out := &protocol.Result{Up: true, Start: time.Now(), Took: time.Millisecond, Address: netip.MustParseAddrPort("192.0.2.1:443")}
					if name == "trace" {
						out.Hops = []protocol.Hop{{TTL: 1, Sent: 1, Lost: 1}}
					} else if v.down[n].Load() {
						code := protocol.ConnectTimeout
						if strings.Contains(r.Target, "denied") {
							code = protocol.Denied
						}
						out.Fail(code, protocol.Connect, "no answer")
					}
					return out
				}
			}
		})
	}
	return v
}

func (v *village) end() {
	for _, r := range v.rooms {
		r.end()
	}
}

func (v *village) client(from, to string) (probepb.EvidenceClient, error) {
	if c := v.liars[to]; c != nil {
		return c, nil
	}
	if v.gone[to] || v.rooms[to] == nil {
		return nil, errors.New("no connection")
	}
	return direct{v.rooms[to].EvidenceServer(func(context.Context) string { return from })}, nil
}

// direct calls a server without a network between.
type direct struct{ s probepb.EvidenceServer }

func (d direct) Gather(ctx context.Context, r *probepb.GatherRequest, _ ...grpc.CallOption) (*probepb.GatherResponse, error) {
	return d.s.Gather(ctx, r)
}

func (d direct) Find(ctx context.Context, r *probepb.FindRequest, _ ...grpc.CallOption) (*probepb.FindResponse, error) {
	return d.s.Find(ctx, r)
}

func (d direct) Fetch(ctx context.Context, r *probepb.FetchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[probepb.FetchPart], error) {
	s := &parts{}
	s.end = d.s.Fetch(r, s)
	return s, nil
}

// parts is both ends of a stream.
type parts struct {
	grpc.ServerStreamingServer[probepb.FetchPart]
	grpc.ClientStream
	all []*probepb.FetchPart
	end error
	// endless repeats the last part.
	endless bool
}

func (*parts) Context() context.Context          { return context.Background() }
func (*parts) SendMsg(any) error                 { return nil }
func (*parts) RecvMsg(any) error                 { return nil }
func (s *parts) Send(p *probepb.FetchPart) error { s.all = append(s.all, p); return nil }

func (s *parts) Recv() (*probepb.FetchPart, error) {
	if len(s.all) == 0 {
		if s.end == nil {
			return nil, io.EOF
		}
		return nil, s.end
	}
	p := s.all[0]
	if !s.endless {
		s.all = s.all[1:]
	}
	return p, nil
}

// ask asks an island's API, and reads data of the answer.
func (v *village) ask(island, path string, data any) *httptest.ResponseRecorder {
	v.t.Helper()
	w := httptest.NewRecorder()
	v.rooms[island].Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, EvidencePath+path, nil))
	if data != nil {
		if w.Code != http.StatusOK {
			v.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		if err := json.Unmarshal(w.Body.Bytes(), &struct{ Data any }{data}); err != nil {
			v.t.Fatal(err)
		}
	}
	return w
}

func (v *village) bundles(island, path string) Bundles {
	v.t.Helper()
	var b Bundles
	v.ask(island, path, &b)
	return b
}

func skipped(r *room, why string) float64 {
	return testutil.ToFloat64(r.keeper.m.skipped.WithLabelValues(why))
}

const everywhereUp = "targets: [https://shop.example/]\ninterval: 1s\nhistory: 1 of 1\n"

// TestEvidenceOfBoth has a target fail for one island of three: that one and one of the
// others gather, and any island shows both.
func TestEvidenceOfBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, Set{Shared: []*definition.Definition{define(t, "shop", everywhereUp)}}, "eu-1", "eu-2", "us-1")
		defer v.end()
		time.Sleep(10 * time.Second)
		if b := v.bundles("us-1", ""); len(b.Bundles)+len(b.Unanswered) != 0 {
			t.Fatalf("evidence of nothing: %+v", b)
		}
		v.down["eu-1"].Store(true)
		time.Sleep(5 * time.Second)
		all := v.bundles("us-1", "?definition=shop")
		if len(all.Bundles) != 2 || all.Bundles[0].Island != "eu-1" || all.Bundles[1].Island != "eu-2" {
			t.Fatalf("want bundles of the failing island and of the one next to it: %+v", all)
		}
		failing, healthy := all.Bundles[0], all.Bundles[1]
		if failing.Role != evidence.Failing || healthy.Role != evidence.Healthy || failing.Failure != healthy.Failure || failing.Up || !healthy.Up ||
			failing.Code != "connect_timeout" || healthy.Code != "" || failing.Counterpart == nil || failing.Counterpart.Vantage != "eu-2" {
			t.Errorf("failing %+v, healthy %+v", failing.Manifest, healthy.Manifest)
		}
		for _, b := range all.Bundles {
			if late := b.Began.Sub(b.At); late > 2*time.Second {
				t.Errorf("%s began %s after the failure", b.Island, late)
			}
		}
		probed, _ := v.rooms["eu-1"].find("shop", "https://shop.example/", "", labels.EmptyLabels())
		if id := v.rooms["eu-1"].keeper.of(probed); id != failing.Failure {
			t.Errorf("the room names %q, want %q", id, failing.Failure)
		}
		v.download(failing.Failure, "eu-1", "eu-2")

		// A flap leaves no second bundle, until some time has gone by.
		for _, down := range []bool{false, true} {
			v.down["eu-1"].Store(down)
			time.Sleep(3 * time.Second)
		}
		if n := len(v.bundles("eu-1", "").Bundles); n != 2 || skipped(v.rooms["eu-1"], "recent") != 1 {
			t.Errorf("%d bundles after a flap", n)
		}
		v.down["eu-1"].Store(false)
		time.Sleep(gatherGap)
		v.down["eu-1"].Store(true)
		time.Sleep(5 * time.Second)
		if n := len(v.bundles("eu-1", "").Bundles); n != 4 {
			t.Errorf("%d bundles of two failures", n)
		}
		if n := len(v.bundles("eu-1", "?limit=3").Bundles); n != 3 {
			t.Errorf("%d bundles of at most 3", n)
		}
	})
}

// download fetches bundles through another island.
func (v *village) download(failure string, islands ...string) {
	v.t.Helper()
	both := v.bundles("us-1", "/"+failure)
	if len(both.Bundles) != len(islands) {
		v.t.Fatalf("bundles of the failure: %+v", both)
	}
	for _, island := range islands {
		for _, through := range v.names {
			w := v.ask(through, "/"+failure+"/"+island, nil)
			z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
			if err != nil || w.Header().Get("Content-Type") != "application/zip" || len(z.File) < 3 {
				v.t.Fatalf("%s through %s: %v, %d", island, through, err, w.Code)
			}
			w = v.ask(through, "/"+failure+"/"+island+"/trace.json", nil)
			if w.Code != http.StatusOK || !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" ||
				!strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
				v.t.Errorf("a file of %s through %s: %d %v %s", island, through, w.Code, w.Header(), w.Body)
			}
		}
	}
	for path, code := range map[string]int{
		"/" + failure + "/us-1":             http.StatusNotFound, // has none
		"/" + failure + "/eu-2/passwd":      http.StatusNotFound,
		"/" + failure + "/eu-2/..%2Fpasswd": http.StatusNotFound,
		"/" + failure + "/nobody":           http.StatusBadGateway,
		"/" + ulid.Make().String():          http.StatusNotFound,
		"/x":                                http.StatusBadRequest,
		"/x/eu-1":                           http.StatusNotFound,
		"?failure=x":                        http.StatusBadRequest,
		"?limit=0":                          http.StatusBadRequest,
		"?failure=" + ulid.Make().String():  http.StatusOK,
		"?definition=other":                 http.StatusOK,
	} {
		if w := v.ask("us-1", path, nil); w.Code != code {
			v.t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, code)
		}
	}
}

// TestNobodyGathers tries what leaves nothing: no healthy vantage, a definition that wants
// none, failures before anything was sent, a definition of one island alone.
func TestNobodyGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := Set{
			Local: []*definition.Definition{define(t, "own", "targets: [own.example]\ninterval: 1s\nhistory: 1 of 1\n")},
			Shared: []*definition.Definition{
				define(t, "shop", everywhereUp), define(t, "off", "targets: [off.example]\ninterval: 1s\nhistory: 1 of 1\nevidence: {off: true}\n"),
				define(t, "denied", "targets: [denied.example]\ninterval: 1s\nhistory: 1 of 1\n"),
			},
		}
		v := newVillage(t, set, "eu-1", "eu-2", "us-1")
		defer v.end()
		time.Sleep(10 * time.Second)
		v.gone["us-1"] = true
		v.down["eu-1"].Store(true)
		v.down["eu-2"].Store(true)
		time.Sleep(20 * time.Second)
		all := v.bundles("eu-1", "")
		if len(all.Bundles) != 4 || len(all.Unanswered) != 1 || all.Unanswered[0].Island != "us-1" {
			t.Fatalf("want two bundles of each that is down, and that us-1 did not answer: %+v", all)
		}
		for _, b := range all.Bundles {
			want := "us-1: no connection"
			if b.Definition == "own" {
				want = "no other island has"
			}
			if why := b.Missing["a healthy vantage's"]; !strings.Contains(why, want) || b.Counterpart != nil {
				t.Errorf("%s of %s: %q, want %q", b.Definition, b.Island, why, want)
			}
		}
		if r := v.rooms["eu-1"]; skipped(r, "off") != 1 || skipped(r, "unsent") != 1 {
			t.Errorf("%v off, %v unsent", skipped(r, "off"), skipped(r, "unsent"))
		}
	})
}

// TestManyFail has more targets fail at once than are gathered.
func TestManyFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []string
		for i := range 100 {
			targets = append(targets, fmt.Sprintf("t%d.example", i))
		}
		v := newVillage(t, Set{Local: []*definition.Definition{define(t, "many", "targets: ["+strings.Join(targets, ", ")+"]\ninterval: 1s\nhistory: 1 of 1\n")}}, "eu-1")
		defer v.end()
		r := v.rooms["eu-1"]
		slow := r.table["trace"]
		r.table["trace"] = func(ctx context.Context, q *protocol.Request) *protocol.Result {
			<-ctx.Done()
			return slow(ctx, q)
		}
		time.Sleep(10 * time.Second)
		v.down["eu-1"].Store(true)
		time.Sleep(gatherTime + 5*time.Second)
		if n := len(v.bundles("eu-1", "").Bundles); n != mostGathered || skipped(r, "busy") != 100-mostGathered {
			t.Errorf("%d bundles, %v skipped", n, skipped(r, "busy"))
		}
	})
}

// TestDiskFull cannot write: that is counted and warned of, and nothing else happens.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, Set{Shared: []*definition.Definition{define(t, "shop", everywhereUp)}}, "eu-1", "eu-2")
		defer v.end()
		r := v.rooms["eu-1"]
		time.Sleep(10 * time.Second)
		if err := os.WriteFile(filepath.Join(r.opts.Dir, "evidence"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		v.down["eu-1"].Store(true)
		time.Sleep(5 * time.Second)
		if lost := testutil.ToFloat64(r.keeper.m.bundles.WithLabelValues(evidence.Failing, "lost")); lost != 1 {
			t.Errorf("%v bundles are lost", lost)
		}
		if b := v.bundles("eu-1", ""); len(b.Bundles) != 1 || b.Bundles[0].Island != "eu-2" {
			t.Errorf("want the healthy one's: %+v", b)
		}
	})
}

// liar answers what it likes.
type liar struct {
	find  func() *probepb.FindResponse
	fetch func() *parts
}

func (l liar) Find(context.Context, *probepb.FindRequest, ...grpc.CallOption) (*probepb.FindResponse, error) {
	return l.find(), nil
}

func (l liar) Fetch(context.Context, *probepb.FetchRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[probepb.FetchPart], error) {
	return l.fetch(), nil
}

func (l liar) Gather(context.Context, *probepb.GatherRequest, ...grpc.CallOption) (*probepb.GatherResponse, error) {
	return &probepb.GatherResponse{Answer: probepb.GatherResponse_STARTED, Failure: "../../etc/passwd"}, nil
}

// TestLiars asks islands that send without end, and what was not asked for.
func TestLiars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, Set{Shared: []*definition.Definition{define(t, "shop", everywhereUp)}}, "eu-1", "eu-2")
		defer v.end()
		wanted, other := ulid.Make().String(), ulid.Make().String()
		manifest := func(failure string) []byte {
			m := &evidence.Manifest{Failure: failure, Role: evidence.Failing}
			text, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		archive := func(text []byte) []byte {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			f, err := w.Create("manifest.json")
			if err == nil {
				_, err = f.Write(text)
			}
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		part := func(content []byte) []*probepb.FetchPart { return []*probepb.FetchPart{{Content: content}} }
		lie := liar{find: func() *probepb.FindResponse { return nil }, fetch: func() *parts { return &parts{} }}
		r := v.rooms["eu-1"]
		for name, tc := range map[string]struct {
			fetch *parts
			words string
		}{
			"endless":          {&parts{all: part(make([]byte, 1<<20)), endless: true}, "more than"},
			"nothing":          {&parts{}, "not evidence"},
			"noise":            {&parts{all: part([]byte("PK noise"))}, "not evidence"},
			"another":          {&parts{all: part(archive(manifest(other)))}, "of failure " + other},
			"a bomb":           {&parts{all: part(archive(make([]byte, 64<<20)))}, "more than"},
			"an error":         {&parts{end: status.Error(codes.PermissionDenied, "not for you")}, "not for you"},
			"a broken archive": {&parts{all: part(archive(manifest(wanted))[:100])}, "not evidence"},
		} {
			lie.fetch = func() *parts { return tc.fetch }
			v.liars["eu-2"] = lie
			w := v.ask("eu-1", "/"+wanted+"/eu-2", nil)
			if w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), tc.words) {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		for name, text := range map[string][]byte{
			"another": manifest(other), "noise": []byte("{"), "a path": manifest("../x"), "long": make([]byte, 1<<20),
		} {
			lie.find = func() *probepb.FindResponse { return &probepb.FindResponse{Manifests: [][]byte{text}} }
			v.liars["eu-2"] = lie
			before := testutil.ToFloat64(r.keeper.m.refused)
			b := v.bundles("eu-1", "?failure="+wanted)
			if len(b.Bundles) != 0 || len(b.Unanswered) != 1 || testutil.ToFloat64(r.keeper.m.refused) != before+1 {
				t.Errorf("%s: %+v", name, b)
			}
		}
		// A file that says to be a page is not shown as one.
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for name, text := range map[string][]byte{"manifest.json": manifest(wanted)} {
			f, err := w.Create(name)
			if err == nil {
				_, err = f.Write(text)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if f, err := w.Create("page.html"); err != nil {
			t.Fatal(err)
		} else if _, err := f.Write([]byte("<script>")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		lie.fetch = func() *parts { return &parts{all: part(b.Bytes())} }
		v.liars["eu-2"] = lie
		if got := v.ask("eu-1", "/"+wanted+"/eu-2/page.html", nil); got.Code != http.StatusOK || got.Header().Get("Content-Type") != "application/octet-stream" {
			t.Errorf("a page: %d %v", got.Code, got.Header())
		}
		time.Sleep(10 * time.Second)
		v.down["eu-1"].Store(true)
		time.Sleep(5 * time.Second)
		for _, m := range r.keeper.list(query{}) {
			if m.Counterpart != nil {
				t.Errorf("a forged reference was believed: %+v", m.Counterpart)
			}
		}
	})
}

// TestGatherForOthers refuses what an island does not probe itself, and what is not now.
func TestGatherForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := define(t, "own", "targets: [own.example]\ninterval: 1s\n")
		v := newVillage(t, Set{Local: []*definition.Definition{own}, Shared: []*definition.Definition{define(t, "shop", everywhereUp)}}, "eu-1")
		defer v.end()
		now := func() string {
			id := ulid.Make()
			_ = id.SetTime(ulid.Timestamp(time.Now())) // before the year 10889
			return id.String()
		}
		old := now()
		time.Sleep(10 * time.Minute)
		c := direct{v.rooms["eu-1"].EvidenceServer(func(context.Context) string { return "us-1" })}
		ask := func(failure, definition, instance string) (probepb.GatherResponse_Answer, error) {
			r, err := c.Gather(t.Context(), &probepb.GatherRequest{Failure: failure, Definition: definition, Instance: instance, FailedMs: -1})
			return r.GetAnswer(), err
		}
		for _, bad := range []string{"", "x", old, strings.ToLower(now())} {
			if a, err := ask(bad, "shop", "https://shop.example/"); status.Code(err) != codes.InvalidArgument {
				t.Errorf("failure %q: %v, %v", bad, a, err)
			}
		}
		first := now()
		for i, tc := range []struct {
			failure, definition, instance string
			want                          probepb.GatherResponse_Answer
		}{
			{now(), "shop", "https://other.example/", probepb.GatherResponse_NOT_HERE},
			{now(), "other", "https://shop.example/", probepb.GatherResponse_NOT_HERE},
			{now(), "own", "own.example", probepb.GatherResponse_NOT_HERE},
			{first, "shop", "https://shop.example/", probepb.GatherResponse_STARTED},
			{now(), "shop", "https://shop.example/", probepb.GatherResponse_RECENT},
		} {
			if a, err := ask(tc.failure, tc.definition, tc.instance); a != tc.want || err != nil {
				t.Errorf("%d: %v, %v, want %v", i, a, err, tc.want)
			}
		}
		v.down["eu-1"].Store(true)
		time.Sleep(gatherGap)
		if a, err := ask(now(), "shop", "https://shop.example/"); a != probepb.GatherResponse_NOT_FINE || err != nil {
			t.Errorf("of a target that is down: %v, %v", a, err)
		}
		v.rooms["eu-1"].reload(func() Config { c := Default(); c.Evidence.MaxSize = 0; return c }(), Set{Shared: []*definition.Definition{define(t, "shop", everywhereUp)}})
		v.down["eu-1"].Store(false)
		time.Sleep(gatherGap)
		if a, err := ask(now(), "shop", "https://shop.example/"); a != probepb.GatherResponse_OFF || err != nil {
			t.Errorf("of an island that gathers none: %v, %v", a, err)
		}
	})
}

func TestEvidenceOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		set := Set{Local: []*definition.Definition{define(t, "shop", everywhereUp+"evidence: {capture: true}\n")}}
		run := func() (n int, recent float64) {
			r := begin(t, "eu-1", set, func(o *Options) {
				o.Dir, o.nameServers, o.Registerer = dir, []netip.AddrPort{}, prometheus.NewRegistry()
				o.table["http"] = func(context.Context, *protocol.Request) *protocol.Result {
					return (&protocol.Result{Start: time.Now(), Took: time.Millisecond}).Fail(protocol.ConnectTimeout, protocol.Connect, "no answer")
				}
			})
			defer r.end()
			time.Sleep(10 * time.Second)
			return len(r.keeper.list(query{})), skipped(r, "recent")
		}
		if n, _ := run(); n != 1 {
			t.Fatalf("%d bundles", n)
		}
		if n, recent := run(); n != 1 || recent != 1 {
			t.Errorf("after a restart %d bundles, %v skipped", n, recent)
		}
		time.Sleep(gatherGap)
		if n, _ := run(); n != 2 {
			t.Errorf("later %d bundles", n)
		}
		cfg := Default()
		cfg.Evidence.Dir = "elsewhere"
		r := begin(t, "eu-1", set, nil)
		defer r.end()
		if _, _, err := r.Prepare(cfg, set); err == nil || !strings.Contains(err.Error(), "needs a restart") {
			t.Errorf("another directory while it runs: %v", err)
		}
	})
}
