package collect

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// TestMalformedExposition answers a scrape with good lines before a bad one:
// none of them is kept, the target is down and says why.
func TestMalformedExposition(t *testing.T) {
	f := startDoc(t, doc(
		staticJob("broken", target(t, "good 1\ngood{a=\"b\"} 2\nbad{ 3\n"))+
			staticJob("sound", target(t, "sound 1\n"))))
	eventually(t, "the sound target is up", func() bool { return f.rec.up("sound") })
	eventually(t, "the broken target is down", func() bool {
		return len(f.rec.find(`__name__="up"`, `job="broken"`)) == 1 && !f.rec.up("broken")
	})
	if kept := f.rec.find(`__name__="good"`); len(kept) > 0 {
		t.Errorf("half of a malformed answer was kept: %v", kept)
	}
	if err := f.ScrapeManager().TargetsActive()["broken"][0].LastError(); err == nil {
		t.Error("the target does not say what was wrong")
	}
}

// TestScrapeLimits refuses answers that no exporter gives, as a whole, unless
// the job says otherwise.
func TestScrapeLimits(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	text := "m{l=\"" + long + "\"} 1\n"
	own := doc(staticJob("long", target(t, text)) + staticJob("short", target(t, "m 1\n")) +
		strings.Replace(staticJob("allowed", target(t, text)), "  static", "  label_value_length_limit: 100000\n  static", 1) +
		staticJob("large", target(t, strings.Repeat("m 1\n", 50_000))))
	o, rec, reg := options(t, own)
	o.Config.Scrape.MaxBodyBytes = 100_000
	f := start(t, o, rec, reg)
	eventually(t, "what is within its limits is up", func() bool { return rec.up("short") && rec.up("allowed") })
	eventually(t, "the others answered", func() bool { return len(rec.find(`__name__="up"`)) == 4 })
	if rec.up("long") {
		t.Error("a label value of 70,000 bytes was taken")
	}
	if rec.up("large") {
		t.Error("an answer of 200,000 bytes was taken")
	}
	if got := o.Prometheus.ScrapeConfigs[0].LabelValueLengthLimit; got != 0 {
		t.Errorf("the user's own document now has label_value_length_limit %d", got)
	}
	f.stop()
}

// FuzzExposition reads what a hostile target may send in each of the formats
// that are asked for.
func FuzzExposition(f *testing.F) {
	for _, seed := range []string{
		"# TYPE a counter\na_total{l=\"v\"} 1 1700000000000\n",
		"# HELP a b\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n# EOF\n",
		"{\"with space\", l=\"\\\"\"} NaN\n", "a{l=\"", "\x00", "a 1 # {trace_id=\"x\"} 1\n# EOF\n",
	} {
		f.Add(seed, uint8(0))
		f.Add(seed, uint8(1))
	}
	f.Add("\x0a\x0a\x01a\x18\x00\x22\x04\x1a\x02\x08\x01", uint8(2))
	types := []string{
		"text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0",
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
	}
	f.Fuzz(func(t *testing.T, body string, kind uint8) {
		p, err := textparse.New([]byte(body), types[int(kind)%len(types)], labels.NewSymbolTable(), textparse.ParserOptions{})
		if err != nil {
			return
		}
		var ls labels.Labels
		for range len(body) + 8 {
			entry, err := p.Next()
			if err != nil {
				return // io.EOF, or a reason to refuse the answer
			}
			if entry == textparse.EntrySeries || entry == textparse.EntryHistogram {
				p.Labels(&ls)
			}
		}
		t.Fatalf("%d bytes gave more entries than bytes", len(body))
	})
}
