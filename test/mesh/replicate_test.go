package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/replicate"
)

// stream has everything copied to a member of another region.
const stream = `
replicate:
  streams:
    - {name: buddy, buddy: auto, keep: 2h, delay: 1s}
`

// drip sends samples of some series to a site every second.
func drip(t *testing.T, to *site) (stop func()) {
	t.Helper()
	quit, client := make(chan struct{}), to.node.HTTPClient()
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 0; ; n++ {
			now := time.Now().UnixMilli()
			var all []prompb.TimeSeries
			for i := range 100 {
				all = append(all, prompb.TimeSeries{
					Labels:  []prompb.Label{{Name: "__name__", Value: "drops"}, {Name: "instance", Value: fmt.Sprint(i)}, {Name: "job", Value: "drip"}},
					Samples: []prompb.Sample{{Timestamp: now, Value: float64(n*i) / 8}},
				})
			}
			raw, err := (&prompb.WriteRequest{Timeseries: all}).Marshal()
			if err = errors.Join(err, (&feed{to: to}).send(client, snappy.Encode(nil, raw))); err != nil {
				t.Errorf("send to %s: %v", to.name, err)
			}
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		sending.Wait()
	}
}

// copies is what atoll copies says.
func (s *site) copies() (st replicate.Status, err error) {
	out, err := s.atoll("copies", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	return st, err
}

// drops are all samples of the drip from a time on, of one island.
func (s *site) drops(query url.Values, end time.Time) (points, globalAnswer, error) {
	query.Set("time", fmt.Sprintf("%.3f", float64(end.UnixMilli())/1000))
	a, err := s.everywhere("query", query)
	if err != nil {
		return nil, a, err
	}
	got, err := a.points()
	return got, a, err
}

// copied waits until a copy is as new as its origin was at a time.
func copied(t *testing.T, holder *site, since time.Time, within time.Duration) {
	t.Helper()
	eventually(t, within, "the copy at "+holder.name+" is up to date", func() error {
		st, err := holder.copies()
		if err != nil {
			return err
		}
		if len(st.Copies) != 1 || st.Copies[0].Newest < since.UnixMilli() {
			return fmt.Errorf("want one of %s: %s", since, show(st))
		}
		return nil
	})
}

// TestReplication copies an island's series to a buddy, over a cut of a minute;
// then the island is lost for good, and later dismissed, and its buddy answers.
func TestReplication(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	origin := newSite(t, l.Public("eu-1", lab.LinkOptions{Region: "eu"}), "eu").with(stream)
	neighbour := newSite(t, l.Public("eu-2", lab.LinkOptions{Region: "eu"}), "eu")
	buddy := newSite(t, l.Public("us-1", lab.LinkOptions{Region: "us"}), "us")
	allUp(origin, neighbour, buddy)
	found(t, neighbour, origin, buddy)
	meshed(t, origin, neighbour, buddy)

	stop := drip(t, origin)
	begun := time.Now()
	wait(t, 5*time.Second)
	copied(t, buddy, begun, 30*time.Second)
	origin.node.Link().Cut()
	wait(t, time.Minute)
	origin.node.Link().Heal()
	healed := time.Now()
	copied(t, buddy, healed, time.Minute)
	stop()
	copied(t, buddy, time.Now().Add(-time.Second), 30*time.Second)

	end := time.Now()
	raw := func() url.Values { return url.Values{"query": {`drops{island="eu-1"}[5m]`}} }
	want, _, err := neighbour.drops(raw(), end)
	if err != nil || len(want) < 6000 {
		t.Fatalf("%d samples at the origin: %v", len(want), err)
	}
	if own, err := buddy.port("/api/v1/query?query=count(drops)"); err != nil || strings.Contains(string(own), `"value"`) {
		t.Errorf("the copy is among the buddy's own series: %v %s", err, own)
	}
	origin.kill()
	for _, s := range []*site{neighbour, buddy} {
		fromCopy(t, s, raw(), end, want, "us-1")
	}
	if a, err := neighbour.everywhere("query", url.Values{"query": {"sum(drops)"}, "partial": {"deny"}}); err != nil || !strings.Contains(a.Error, `"eu-1"`) {
		t.Errorf("a copy answered though that is denied: %v %s", err, show(a))
	}
	if out := buddy.must("copies"); !strings.Contains(out, "eu-1") || !strings.Contains(out, "waiting") {
		t.Errorf("atoll copies: %s", out)
	}
	neighbour.must("revoke", "eu-1")
	eventually(t, 30*time.Second, "the dismissal is known", func() error {
		st, err := buddy.copies()
		if err == nil && (len(st.Copies) != 1 || st.Copies[0].Leaves == nil) {
			err = errors.New(show(st))
		}
		return err
	})
	for _, s := range []*site{neighbour, buddy} {
		fromCopy(t, s, raw(), end, want, "us-1")
	}
}

// fromCopy asks until a copy answers, and compares it with what the origin had.
func fromCopy(t *testing.T, s *site, query url.Values, end time.Time, want points, holder string) {
	t.Helper()
	eventually(t, 30*time.Second, s.name+" has the answer of the copy", func() error {
		got, a, err := s.drops(maps.Clone(query), end)
		if err != nil {
			return err
		}
		for _, i := range a.Receipt.Islands {
			if i.Name == "eu-1" && (i.From != holder || i.State != "answered") {
				return errors.New(show(a.Receipt))
			}
		}
		if !slices.ContainsFunc(a.Warnings, func(w string) bool { return strings.Contains(w, `answered for it from a copy`) }) {
			return fmt.Errorf("no warning: %v", a.Warnings)
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("%d samples, want %d; %s", len(got), len(want), show(a.Receipt))
		}
		return nil
	})
}
