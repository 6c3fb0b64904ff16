package compare

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

func answer(vantage, edge, body string, header ...string) Answer {
	a := Answer{Vantage: vantage, Edge: edge, Status: 200, Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body)), Header: map[string]string{}}
	for i := 0; i < len(header); i += 2 {
		a.Header[header[i]] = header[i+1]
	}
	return a
}

func aged(vantage string, age time.Duration) Answer {
	a := answer(vantage, "", "")
	a.Age = age
	return a
}

func lines(ds []Difference) (all []string) {
	for _, d := range ds {
		all = append(all, d.String())
	}
	return all
}

func TestDifferences(t *testing.T) {
	origin := answer("origin", "192.0.2.1", "new")
	broken := answer("osaka-1", "203.0.113.7", "oops")
	broken.Status = 502
	unknown := answer("unknown", "", "x")
	unknown.SHA256 = [32]byte{}
	var many, all []Answer
	for i := range 12 {
		many = append(many, answer(fmt.Sprintf("v%02d", i), "", "", "Etag", fmt.Sprintf("%02d", i)))
		all = append(all, answer(fmt.Sprintf("v%d", i%5), "", "", "Etag", "same"))
	}
	minutes := func(n time.Duration) time.Duration { return n * time.Minute }
	for name, test := range map[string]struct {
		rules    definition.Compare
		origin   *Answer
		answers  []Answer
		want     []string
		compared string
	}{
		"all as the origin": {definition.Compare{}, &origin, []Answer{answer("a", "", "new"), answer("b", "", "new")}, nil, "status body"},
		"an old copy on one edge": {
			definition.Compare{}, &origin,
			[]Answer{answer("tokyo-1", "203.0.113.7", "old!"), answer("osaka-1", "203.0.113.7", "old!"), answer("paris-1", "203.0.113.9", "new"), unknown},
			[]string{"body: osaka-1, tokyo-1 get 4 bytes (sha256 f28d6cfd0ebc…) from 203.0.113.7, want 3 bytes (sha256 11507a0e2f5e…)"}, "status body",
		},
		"no origin: the most": {
			definition.Compare{IgnoreBody: true}, nil,
			[]Answer{answer("a", "", "1"), answer("b", "", "2"), broken},
			[]string{"status: osaka-1 gets 502 from 203.0.113.7, want 200"}, "status",
		},
		"headers and age": {
			definition.Compare{IgnoreBody: true, Headers: []string{"cache-control"}, MaxAge: model.Duration(minutes(10))}, &origin,
			[]Answer{answer("a", "", "", "Cache-Control", "no-store"), aged("b", minutes(40)), aged("c", minutes(10)), aged("d", minutes(9)), answer("e", "", "")},
			[]string{`Cache-Control: a gets "no-store", want none`, "age: b, c get a copy of more than 40m0s, want at most 10m0s"}, "status Cache-Control age",
		},
		"no flood of vantages": {
			definition.Compare{IgnoreBody: true, Headers: []string{"Etag"}}, &origin, all,
			[]string{`Etag: v0, v1, v2, v3 and 1 more get "same", want none`}, "status Etag",
		},
		"no flood of values": {
			definition.Compare{IgnoreBody: true, Headers: []string{"ETag"}}, nil, many,
			[]string{
				`Etag: v01 gets "01", want "00"`, `Etag: v02 gets "02", want "00"`, `Etag: v03 gets "03", want "00"`, `Etag: v04 gets "04", want "00"`,
				`Etag: v05, v06, v07, v08 and 3 more get 7 other values, want "00"`,
			}, "status Etag",
		},
		"nobody answered":       {definition.Compare{}, nil, nil, nil, ""},
		"one without an origin": {definition.Compare{MaxAge: 1}, nil, []Answer{broken}, nil, "age"},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) { // in any order
				rnd := rand.New(rand.NewPCG(seed, 0))
				rnd.Shuffle(len(test.answers), func(i, j int) { test.answers[i], test.answers[j] = test.answers[j], test.answers[i] })
				if diff := cmp.Diff(test.want, lines(Differences(&test.rules, test.origin, test.answers))); diff != "" {
					t.Fatal(diff)
				}
			}
			if got := strings.Join(Compared(&test.rules, test.origin, test.answers), " "); got != test.compared {
				t.Errorf("compared %q, want %q", got, test.compared)
			}
		})
	}
}

func TestAnswerOf(t *testing.T) {
	long := strings.Repeat("e", 100)
	result := func(status string, whole bool, header ...[2]string) *protocol.Result {
		return &protocol.Result{
			Address:  netip.MustParseAddrPort("[::ffff:192.0.2.1]:443"),
			Response: &protocol.Response{Status: status, Whole: whole, Size: 3, SHA256: sha256.Sum256([]byte("new")), Header: header},
		}
	}
	for name, test := range map[string]struct {
		rules  definition.Compare
		result *protocol.Result
		want   *Answer
	}{
		"nothing":                      {definition.Compare{}, &protocol.Result{}, nil},
		"no HTTP":                      {definition.Compare{}, result("220 mail", true), nil},
		"strange status":               {definition.Compare{}, result("HTTP/1.1 20000 x", true), nil},
		"cut off":                      {definition.Compare{}, result("HTTP/1.1 200 OK", false), nil},
		"cut off, and that is ignored": {definition.Compare{IgnoreBody: true}, result("HTTP/1.1 200 OK", false), &Answer{Edge: "192.0.2.1", Status: 200}},
		"headers": {
			definition.Compare{IgnoreBody: true, Headers: []string{"etag", "Vary", "X-Bytes", "None"}},
			result("HTTP/2.0 404 Not Found", true, [2]string{"ETAG", long}, [2]string{"vary", "a "}, [2]string{"Vary", "b"}, [2]string{"X-Bytes", "a\xffb\tc"}, [2]string{"Server", "x"}),
			&Answer{Edge: "192.0.2.1", Status: 404, Header: map[string]string{"Etag": long[:60] + "… (sha256 4559f89bf01f…)", "Vary": "a, b", "X-Bytes": "abc… (sha256 928f0857346b…)"}},
		},
		"young": {definition.Compare{IgnoreBody: true, MaxAge: model.Duration(time.Minute)}, result("HTTP/1.1 200 OK", true, [2]string{"age", "60"}), &Answer{Edge: "192.0.2.1", Status: 200}},
		"old":   {definition.Compare{IgnoreBody: true, MaxAge: model.Duration(time.Minute)}, result("HTTP/1.1 200 OK", true, [2]string{"age", " 250 "}), &Answer{Edge: "192.0.2.1", Status: 200, Age: 4 * time.Minute}},
		"junk":  {definition.Compare{IgnoreBody: true, MaxAge: model.Duration(time.Minute)}, result("HTTP/1.1 200 OK", true, [2]string{"Age", "-1"}), &Answer{Edge: "192.0.2.1", Status: 200}},
		"body":  {definition.Compare{}, result("HTTP/1.1 200 OK", true), &Answer{Edge: "192.0.2.1", Status: 200, Size: 3, SHA256: sha256.Sum256([]byte("new"))}},
	} {
		t.Run(name, func(t *testing.T) {
			got := AnswerOf(&test.rules, test.result)
			if !got.Equal(test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if got != nil && !got.Plain() {
				t.Error("another island would refuse it")
			}
		})
	}
}

func TestBehind(t *testing.T) {
	for _, test := range [][5]string{
		{"https://origin.example.com", "https://www.example.com/a?b=c", "", "https://origin.example.com/a?b=c", ""},
		{"https://origin.example.com/", "https://www.example.com/a?b=c", "", "https://origin.example.com/", ""},
		{"http://192.0.2.9:8080", "www.example.com:443/a%2Fb", "", "http://192.0.2.9:8080/a%2Fb", "www.example.com"},
		{"http://[2001:db8::9]/x", "https://198.51.100.1/a", "www.example.com", "http://[2001:db8::9]/x", "www.example.com"},
		{"http://192.0.2.9", "https://198.51.100.1", "", "http://192.0.2.9", ""},
		{"http://192.0.2.9", "https://%zz", "", "http://192.0.2.9", ""},
	} {
		if text, host := Behind(test[0], test[1], test[2]); text != test[3] || host != test[4] {
			t.Errorf("%s behind %s (%s): got %s as %q, want %s as %q", test[0], test[1], test[2], text, host, test[3], test[4])
		}
	}
}
