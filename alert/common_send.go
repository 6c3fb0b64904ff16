package alert

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/notifier"
	"github.com/prometheus/prometheus/util/strutil"

	"github.com/atoll-mesh/atoll/alert/global"
)

// notifications are alerts as upstream's senders want them, each time anew: they
// change what they are given.
func (a *Alert) notifications(alerts []global.Outgoing) []*notifier.Alert {
	out := make([]*notifier.Alert, len(alerts))
	for i, o := range alerts {
		out[i] = &notifier.Alert{
			Labels: o.Labels.Copy(), Annotations: o.Annotations, StartsAt: o.StartsAt, EndsAt: o.EndsAt,
			GeneratorURL: a.opts.ExternalURL.String() + strutil.TableLinkForExpression(o.Expr) + "&scope=all",
		}
	}
	return out
}

// deliverCommon is deliver for alerts that bear no labels of this island.
func (e *embedded) deliverCommon(b *border, group string, alerts []global.Outgoing, in []*notifier.Alert, now time.Time) {
	bare := &border{relabel: b.relabel, resolveAfter: b.resolveAfter}
	var valid []*amalert.Alert
	for i, n := range in {
		if a := e.accept(bare, n, now); a != nil {
			e.common.know(a, group, alerts[i], now)
			valid = append(valid, a)
		}
	}
	e.put(valid)
}

// alertHash is how the notification log knows an alert.
func alertHash(ls model.LabelSet) uint64 {
	const sep = '\xff'
	names := make([]string, 0, len(ls))
	for n := range ls {
		names = append(names, string(n))
	}
	slices.Sort(names)
	var b []byte
	for _, n := range names {
		b = append(append(b, n...), sep)
		b = append(append(b, ls[model.LabelName(n)]...), sep)
	}
	return xxhash.Sum64(b)
}

// sendCommon sends to the external Alertmanagers without this island's labels: what
// two islands send of one alert is one alert there.
func (x *external) sendCommon(alerts []*notifier.Alert) { x.common.Send(alerts...) }

// withoutLabels is a configuration whose alerts stay as they are.
func withoutLabels(conf *promconfig.Config) *promconfig.Config {
	bare := *conf
	bare.GlobalConfig.ExternalLabels = labels.EmptyLabels()
	return &bare
}

// share hands what discovery finds to both notifiers.
func (x *external) share(own, common chan<- map[string][]*targetgroup.Group) {
	defer close(own)
	defer close(common)
	for found := range x.sd.SyncCh() {
		for _, to := range []chan<- map[string][]*targetgroup.Group{own, common} {
			select {
			case to <- found:
			case <-x.stopping:
			}
		}
	}
}
