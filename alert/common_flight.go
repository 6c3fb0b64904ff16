package alert

import (
	"context"
	"slices"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
)

// withdrawPatience is for how long notifications under way may take to end before a
// group goes to another island; those that take longer are cut off.
const withdrawPatience = 5 * time.Second

// flight is one flush of an alert group on its way to receivers.
type flight struct {
	groups []string // of the network's alerts in it
	cut    context.CancelFunc
	done   chan struct{}
}

// flights make flushes with the network's alerts wait for what other islands told,
// and withdrawals for flushes.
func (c *common) flights(receivers map[string][]notify.Integration) enterFunc {
	return func(ctx context.Context, alerts []*amalert.Alert) (context.Context, []*amalert.Alert, func()) {
		alerts, groups := c.admit(alerts)
		if len(groups) == 0 {
			return ctx, alerts, func() {}
		}
		ctx, leave := c.takeOff(ctx, groups)
		name, _ := notify.ReceiverName(ctx)
		for _, group := range c.news(ctx, name, receivers[name], alerts) {
			if t := c.current(); t != nil {
				t.Compare(ctx, group)
			}
		}
		// Some may have been withdrawn meanwhile. Those that are not hold a withdrawal up
		// from here on until they were told.
		alerts, _ = c.admit(alerts)
		c.prepare(ctx, name, receivers[name], alerts)
		return ctx, alerts, leave
	}
}

func (c *common) current() Teller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.teller
}

// takeOff notes a flush until leave is called.
func (c *common) takeOff(ctx context.Context, groups []string) (_ context.Context, leave func()) {
	ctx, cut := context.WithCancel(ctx)
	f := &flight{groups: groups, cut: cut, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.air[f] = struct{}{}
	return ctx, func() {
		cut()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.air, f)
		close(f.done)
	}
}

// land waits until no notification about the group is under way.
func (c *common) land(group string, patience time.Duration) {
	c.mu.Lock()
	var waiting []*flight
	for f := range c.air {
		if slices.Contains(f.groups, group) {
			waiting = append(waiting, f)
		}
	}
	c.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, f := range waiting {
		select {
		case <-f.done:
			continue
		case <-timer.C:
			timer.Reset(0) // for the next one, too
		}
		f.cut()
		waitAtMost(func() { <-f.done }, patience)
	}
}

// news are the groups of which a flush has something to tell, as far as is known
// here.
func (c *common) news(ctx context.Context, name string, integrations []notify.Integration, alerts []*amalert.Alert) []string {
	aggregation, ok := notify.GroupKey(ctx)
	teller := c.current()
	if !ok || teller == nil {
		return nil
	}
	now := time.Now()
	var out []string
	for _, a := range c.known(alerts) {
		for i := range integrations {
			over := a.ResolvedAt(now)
			if over && !integrations[i].SendResolved() {
				continue
			}
			told, ok := teller.Told(a.group, a.id, a.fired, receiverKey(receiverOf(name, &integrations[i])), aggregation)
			if over == (ok && !told.Resolved) && !slices.Contains(out, a.group) {
				out = append(out, a.group)
			}
		}
	}
	return out
}
