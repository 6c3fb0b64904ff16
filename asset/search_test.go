package asset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/health"
)

func source(items ...Item) Source {
	return Source{Name: "test", List: func(_ context.Context, yield func(*Item)) error {
		for i := range items {
			yield(&items[i])
		}
		return nil
	}}
}

// inventory has listed its sources once.
func inventory(t testing.TB, o Options) *Inventory {
	t.Helper()
	if o.Island == nil {
		o.Island = func() string { return "paris" }
	}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range o.Sources {
		v.refresh(t.Context(), i)
	}
	return v
}

func parse(t testing.TB, text string) Query {
	t.Helper()
	q, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return q
}

var small = []Item{
	{Kind: KindHost, Name: "web-1", Ref: "10.1.2.3:9100", State: "up", Summary: "Debian 13 x86_64", Labels: labels.FromStrings("instance", "10.1.2.3:9100", "region", "eu-west-1", "team", "Shop")},
	{Kind: KindHost, Name: "web-11", State: "up", Labels: labels.FromStrings("instance", "10.1.20.3:9100", "region", "eu-central-1", "team", "shop")},
	{Kind: KindHost, Name: "db-1", State: "down", Labels: labels.FromStrings("instance", "10.2.0.9:9100", "region", "us-east-1")},
	{Kind: KindTarget, Name: "10.1.2.3:9100", State: "up", Labels: labels.FromStrings("job", "node"), More: labels.FromStrings("__meta_ec2_region", "eu-west-1", "__meta_ec2_tag_business", "支付")},
	{Kind: KindMetric, Name: "node_cpu_seconds_total", Common: true, Summary: "Seconds the CPUs spent in each mode."},
	{Kind: KindMetric, Name: "job:http_requests:rate5m", Common: true},
	{Kind: KindAlert, Name: "HostDown", Ref: "00ff", State: "firing", Labels: labels.FromStrings("severity", "critical")},
	{Kind: KindDocument, Name: "rules/web", Common: true},
	{Kind: KindIsland, Name: "paris", Common: true},
	{Kind: KindProbeTarget, Name: "https://shop.example/", Ref: "shop", State: "up"},
}

func names(items []Found) (out []string) {
	for _, f := range items {
		out = append(out, f.Name)
	}
	return out
}

func TestSearch(t *testing.T) {
	v := inventory(t, Options{Sources: []Source{source(small[:4]...), source(small[4:]...)}})
	for text, want := range map[string][]string{
		"web-1":                    {"web-1", "web-11"}, // whole before beginning
		"WEB-1 team:shop":          {"web-1", "web-11"},
		"web":                      {"web-1", "web-11", "rules/web"},
		"10.1.2":                   {"web-1", "web-11", "10.1.2.3:9100"},
		"10.1.2.3":                 {"web-1", "10.1.2.3:9100"},
		"10.1.2.0/24":              {"web-1", "10.1.2.3:9100"},
		"10.1.9.9/16":              {"web-1", "web-11", "10.1.2.3:9100"},
		"instance:10.2.0.0/16":     {"db-1"},
		"region:eu kind:host":      {"web-1", "web-11"},
		"region:eu":                {"web-1", "web-11", "10.1.2.3:9100"},
		"region:shop":              nil,
		"kind:host":                {"db-1", "web-1", "web-11"},
		"kind:ho db":               {"db-1"},
		"eu web-11":                {"web-11"},
		"支付":                       {"10.1.2.3:9100"},
		"cpus seconds":             {"node_cpu_seconds_total"},
		`"CPUs spent"`:             {"node_cpu_seconds_total"},
		"cpu_sec":                  {"node_cpu_seconds_total"},
		"job:http_requests:rate5m": {"job:http_requests:rate5m"},
		"job:node":                 {"10.1.2.3:9100"},
		"hostdwon":                 {"HostDown"}, // swapped
		"hostdon":                  {"HostDown"}, // missing
		"hostdoown":                {"HostDown"}, // too much
		"node_cpu_secnods_total":   {"node_cpu_seconds_total"},
		"http_reqests:rate5m":      {"job:http_requests:rate5m"},
		"wbe-11":                   {"web-11"},
		"web reg":                  {"web-1", "web-11"}, // about to be region:
		"web-1 region:":            {"web-1", "web-11"},
		"debain":                   {"web-1"},
		"firing":                   {"HostDown"},
		"state:down":               {"db-1"},
		"https://shop":             {"https://shop.example/"},
		"island:par kind:host":     {"db-1", "web-1", "web-11"},
		"island:rome kind:host":    nil,
		"nothing-like-it":          nil,
		"web-1 nothing-like-it":    nil,
		"web-1 firing":             nil,
	} {
		got := v.Search(parse(t, text), 10)
		if have := names(got.Items); !slices.Equal(have, want) {
			t.Errorf("%q: found %q, want %q", text, have, want)
		}
		total := 0
		for _, n := range got.Counts {
			total += n
		}
		if total != len(want) {
			t.Errorf("%q: counts %v", text, got.Counts)
		}
	}
}

func TestFound(t *testing.T) {
	v := inventory(t, Options{Sources: []Source{source(small...)}})
	f := v.Search(parse(t, "10.1.2.3 region:eu kind:host"), 1).Items[0]
	if f.Kind != "host" || f.Island != "paris" || f.State != "up" || f.Summary != "Debian 13 x86_64" || f.Labels["team"] != "Shop" || f.Href != "/hosts/10.1.2.3:9100" {
		t.Errorf("found %+v", f)
	}
	if !slices.Equal(f.Match, []Match{{"instance", "10.1.2.3:9100"}, {"region", "eu-west-1"}}) {
		t.Errorf("matched in %+v", f.Match)
	}
	target := v.Search(parse(t, "kind:target"), 1).Items[0]
	if target.Labels["__meta_ec2_region"] != "" || target.Discovered != nil {
		t.Errorf("a search shows discovered labels: %+v", target)
	}
	id, ok := parseID(target.ID)
	full, found := v.Get(id)
	if !ok || !found || full.Discovered["__meta_ec2_tag_business"] != "支付" || full.Labels["job"] != "node" {
		t.Errorf("in full: %+v", full)
	}
	for name, want := range map[string]string{
		"HostDown": "/alerts/00ff", "rules/web": "/settings/documents/rules/web", "job:http_requests:rate5m": "/explore?expr=job%3Ahttp_requests%3Arate5m",
		"https://shop.example/": "/probes/shop?target=https%3A%2F%2Fshop.example%2F", "10.1.2.3:9100": "/explore?expr=up%7Bjob%3D%22node%22%7D", "paris": "/islands/paris",
	} {
		i := slices.IndexFunc(v.Search(Query{}, 50).Items, func(f Found) bool { return f.Name == name })
		if got := v.Search(Query{}, 50).Items[i].Href; got != want {
			t.Errorf("%s is at %s, want %s", name, got, want)
		}
	}
	if got := href(KindMetric, `weird "name"`, "", nil); got != "/explore?expr=%7B%22weird+%5C%22name%5C%22%22%7D" {
		t.Errorf("a name that is no word in PromQL: %s", got)
	}
}

// TestShare: many of one kind do not hide the few of another.
func TestShare(t *testing.T) {
	var many []Item
	for i := range 500 {
		many = append(many, Item{Kind: KindTarget, Name: fmt.Sprintf("shop-%d", i)})
	}
	many = append(many, Item{Kind: KindMetric, Name: "requests_shop"}, Item{Kind: KindDocument, Name: "rules/my-shop"})
	v := inventory(t, Options{Sources: []Source{source(many...)}})
	got := v.Search(parse(t, "shop"), 10)
	if len(got.Items) != 10 || got.Counts["target"] != 500 || !slices.Contains(names(got.Items), "requests_shop") || !slices.Contains(names(got.Items), "rules/my-shop") {
		t.Errorf("found %q of %v", names(got.Items), got.Counts)
	}
	if got.Items[0].Name != "shop-0" {
		t.Errorf("first is %s", got.Items[0].Name)
	}
}

func TestList(t *testing.T) {
	var many []Item
	for i := range 25 {
		many = append(many, Item{Kind: KindTarget, Name: fmt.Sprintf("t%02d", i), State: "up"}, Item{Kind: KindHost, Name: fmt.Sprintf("h%02d", i)})
	}
	v := inventory(t, Options{Sources: []Source{source(many...)}})
	var all []string
	for offset := 0; ; {
		p := v.List(parse(t, "kind:target state:up"), offset, 10)
		if p.Total != 25 {
			t.Fatalf("page at %d: of %d", offset, p.Total)
		}
		all = append(all, names(p.Items)...)
		if offset = p.NextOffset; offset == 0 {
			break
		}
	}
	if len(all) != 25 || !slices.IsSorted(all) {
		t.Errorf("listed %q", all)
	}
	if p := v.List(Query{}, 1000, 10); p.Total != 50 || len(p.Items) != 0 || p.NextOffset != 0 {
		t.Errorf("beyond the end: %+v", p)
	}
}

func TestRefresh(t *testing.T) {
	reg := prometheus.NewRegistry()
	warnings := health.New(nil)
	items := []Item{{Kind: KindHost, Name: "one"}, {Kind: KindHost, Name: "two"}}
	var fails error
	v := inventory(t, Options{MaxResources: 3, Registerer: reg, Health: warnings, Sources: []Source{{Name: "s", List: func(_ context.Context, yield func(*Item)) error {
		for i := range items {
			yield(&items[i])
		}
		return fails
	}}}})
	before := v.all()[0]
	slices.Reverse(items) // the order says nothing
	v.refresh(t.Context(), 0)
	if v.all()[0] != before {
		t.Error("built again although nothing changed")
	}
	fails = errors.New("boom")
	items = items[:1]
	v.refresh(t.Context(), 0)
	if n := v.Search(Query{}, 9).Counts["host"]; n != 2 {
		t.Errorf("a source that fails has %d hosts, want the 2 from before", n)
	}
	fails = nil
	for i := range 9 {
		items = append(items, Item{Kind: KindHost, Name: fmt.Sprint(i)})
	}
	v.refresh(t.Context(), 0)
	full := v.all()[0]
	v.refresh(t.Context(), 0)
	if v.all()[0] != full || len(full.ids) != 3 || len(warnings.Active()) != 1 {
		t.Errorf("%d resources, warnings %v", len(full.ids), warnings.Active())
	}
	items = items[:1]
	v.refresh(t.Context(), 0)
	if len(warnings.Active()) != 0 {
		t.Errorf("there is room again: %v", warnings.Active())
	}
	want := `
# HELP atoll_asset_listings_total Times that a source was listed, by what came of it.
# TYPE atoll_asset_listings_total counter
atoll_asset_listings_total{result="changed",source="s"} 3
atoll_asset_listings_total{result="failed",source="s"} 1
atoll_asset_listings_total{result="same",source="s"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "atoll_asset_listings_total"); err != nil {
		t.Error(err)
	}
}

// TestBounds: a source cannot make the inventory break or grow beyond its bounds.
func TestBounds(t *testing.T) {
	many := labels.NewScratchBuilder(0)
	for i := range 500 {
		many.Add(fmt.Sprintf("l%03d", i), "v")
	}
	many.Sort()
	v := inventory(t, Options{Sources: []Source{source(
		Item{Kind: KindHost, Name: strings.Repeat("é", 500), Labels: many.Labels()},
		Item{Kind: KindHost, Name: "a\nb", Summary: "bad \xff text"},
		Item{Kind: KindHost},
	)}})
	p := v.List(Query{}, 0, 10)
	if p.Total != 3 || len(p.Items[2].Name) != maxText || len(p.Items[2].Labels) != MaxShown {
		t.Errorf("listed %+v", p)
	}
	if got := names(v.Search(parse(t, `"a b" bad`), 5).Items); !slices.Equal(got, []string{"a b"}) {
		t.Errorf("found %q", got)
	}
}

// TestIDs are the same on every island for what is common, and after every start.
func TestIDs(t *testing.T) {
	id := func(island string, it Item) string { return formatID(it.id(island)) }
	metric, host := Item{Kind: KindMetric, Name: "up", Common: true}, Item{Kind: KindHost, Name: "up"}
	if id("a", metric) != id("b", metric) || id("a", host) == id("b", host) {
		t.Error("ids are not what they should be")
	}
	if got := id("a", metric); got != "c9e0a991974831ac" {
		t.Errorf("id %q", got)
	}
}
