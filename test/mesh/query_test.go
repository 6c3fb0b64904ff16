package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/query/global"
)

// deadline is how long each island has; an answer must be there a second later.
const deadline = 4 * time.Second

// history is what island n scraped in the minutes before end, as remote write sends it.
// No two values of depth are equal at any time: which of those topk picks is open.
func history(n int, name string, end time.Time) (all []prompb.TimeSeries) {
	add := func(value func(k int) int, ls ...string) {
		s := prompb.TimeSeries{}
		labels.FromStrings(append(ls, "rack", "rack-of-"+name)...).Range(func(l labels.Label) {
			s.Labels = append(s.Labels, prompb.Label{Name: l.Name, Value: l.Value})
		})
		for k := range 24 {
			s.Samples = append(s.Samples, prompb.Sample{Timestamp: end.UnixMilli() + int64(k-23)*10_000, Value: float64(value(k)) / 7})
		}
		all = append(all, s)
	}
	for i, job := range []string{"api", "web"} {
		for pod := range 3 {
			of, speed := []string{"job", job, "instance", fmt.Sprint("pod-", pod), "__name__"}, 1+n+i+pod
			add(func(k int) int { return speed + k/4 }, append(of, "load")...)
			add(func(k int) int { return speed * ((k + 1) % (30 - 5*n)) }, append(of, "requests_total")...) // some begin anew
			add(func(k int) int { return 1000*((n+k)%5) + 100*n + 10*i + pod }, append(of, "depth")...)
		}
		add(func(int) int { return 50 + n + i }, "__name__", "room", "job", job)
		for b, le := range []string{"0.1", "0.5", "1", "+Inf"} {
			add(func(k int) int { return k * (b + 1) * (b + 1 + n%3) }, "__name__", "took_bucket", "job", job, "le", le)
		}
	}
	add(func(k int) int { return k }, "__name__", "tagged", "island", "elsewhere")
	return all
}

// expressions are questions about histories, taken apart in every way there is.
var expressions = []string{
	`sum(load)`, `avg(load)`, `topk(3, depth)`, `absent(nothing)`, `tagged`, `count by (island) (depth)`,
	`sum by (job) (rate(requests_total[1m]))`,
	`histogram_quantile(0.9, sum by (le) (rate(took_bucket[1m])))`,
	`depth / on (island, job) group_left () room`,
	`max by (region) (max_over_time(depth[1m])) > bool on () group_left () avg(depth)`,
}

// globalAnswer is what the API says about all islands.
type globalAnswer struct {
	Status, Error string
	Warnings      []string
	Data          json.RawMessage
	Receipt       *global.Receipt
}

// everywhere asks about all islands.
func (s *site) everywhere(path string, form url.Values) (globalAnswer, error) {
	return s.within(deadline, time.Second, path, form)
}

// within gives each island so long, and the answer a while more.
func (s *site) within(each, more time.Duration, path string, form url.Values) (a globalAnswer, err error) {
	form.Set("scope", "all")
	form.Set("deadline", each.String())
	client := &http.Client{Transport: &http.Transport{DialContext: s.node.Dial, DisableKeepAlives: true}, Timeout: each + more}
	resp, err := client.Get("http://127.0.0.1:59080/api/v1/" + path + "?" + form.Encode())
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if err = json.NewDecoder(resp.Body).Decode(&a); err == nil && a.Receipt == nil {
		err = fmt.Errorf("no receipt: %s %s", resp.Status, show(a))
	}
	return a, err
}

// points are values by series and time.
type points map[string]float64

func pointKey(ls labels.Labels, ms int64) string { return fmt.Sprintf("%s at %d", ls, ms) }

func (a globalAnswer) points() (points, error) {
	var data struct {
		Result []struct {
			Metric labels.Labels
			Value  *model.SamplePair
			Values []model.SamplePair
		}
	}
	err := json.Unmarshal(a.Data, &data)
	got := points{}
	for _, r := range data.Result {
		if r.Value != nil {
			r.Values = append(r.Values, *r.Value)
		}
		for _, v := range r.Values {
			got[pointKey(r.Metric, int64(v.Timestamp))] = float64(v.Value)
		}
	}
	return got, err
}

// differ tells of more than the order of additions explains. Nothing is never right.
func (p points) differ(got points) error {
	same := len(p) > 0 && len(got) == len(p)
	for key, want := range p {
		v, ok := got[key]
		same = same && ok && math.Abs(v-want) <= 1e-9*math.Abs(want)
	}
	if !same {
		return fmt.Errorf("got %v, want %v", got, p)
	}
	return nil
}

// merged is one Prometheus with the histories of islands, labelled as at their borders.
type merged struct {
	*teststorage.TestStorage
	engine         *promql.Engine
	end            time.Time
	names, missing []string // of all islands, and of those it has nothing of
}

func merge(t *testing.T, end time.Time, names []string, missing ...string) *merged {
	m := &merged{teststorage.New(t), promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{}),
	}), end, names, missing}
	slices.Sort(missing)
	app, errs := m.Appender(t.Context()), []error(nil)
	for n, name := range names {
		if slices.Contains(missing, name) {
			continue
		}
		for _, series := range history(n, name, end) {
			b := labels.NewBuilder(labels.FromStrings("island", name, "region", name[:2]))
			for _, l := range series.Labels {
				b.Set(strings.Replace(l.Name, "island", "exported_island", 1), l.Value)
			}
			for _, v := range series.Samples {
				_, err := app.Append(0, b.Labels(), v.Timestamp, v.Value)
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(append(errs, app.Commit())...); err != nil {
		t.Fatal(err)
	}
	return m
}

// answer is what is right from a time on.
func (m *merged) answer(expr string, begin time.Time) (points, error) {
	query, err := m.engine.NewRangeQuery(context.Background(), m, nil, expr, begin, m.end, 30*time.Second)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	matrix, err := query.Exec(context.Background()).Matrix()
	want := points{}
	for _, s := range matrix {
		for _, p := range s.Floats {
			want[pointKey(s.Metric, p.T)] = p.F
		}
	}
	return want, err
}

// right asks for expressions at the end and over minutes: answers are those of one
// engine; in the receipt those are missing who must be, and warnings name them.
func (m *merged) right(s *site, expressions ...string) error {
	unix := func(at time.Time) []string { return []string{fmt.Sprint(at.Unix())} }
	for _, expr := range expressions {
		for path, begin := range map[string]time.Time{"query": m.end, "query_range": m.end.Add(-2 * time.Minute)} {
			a, err := s.everywhere(path, url.Values{"query": {expr}, "time": unix(m.end), "start": unix(begin), "end": unix(m.end), "step": {"30s"}})
			if err == nil {
				err = m.check(a, expr, begin)
			}
			if err != nil {
				return fmt.Errorf("%s of %s: %w; %s", path, expr, err, show(a))
			}
		}
	}
	return nil
}

func (m *merged) check(a globalAnswer, expr string, begin time.Time) error {
	states := map[global.State][]string{}
	for _, i := range a.Receipt.Islands {
		states[i.State] = append(states[i.State], i.Name)
		if i.State == global.StateFailed && !strings.Contains(strings.Join(a.Warnings, ";"), fmt.Sprintf("island %q is missing", i.Name)) {
			return fmt.Errorf("no warning names %s", i.Name)
		}
	}
	if !slices.Equal(states[global.StateFailed], m.missing) || len(states[global.StateAnswered])+len(m.missing) != len(m.names) ||
		a.Receipt.Rounds != 1 || a.Receipt.Partial != (len(m.missing) > 0) {
		return fmt.Errorf("of %v must answer in one round all but %v", m.names, m.missing)
	}
	want, err := m.answer(expr, begin)
	got, bad := a.points()
	return errors.Join(err, bad, want.differ(got))
}

// lists compares what is listed of all islands.
func (m *merged) lists(s *site) error {
	for path, want := range map[string][]string{"labels": {"__name__", "instance", "island", "job", "rack", "region"}, "label/island/values": slices.Sorted(slices.Values(m.names))} {
		var got []string
		if a, err := s.everywhere(path, url.Values{"match[]": {"depth"}}); err != nil || json.Unmarshal(a.Data, &got) != nil || !slices.Equal(got, want) {
			return fmt.Errorf("%s: %w %s", path, err, show(a))
		}
	}
	series, got := []labels.Labels{}, points{}
	want, err := m.answer("depth * 0", m.end)
	a, failed := s.everywhere("series", url.Values{"match[]": {"depth"}})
	if err = errors.Join(err, failed); err == nil {
		err = json.Unmarshal(a.Data, &series)
	}
	for _, ls := range series {
		got[pointKey(ls.DropReserved(func(n string) bool { return n == labels.MetricName }), m.end.UnixMilli())] = 0
	}
	return errors.Join(err, want.differ(got))
}

// every has islands do something at the same time.
func every(t *testing.T, sites []*site, do func(*site) error) {
	t.Helper()
	each(len(sites), len(sites), func(n int) {
		if err := do(sites[n]); err != nil {
			t.Errorf("%s: %v", sites[n].name, err)
		}
	})
}

// TestGlobalQuery asks six islands of three regions, most behind NATs, about all of
// them, while they are well, while one is dead, and while one more is cut off.
func TestGlobalQuery(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	sites, names := []*site{}, []string{}
	for _, node := range append(lab.ThreeRegions(l).All, l.Public("eu-3", lab.LinkOptions{Region: "eu"})) {
		sites, names = append(sites, newSite(t, node, node.Name()[:2])), append(names, node.Name())
	}
	allUp(sites...)
	found(t, sites[0], sites[1:6]...)
	sites[6].join(sites[0].invite("eu", "--role", "vantage"))
	meshed(t, sites...)
	vantage, sites, names := sites[6], sites[:6], names[:6:6]
	m := fill(t, sites...)
	every(t, sites, func(s *site) error { return errors.Join(m.lists(s), m.right(s, expressions...)) })
	out, err := sites[5].node.Command(t.Context(), binary, "query", "--scope", "all", "--receipt", "--time", m.end.Format(time.RFC3339), "count(depth)").CombinedOutput()
	for _, want := range append(names, "ISLAND", "answered", "evaluated there:  count(depth)", "36") {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("the command says no %q: %v\n%s", want, err, out)
		}
	}
	said := func(s *site, form url.Values, word string, times int) {
		t.Helper()
		a, err := s.everywhere("query", form)
		if err != nil || strings.Count(a.Error+strings.Join(a.Warnings, ";"), word) != times {
			t.Errorf("want %d times %q: %v %s", times, word, err, show(a))
		}
	}
	said(vantage, url.Values{"query": {"sum(load)"}}, "no policy permits eu-3 (vantage) to read", len(names))
	dead, off := sites[2], sites[4] // neither is a relay: those are public
	dead.kill()
	without := merge(t, m.end, names, dead.name)
	every(t, slices.Concat(sites[:2], sites[3:]), func(s *site) error { return without.right(s, "sum(load)") })
	said(sites[0], url.Values{"query": {"sum(load)"}, "partial": {"deny"}}, `denied and islands are missing: "us-1"`, 1)
	said(sites[0], url.Values{"query": {`absent(up{island="us-1"})`}}, "absent() was decided without islands us-1", 1)
	off.node.Link().Cut()
	most, alone := merge(t, m.end, names, dead.name, off.name), merge(t, m.end, names, slices.Concat(names[:4], names[5:])...)
	every(t, slices.Concat(sites[:2], sites[3:]), func(s *site) error {
		if s == off {
			return alone.right(s, "sum(load)")
		}
		return most.right(s, "topk(3, depth)")
	})
}
