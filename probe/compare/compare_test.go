package compare

import (
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/probe/definition"
)

func answer(vantage, edge, body string, header ...string) Answer {
	a := Answer{Vantage: vantage, Edge: edge, Status: 200, Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body)), Header: map[string]string{}}
	for i := 0; i < len(header); i += 2 {
		a.Header[header[i]] = header[i+1]
	}
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
	long := answer("e", "", "x", "Etag", strings.Repeat("e", 500))
	for name, test := range map[string]struct {
		rules   definition.Compare
		origin  *Answer
		answers []Answer
		want    []string
	}{
		"all as the origin": {definition.Compare{}, &origin, []Answer{answer("a", "", "new"), answer("b", "", "new")}, nil},
		"an old copy on one edge": {
			definition.Compare{}, &origin,
			[]Answer{answer("tokyo-1", "203.0.113.7", "old!"), answer("osaka-1", "203.0.113.7", "old!"), answer("paris-1", "203.0.113.9", "new")},
			[]string{"body: osaka-1, tokyo-1 get 4 bytes (sha256 f28d6cfd0ebc…) from 203.0.113.7, want 3 bytes (sha256 11507a0e2f5e…)"},
		},
		"no origin: the most": {
			definition.Compare{IgnoreBody: true}, nil,
			[]Answer{answer("a", "", "1"), answer("b", "", "2"), broken},
			[]string{"status: osaka-1 get 502 from 203.0.113.7, want 200"},
		},
		"headers and age": {
			definition.Compare{IgnoreBody: true, Headers: []string{"Cache-Control"}, MaxAge: model.Duration(10 * time.Minute)}, &origin,
			[]Answer{answer("a", "", "", "Cache-Control", "no-store"), answer("b", "", "", "Age", "3600"), answer("c", "", "", "Age", "junk"), answer("d", "", "", "Age", "600")},
			[]string{`Cache-Control: a get "no-store", want none`, "age: b get 1h0m0s, want at most 10m0s"},
		},
		"no flood of words": {
			definition.Compare{IgnoreBody: true, Headers: []string{"Etag"}}, &origin,
			[]Answer{long, answer("a", "", "", "Etag", long.Header["Etag"]), answer("b", "", "", "Etag", long.Header["Etag"]), answer("c", "", "", "Etag", long.Header["Etag"]), answer("d", "", "", "Etag", long.Header["Etag"])},
			[]string{`Etag: a, b, c, d and 1 more get "` + strings.Repeat("e", 60) + `…", want none`},
		},
		"nobody answered": {definition.Compare{}, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) { // in any order
				rnd := rand.New(rand.NewPCG(seed, 0))
				rnd.Shuffle(len(test.answers), func(i, j int) { test.answers[i], test.answers[j] = test.answers[j], test.answers[i] })
				if diff := cmp.Diff(test.want, lines(Differences(test.rules, test.origin, test.answers))); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}
