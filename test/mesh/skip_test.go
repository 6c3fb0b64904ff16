package mesh

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/lab"
)

// TestSkipped has islands that cannot have what is asked for left out of questions,
// by their labels and by the time; the receipt says which and why. One that may yet
// get old samples is asked.
func TestSkipped(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	var sites []*site
	for _, name := range []string{"eu-1", "us-1", "ap-1"} {
		sites = append(sites, newSite(t, l.Public(name, lab.LinkOptions{Delay: 5 * time.Millisecond}), name[:2]))
	}
	eu, us := sites[0], sites[1]
	us.with("store: {out_of_order_window: 200h}")
	allUp(sites...)
	found(t, eu, sites[1:]...)
	meshed(t, sites...)
	m := fill(t, sites...)
	asks := func(path, expr string, at time.Time) globalAnswer {
		t.Helper()
		a, err := eu.within(deadline, stalls, path, url.Values{"query": {expr}, "match[]": {expr}, "time": {fmt.Sprint(at.Unix())}})
		if err != nil || a.Status != "success" || a.Receipt.Partial || len(a.Warnings) > 0 {
			t.Fatalf("%s: %v %s", expr, err, show(a))
		}
		return a
	}
	// skips asks until the receipt says this, each time after all have promised anew.
	skips := func(path, expr string, at time.Time, want ...string) (a globalAnswer) {
		t.Helper()
		eventually(t, time.Minute, expr+" is asked of those who may know", func() error {
			asks("query", "sum(load)", m.end)
			a = asks(path, expr, at)
			var got []string
			for _, i := range a.Receipt.Islands {
				why, _, _ := strings.Cut(i.Why, " at ")
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", i.Name, i.State, why)))
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		})
		return a
	}
	const ofUS, labels, begins = `load{region="us"}`, `its labels do not match region="us"`, "its data begins"
	got, bad := skips("query", ofUS, m.end, "ap-1 skipped "+labels, "eu-1 skipped "+labels, "us-1 answered").points()
	truth, err := m.answer(ofUS, m.end)
	if err = errors.Join(err, bad, truth.differ(got)); err != nil {
		t.Error(err)
	}
	skips("series", ofUS, m.end, "ap-1 skipped "+labels, "eu-1 skipped "+labels, "us-1 answered")

	past := m.end.Add(-72 * time.Hour)
	skips("query", "sum(late)", past, "ap-1 skipped "+begins, "eu-1 skipped "+begins, "us-1 answered")
	raw, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: "late"}}, Samples: []prompb.Sample{{Timestamp: past.UnixMilli(), Value: 7}},
	}}}).Marshal()
	if err = errors.Join(err, (&feed{to: us}).send(us.node.HTTPClient(), snappy.Encode(nil, raw))); err != nil {
		t.Fatal(err)
	}
	if a := asks("query", "sum(late)", past); !strings.Contains(string(a.Data), `"7"`) {
		t.Errorf("a sample that came late is not there at once: %s", show(a))
	}
}
