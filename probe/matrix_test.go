package probe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// town is islands that vote, judge and describe themselves in memory.
type town struct {
	t     *testing.T
	names []string
	rooms map[string]*room
	down  map[string]*atomic.Bool
	gone  map[string]*atomic.Bool
	mu    sync.Mutex // of rooms: the first vote while the last ones open
}

func newTown(t *testing.T, set Set, names ...string) *town {
	v := &town{t: t, names: names, rooms: map[string]*room{}, down: map[string]*atomic.Bool{}, gone: map[string]*atomic.Bool{}}
	for _, n := range names {
		v.down[n], v.gone[n] = new(atomic.Bool), new(atomic.Bool)
	}
	for i, n := range names {
		r := begin(t, n, set, func(o *Options) {
			o.Members, o.Votes, o.Vantages, o.Describe, o.Dir = v.members, street{v, n}, v.vantages, v.describe, t.TempDir()
			lat, lon := 52.5+float64(i), 13.4
			o.Config.Place.Latitude, o.Config.Place.Longitude, o.Config.Place.City, o.Config.Place.ASN = &lat, &lon, "Berlin", uint32(64496+i)
			o.Config.Place.ISP = "telecom"
			for name := range o.table {
				o.table[name] = func(_ context.Context, r *protocol.Request) *protocol.Result {
					out := &protocol.Result{Up: true, Start: time.Now(), Took: time.Duration(i+1) * 10 * time.Millisecond}
					out.Phases[protocol.Connect] = 4 * time.Millisecond
					if v.down[n].Load() && name != "trace" {
						out.Fail(protocol.ConnectTimeout, protocol.Connect, "no answer")
					}
					return out
				}
			}
		})
		v.mu.Lock()
		v.rooms[n] = r
		v.mu.Unlock()
	}
	return v
}

// room is an island's; nil while it opens.
func (v *town) room(name string) *room {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rooms[name]
}

func (v *town) end() {
	for _, r := range v.rooms {
		r.end()
	}
}

func (v *town) members() (out []schedule.Member) {
	for _, n := range v.names {
		out = append(out, schedule.Member{Name: n, Labels: map[string]string{"island": n, "region": "eu"}})
	}
	return out
}

func (v *town) vantages() (out []Vantage) {
	for _, n := range v.names {
		out = append(out, Vantage{
			Name: n, ID: "key-" + n, Role: "island", Labels: map[string]string{"region": "eu", "country": "Germany"}, Connected: !v.gone[n].Load(), LastSeen: time.Unix(1, 0),
		})
	}
	return out
}

func (v *town) describe(_ context.Context, name string) (*probepb.DescribeResponse, error) {
	if v.gone[name].Load() || v.room(name) == nil {
		return nil, errors.New("gone")
	}
	return v.room(name).Describe(), nil
}

func (v *town) ask(island, path string, data any) int {
	v.t.Helper()
	w := httptest.NewRecorder()
	v.room(island).Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &struct {
		Data any `json:"data"`
	}{data}); err != nil {
		v.t.Fatalf("%s: %v", path, err)
	}
	return w.Code
}

// street is council.Mesh from one island.
type street struct {
	v    *town
	name string
}

func (s street) Judges() []string { return s.v.names }

func (s street) Cast(_ context.Context, judge string, r *probepb.CastRequest) (*probepb.CastResponse, error) {
	open := s.v.room(judge)
	if open == nil {
		return nil, errors.New("not open yet")
	}
	return open.Council().Hear(council.Voter{Name: s.name, Labels: map[string]string{"island": s.name, "region": "eu"}}, r)
}

func (s street) List(_ context.Context, judge string, r *probepb.ListRequest) (*probepb.ListResponse, error) {
	open := s.v.room(judge)
	if open == nil {
		return nil, errors.New("not open yet")
	}
	return open.Council().Answer(r), nil
}

// TestMatrix: every target from every vantage, page by page, and where the evidence is.
func TestMatrix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := define(t, "web", "targets: [https://a/, https://b/, {url: https://192.0.2.1/, server_name: x}, {url: https://192.0.2.1/, server_name: y}]\ninterval: 5s\n")
		v := newTown(t, Set{Shared: []*definition.Definition{web}}, "one", "two")
		defer v.end()
		time.Sleep(time.Minute)
		v.down["two"].Store(true)
		time.Sleep(time.Minute)
		var all []MatrixRow
		for after := ""; ; {
			var m Matrix
			if code := v.ask("one", MatrixPath+"?limit=3&after="+url.QueryEscape(after), &m); code != 200 || len(m.Missing) > 0 {
				t.Fatalf("answers %d: %+v", code, m)
			}
			if !slices.Equal(m.Vantages, []string{"one", "two"}) {
				t.Errorf("vantages %q", m.Vantages)
			}
			all = append(all, m.Targets...)
			if after = m.Next; after == "" {
				break
			}
		}
		var names []string
		for _, row := range all {
			names = append(names, row.Target+row.Labels["server_name"])
			if len(row.Cells) != 2 {
				t.Fatalf("cells: %+v", row.Cells)
			}
			here, there := row.Cells[0], row.Cells[1]
			if !here.Here || here.Counted != "fine" || here.State != "up" || here.Took != 0.01 || here.Phases["connect"] != 0.004 || here.Reason != "" {
				t.Errorf("of this island: %+v", here)
			}
			if there.Here || there.Counted != "failing" || there.State != "down" || there.Took != 0.02 || there.Phases["connect"] != 0.004 || there.Reason != "connect_timeout" ||
				there.Words != "no answer" || there.Phase != "" || there.Measured == nil || there.Evidence == "" {
				t.Errorf("of the other: %+v", there)
			}
			var e Bundles
			if code := v.ask("two", there.Evidence, &e); code != 200 || len(e.Bundles) != 1 || e.Bundles[0].Target != row.Target || e.Bundles[0].Labels["server_name"] != row.Labels["server_name"] {
				t.Errorf("evidence of %s %v at %s: %d, %+v", row.Target, row.Labels, there.Evidence, code, e)
			}
		}
		if diff := cmp.Diff([]string{"https://192.0.2.1/x", "https://192.0.2.1/y", "https://a/", "https://b/"}, names); diff != "" {
			t.Error(diff)
		}
		var own Matrix
		if v.ask("two", MatrixPath+"?vantage=two&instance="+url.QueryEscape("https://a/"), &own); len(own.Targets) != 1 || len(own.Targets[0].Cells) != 1 || own.Targets[0].Cells[0].Phase != "connect" || !own.Targets[0].Cells[0].Here {
			t.Errorf("one cell: %+v", own)
		}
		for _, bad := range []string{"?limit=0", "?limit=1001", "?limit=x", "?state=ill", "?after=x", "?after=WzFd"} {
			var none Matrix
			if code := v.ask("one", MatrixPath+bad, &none); code != 400 {
				t.Errorf("%s answers %d", bad, code)
			}
		}
	})
}

// TestVantages: where all islands stand, also one that is out of reach.
func TestVantages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := define(t, "web", "targets: [https://a/, https://b/, https://c/, https://d/]\ninterval: 5s\n")
		v := newTown(t, Set{Shared: []*definition.Definition{web}}, "one", "three", "two")
		defer v.end()
		time.Sleep(time.Minute)
		v.down["two"].Store(true)
		time.Sleep(time.Minute)
		get := func() (all []VantageInfo) {
			t.Helper()
			if code := v.ask("one", VantagesPath, &all); code != 200 || len(all) != 3 {
				t.Fatalf("%d: %+v", code, all)
			}
			return all
		}
		all := get()
		one, two := all[0], all[2]
		if !one.Here || one.Name != "one" || one.ID != "key-one" || one.Role != "island" || *one.Latitude != 52.5 || *one.Longitude != 13.4 || len(one.Geohash) != 5 ||
			one.City != "Berlin" || one.ISP != "telecom" || one.ASN != 64496 || one.Region != "eu" || one.Targets != 4 || one.Failing != 0 || one.Blind || one.Country != "Germany" {
			t.Errorf("this island: %+v", one)
		}
		if two.Here || !two.Connected || *two.Latitude != 54.5 || two.ASN != 64498 || !two.Blind || two.Uplink == "" || two.Failing != 4 || two.Told == nil || two.Problem != "" {
			t.Errorf("the blind one: %+v", two)
		}
		v.gone["two"].Store(true)
		v.gone["three"].Store(true)
		time.Sleep(time.Minute)
		all = get()
		if two := all[2]; two.Connected || two.Problem != "not connected" || two.Latitude == nil || time.Since(*two.Told) < time.Minute || two.LastSeen == nil {
			t.Errorf("out of reach: %+v", two)
		}
		v.rooms["one"].descriptions.known = nil
		if two := get()[2]; two.Told != nil || two.Latitude != nil || two.Country != "Germany" || two.Region != "eu" {
			t.Errorf("never heard of: %+v", two)
		}
	})
}

// TestServerNames: targets that differ in nothing else are two.
func TestServerNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := define(t, "web", "targets: [{url: https://192.0.2.1/, server_name: good}, {url: https://192.0.2.1/, server_name: bad}]\ninterval: 5s\n")
		r := begin(t, "here", Set{Local: []*definition.Definition{web}}, func(o *Options) {
			for name := range o.table {
				o.table[name] = func(_ context.Context, r *protocol.Request) *protocol.Result {
					out := &protocol.Result{Up: true, Start: time.Now(), Took: time.Millisecond}
					if r.Host == "bad" {
						out.Fail(protocol.Status, protocol.FirstByte, "502")
					}
					return out
				}
			}
		})
		defer r.end()
		time.Sleep(time.Minute)
		all, _ := r.Council().Here(council.Filter{})
		got := map[string]string{}
		for _, v := range all {
			got[v.Own()["server_name"]] = v.State.String()
		}
		if diff := cmp.Diff(map[string]string{"good": "up", "bad": "down"}, got); diff != "" {
			t.Error(diff)
		}
		r.wantLive("each has its series", `{instance="https://192.0.2.1/", job="web", region="eu", server_name="bad", vantage="here"} 0`,
			`{instance="https://192.0.2.1/", job="web", region="eu", server_name="good", vantage="here"} 1`)
	})
}
