package alert

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	alertapi "github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/alert/global"
)

// notebook is what all primaries know of what was told.
type notebook struct {
	mu   sync.Mutex
	told map[string]global.Told
}

func (n *notebook) key(group string, alert uint64, receiver, aggregation string) string {
	return fmt.Sprint(group, alert, receiver, aggregation)
}

func (n *notebook) Told(group string, alert uint64, firedAt int64, receiver, aggregation string) (global.Told, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, ok := n.told[n.key(group, alert, receiver, aggregation)]
	return t, ok && t.Fired >= firedAt
}

func (n *notebook) Tell(group string, news ...global.Told) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range news {
		n.told[n.key(group, t.Alert, t.Receiver, t.Aggregation)] = t
	}
}

func (n *notebook) all() []global.Told {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.told))
}

func (n *notebook) Compare(context.Context, string) {}

func outgoing(name string, fired time.Time, over bool) global.Outgoing {
	ls := labels.FromStrings("alertname", "Network", "name", name)
	o := global.Outgoing{ID: labels.StableHash(ls), FiredAt: fired.UnixMilli(), Expr: "up == 0", Labels: ls, StartsAt: fired, EndsAt: time.Now().Add(time.Hour), Resolved: over}
	if over {
		o.EndsAt = time.Now().Add(-time.Millisecond)
	}
	return o
}

// TestCommonAlertsAreToldOnce moves an alert of the network from one island to
// another and back; both speak to the same people.
func TestCommonAlertsAreToldOnce(t *testing.T) {
	a, b, people := newRig(t), addRig(t), newHook(t)
	book := &notebook{told: map[string]global.Told{}}
	// A local alert of the same name is in the same aggregation group.
	a.file("rules.yml", "groups: [{name: g, interval: 50ms, rules: [{alert: Network, expr: load > 5}]}]")
	for _, r := range []*rig{a, b} {
		r.start(r.prom("global: {external_labels: {site: "+fmt.Sprintf("%p", r)+"}}"), webhookTo(t, people.URL, ""))
		r.alert.SetTeller(book)
	}
	names := func(status string) map[string]int {
		out := map[string]int{}
		for _, d := range people.all() {
			for _, one := range d.Alerts {
				if one.Status == status {
					out[one.Labels["name"]+one.Labels["host"]]++
				}
				if one.Labels["name"] != "" && one.Labels["site"] != "" {
					t.Errorf("alert of the network with the labels of an island: %v", one.Labels)
				}
			}
		}
		return out
	}
	fired := time.Now()
	a.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, false)})
	eventually(t, "the first island to tell", func() bool { return names("firing")["x"] == 1 })

	a.alert.WithdrawCommon("g") // b takes it over
	b.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, false)})
	during(t, 500*time.Millisecond, "told again, or told to be over", func() bool { return len(people.all()) != 1 })
	if got, err := b.api().Alert.GetAlerts(alertapi.NewGetAlertsParams()); err != nil || len(got.Payload) != 1 {
		t.Errorf("the island that took over shows %s, %v", jsonOf(got), err)
	}
	a.set(9, "__name__", "load", "host", "db1")
	eventually(t, "a local alert in the same aggregation group to be told", func() bool { return names("firing")["db1"] == 1 })

	b.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, true)})
	eventually(t, "the second island to tell that it is over", func() bool { return names("resolved")["x"] == 1 })
	b.alert.WithdrawCommon("g") // back to a, in whose own log it still fires
	a.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, true)})
	during(t, 500*time.Millisecond, "the end told twice", func() bool { return names("resolved")["x"] > 1 })

	again := time.Now()
	a.alert.SendCommon("g", []global.Outgoing{outgoing("x", again, false)})
	eventually(t, "a second spell to be told", func() bool { return names("firing")["x"] == 2 })

	a.stop() // what is in documents comes from documents
	a.start(a.prom(""), webhookTo(t, people.URL, ""))
	a.alert.SetTeller(book)
	a.alert.SendCommon("g", []global.Outgoing{outgoing("x", again, true)})
	eventually(t, "its end to be told after a restart", func() bool { return names("resolved")["x"] == 2 })
	if got := names("firing")["x"]; got != 2 {
		t.Errorf("told %d times to fire, want 2", got)
	}
}

// TestCommonAlertsAreOneElsewhere sends one alert from two islands to the same
// external Alertmanager.
func TestCommonAlertsAreOneElsewhere(t *testing.T) {
	other, people := newRig(t), newHook(t)
	other.start(other.prom(""), webhookTo(t, people.URL, ""))
	fired := time.Now()
	for i, r := range []*rig{addRig(t), addRig(t)} {
		r.start(r.prom(fmt.Sprintf("global: {external_labels: {site: s%d}}\nalerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}",
			i, hostOf(other.server.URL))), nil)
		eventually(t, "the external one to be found", func() bool { return len(r.alert.external.common.Alertmanagers()) == 1 })
		r.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, false)})
	}
	eventually(t, "the external one to tell", func() bool { return people.count("firing", "Network") == 1 })
	during(t, 500*time.Millisecond, "told twice", func() bool { return len(people.all()) > 1 })
	got, err := other.api().Alert.GetAlerts(alertapi.NewGetAlertsParams())
	if err != nil || len(got.Payload) != 1 || len(got.Payload[0].Labels) != 2 {
		t.Errorf("the external one has %s, %v; want one alert with the rule's labels only", jsonOf(got), err)
	}
}

// TestWithdrawalWaits: what is told of a group after it was withdrawn would be told
// twice. An end that still waits is not told, and what is on its way comes first.
func TestWithdrawalWaits(t *testing.T) {
	a, people := newRig(t), newHook(t)
	book := &notebook{told: map[string]global.Told{}}
	a.start(a.prom(""), parseAM(t, fmt.Sprintf(`
route: {receiver: hook, group_wait: 0s, group_interval: 500ms, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: %q}]}]`, people.URL)))
	a.alert.SetTeller(book)
	fired := time.Now()
	a.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, false)})
	eventually(t, "it is told", func() bool { return len(people.all()) == 1 && len(book.all()) == 1 })
	a.alert.SendCommon("g", []global.Outgoing{outgoing("x", fired, true)})
	a.alert.WithdrawCommon("g")
	during(t, time.Second, "its end is told after it was withdrawn", func() bool { return len(people.all()) > 1 })

	people.mu.Lock() // whoever is told now takes a while
	a.alert.SendCommon("h", []global.Outgoing{outgoing("y", fired, false)})
	eventually(t, "a notification is on its way", func() bool {
		c := a.alert.embedded.common
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.air) > 0
	})
	withdrawn := make(chan struct{})
	go func() {
		defer close(withdrawn)
		a.alert.WithdrawCommon("h")
	}()
	during(t, 200*time.Millisecond, "withdrawn while a notification is on its way", func() bool {
		select {
		case <-withdrawn:
			return true
		default:
			return false
		}
	})
	people.mu.Unlock()
	<-withdrawn
	if told := book.all(); len(told) != 2 {
		t.Errorf("withdrawn, and these are noted: %v; want both", told)
	}
}
