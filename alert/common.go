package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/atoll-mesh/atoll/alert/global"
)

// Teller knows what receivers were told of the network's alerts, on whichever island.
type Teller interface {
	Told(group string, alert uint64, firedAt int64, receiver, aggregation string) (global.Told, bool)
	Tell(group string, news ...global.Told)
	// Compare learns, before something is told of a group, what other islands told of
	// it; it takes some seconds at most.
	Compare(ctx context.Context, group string)
}

// common are the alerts of the whole network that this island's Alertmanager has,
// by Alertmanager's own hash. What receivers were told of them is not a matter of
// this island's notification log but of all primaries'.
type common struct {
	log       *nflog.Log
	retention time.Duration
	logger    *slog.Logger

	mu     sync.Mutex
	teller Teller
	alerts map[uint64]*commonAlert
	air    map[*flight]struct{}
}

type commonAlert struct {
	*amalert.Alert
	group string
	id    uint64
	fired int64
	// withdrawn is for one that another island speaks of now.
	withdrawn bool
}

// SetTeller names who knows what receivers were told; nil is for nobody.
func (a *Alert) SetTeller(t Teller) {
	c := a.embedded.common
	c.mu.Lock()
	defer c.mu.Unlock()
	c.teller = t
}

// SendCommon takes alerts of a global group to the embedded Alertmanager and the
// external ones. They bear no labels of this island, so that whichever sends them
// they are the same. Before and after Run they are dropped: they come again.
func (a *Alert) SendCommon(group string, alerts []global.Outgoing) {
	if !a.notifying() {
		return
	}
	if border := a.border.Load(); border != nil {
		a.embedded.deliverCommon(border, group, alerts, a.notifications(alerts), time.Now())
	}
	a.external.sendCommon(a.notifications(alerts))
}

func (a *Alert) notifying() bool {
	select {
	case <-a.sending:
		return !a.stopping.Load()
	default:
		return false
	}
}

// WithdrawCommon has a group's alerts end here without a word: another island
// speaks of them. It returns when no notification about them is under way any more,
// within twice withdrawPatience.
func (a *Alert) WithdrawCommon(group string) {
	if !a.notifying() {
		return
	}
	over := a.embedded.common.withdraw(group, time.Now())
	if err := a.embedded.alerts.Put(context.Background(), over...); err != nil {
		a.logger.Error("withdrawing alerts that another island speaks of", "count", len(over), "err", err)
	}
	a.embedded.common.land(group, withdrawPatience)
}

func (c *common) withdraw(group string, now time.Time) (over []*amalert.Alert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.alerts {
		if a.group != group || a.withdrawn {
			continue
		}
		a.withdrawn = true
		if a.ResolvedAt(now) { // its end may still wait to be told
			continue
		}
		end := &amalert.Alert{UpdatedAt: now}
		end.Alert = a.Alert.Alert
		end.EndsAt = now
		over = append(over, end)
	}
	return over
}

// know remembers what was handed over; what ended long ago is forgotten.
func (c *common) know(a *amalert.Alert, group string, o global.Outgoing, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.alerts, func(_ uint64, a *commonAlert) bool { return now.Sub(a.EndsAt) > alertGCInterval })
	c.alerts[alertHash(a.Labels)] = &commonAlert{Alert: a, group: group, id: o.ID, fired: o.FiredAt}
}

func (c *common) knows(ls model.LabelSet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alerts[alertHash(ls)] != nil
}

// withdrawnHere reports whether another island speaks of an alert now.
func (c *common) withdrawnHere(ls model.LabelSet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.alerts) == 0 {
		return false
	}
	known := c.alerts[alertHash(ls)]
	return known != nil && known.withdrawn
}

// known are those of the alerts that are the network's, by Alertmanager's hash.
func (c *common) known(alerts []*amalert.Alert) map[uint64]commonAlert {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[uint64]commonAlert{}
	for _, a := range alerts {
		if h := alertHash(a.Labels); c.alerts[h] != nil {
			out[h] = *c.alerts[h]
		}
	}
	return out
}

// admit leaves out the alerts that another island speaks of, and names the groups
// of the network's alerts among the others.
func (c *common) admit(alerts []*amalert.Alert) (own []*amalert.Alert, groups []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.alerts) == 0 {
		return alerts, nil
	}
	own = slices.DeleteFunc(slices.Clone(alerts), func(a *amalert.Alert) bool {
		known := c.alerts[alertHash(a.Labels)]
		if known != nil && !known.withdrawn && !slices.Contains(groups, known.group) {
			groups = append(groups, known.group)
		}
		return known != nil && known.withdrawn
	})
	return own, groups
}

// prepare has the notification log say of the network's alerts what all primaries
// told, before it is asked whether there is something new to tell.
func (c *common) prepare(ctx context.Context, name string, integrations []notify.Integration, alerts []*amalert.Alert) {
	aggregation, ok := notify.GroupKey(ctx)
	if !ok || len(c.known(alerts)) == 0 {
		return
	}
	for i := range integrations {
		r := receiverOf(name, &integrations[i])
		if err := c.correct(r, aggregation, alerts); err != nil {
			c.logger.Error("preparing the notification log for alerts of the network", "receiver", name, "err", err)
		}
	}
}

func (c *common) correct(r *nflogpb.Receiver, aggregation string, alerts []*amalert.Alert) error {
	entries, err := c.log.Query(nflog.QGroupKey(aggregation), nflog.QReceiver(r))
	if err != nil && !errors.Is(err, nflog.ErrNotFound) {
		return err
	}
	own := &nflogpb.Entry{}
	if len(entries) > 0 {
		own = entries[0]
	}
	c.mu.Lock()
	strange := func(h uint64) bool { return c.alerts[h] != nil }
	next := &nflogpb.Entry{
		GroupKey: []byte(aggregation), Receiver: r, ReceiverData: own.GetReceiverData(),
		FiringAlerts:   slices.DeleteFunc(slices.Clone(own.GetFiringAlerts()), strange),
		ResolvedAlerts: slices.DeleteFunc(slices.Clone(own.GetResolvedAlerts()), strange),
	}
	teller := c.teller
	c.mu.Unlock()
	known := c.known(alerts)
	at := own.GetTimestamp().AsTime()
	for h, a := range known {
		if teller == nil {
			break
		}
		told, ok := teller.Told(a.group, a.id, a.fired, receiverKey(r), aggregation)
		switch {
		case !ok:
			continue
		case told.Resolved:
			next.ResolvedAlerts = append(next.ResolvedAlerts, h)
		default:
			next.FiringAlerts = append(next.FiringAlerts, h)
		}
		if t := time.UnixMilli(told.At); t.After(at) {
			at = t
		}
	}
	if sameSet(next.FiringAlerts, own.GetFiringAlerts()) && sameSet(next.ResolvedAlerts, own.GetResolvedAlerts()) {
		return nil
	}
	if !at.After(own.GetTimestamp().AsTime()) {
		at = own.GetTimestamp().AsTime().Add(time.Nanosecond) // the log takes what is newer
	}
	next.Timestamp = timestamppb.New(at)
	var buf bytes.Buffer
	entry := &nflogpb.MeshEntry{Entry: next, ExpiresAt: timestamppb.New(time.Now().Add(c.retention))}
	if _, err := protodelim.MarshalTo(&buf, entry); err != nil {
		return fmt.Errorf("encode an entry: %w", err)
	}
	return c.log.Merge(buf.Bytes())
}

func sameSet(a, b []uint64) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func receiverOf(name string, i *notify.Integration) *nflogpb.Receiver {
	return &nflogpb.Receiver{GroupName: name, Integration: i.Name(), Idx: uint32(i.Index())}
}

func receiverKey(r *nflogpb.Receiver) string {
	return fmt.Sprintf("%s/%s/%d", r.GetGroupName(), r.GetIntegration(), r.GetIdx())
}

// Log implements notify.NotificationLog: what was told of the network's alerts is
// for all primaries to know.
func (c *common) Log(r *nflogpb.Receiver, aggregation string, firing, resolved []uint64, store *nflog.Store, expiry time.Duration) error {
	err := c.log.Log(r, aggregation, firing, resolved, store, expiry)
	now := time.Now().UnixMilli()
	c.mu.Lock()
	teller, news := c.teller, map[string][]global.Told{}
	note := func(hashes []uint64, over bool) {
		for _, h := range hashes {
			if a := c.alerts[h]; a != nil {
				news[a.group] = append(news[a.group], global.Told{
					Alert: a.id, Receiver: receiverKey(r), Aggregation: aggregation, Fired: a.fired, At: now, Resolved: over,
				})
			}
		}
	}
	note(firing, false)
	note(resolved, true)
	c.mu.Unlock()
	if teller != nil {
		for group, told := range news {
			teller.Tell(group, told...)
		}
	}
	return err
}

// Query implements notify.NotificationLog.
func (c *common) Query(params ...nflog.QueryParam) ([]*nflogpb.Entry, error) {
	return c.log.Query(params...)
}
