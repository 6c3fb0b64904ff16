package aggregate

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/sink"
)

func withKafka(t *testing.T) (c sink.Config) {
	t.Helper()
	if err := yaml.Unmarshal([]byte("kafka: [{name: k, brokers: ['127.0.0.1:1'], topic: t}]"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPrepareRefuses(t *testing.T) {
	r := newRig(t, mixed, newMemory())
	for _, tc := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Store = false }, "aggregate.store: cannot change while running: is true, would be false"},
		{func(c *Config) { c.CheckpointInterval = model.Duration(time.Minute) }, "aggregate.checkpoint_interval: cannot change while running: is 30s, would be 1m"},
		{func(c *Config) { c.JournalSize = 2 << 30 }, "aggregate.journal_size: cannot change while running: is 1GiB, would be 2GiB"},
		{func(c *Config) { c.Pending = 5 }, "aggregate.pending_samples: cannot change while running: is 1000000, would be 5"},
		{func(c *Config) { c.Pending = -1 }, "pending_samples: -1: must not be negative"},
	} {
		c := Default()
		tc.change(&c)
		commit, discard, err := r.Prepare(c, loadRules(t, mixed))
		if err == nil || !strings.Contains(err.Error(), tc.want) || commit != nil || discard != nil {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

// TestReloadInMidWindow: rules that did not change go on, discard changes nothing.
func TestReloadInMidWindow(t *testing.T) {
	m, out := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	c := newClient(t, r.Appendable(m))
	c.send(10, 1, series("kept", "a"), series("dropped", "a"))
	_, discard, err := r.Prepare(Default(), loadRules(t, swapped))
	if err != nil {
		t.Fatal(err)
	}
	discard()
	c.send(20, 1, series("kept", "a"), series("dropped", "a"))
	// The first rule stays, the second has another interval, and one is added.
	r.reloaded(`
rules:
- {interval: 1m, match: added, outputs: [count_samples]}
- {interval: 1m, match: kept, without: [instance], outputs: [count_samples, sum_samples]}
- {interval: 30s, match: dropped, without: [instance], outputs: [count_samples], keep_input: false}
`)
	c.send(50, 1, series("kept", "a"), series("dropped", "a"), series("added", "a"))
	r.finish(60)
	equal(t, "aggregated", out.all(), map[string]string{
		keptCount: "3", keptSum: "3",
		`{__name__="dropped:30s_without_instance_count_samples", job="j"}`: "1",
		`{__name__="added:1m_count_samples", instance="a", job="j"}`:       "1",
	})
	equal(t, "stored", m.all(), map[string]string{keptA: "1 1 1", `{__name__="added", instance="a", job="j"}`: "1"})
}

// Rules that the engine refuses change nothing at all.
func TestReloadOfImpossibleRules(t *testing.T) {
	m, out := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	c := newClient(t, r.Appendable(m))
	c.send(10, 1, series("dropped", "a"))
	commit, _, err := r.Prepare(Default(), &rule.Set{Rules: []*rule.Rule{{Name: "of no interval"}}})
	if err != nil {
		t.Fatal(err)
	}
	commit()
	c.send(20, 1, series("dropped", "a"))
	r.finish(60)
	equal(t, "aggregated", out.all(), map[string]string{droppedCount: "2", droppedSum: "2"})
}

func TestPrepareWithoutRules(t *testing.T) {
	r := newRig(t, mixed, newMemory())
	commit, _, err := r.Prepare(Default(), nil)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if !r.engine.Idle() {
		t.Error("rules are in force after a reload without")
	}
}

// Outputs that come and go leave the others as they are. One that comes begins with the
// first window that is whole, at zero where it adds up.
func TestReloadOfOutputs(t *testing.T) {
	outputs := func(list string) string {
		return "- {interval: 1m, match: kept, without: [instance], keep_input: false, distribute: false, outputs: [" + list + "]}\n"
	}
	out := newMemory()
	r := newRig(t, outputs("total, sum_samples_total"), out)
	c := newClient(t, r.Appendable(newMemory()))
	c.send(10, 100, series("kept", "a"))
	c.send(20, 110, series("kept", "a"))
	r.reloaded(outputs("total, max"))
	c.send(50, 150, series("kept", "a"))
	r.finish(60)
	c.send(70, 160, series("kept", "a"))
	c.send(110, 200, series("kept", "a"))
	r.finish(120)
	r.reloaded(outputs("total, sum_samples_total"))
	c.send(130, 205, series("kept", "a"))
	r.finish(180)
	equal(t, "aggregated", out.all(), map[string]string{
		`{__name__="kept:1m_without_instance_total", job="j"}`:             "50 100 105",
		`{__name__="kept:1m_without_instance_max", job="j"}`:               "200",
		`{__name__="kept:1m_without_instance_sum_samples_total", job="j"}`: "205",
	})
}
