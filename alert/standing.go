package alert

import (
	"context"
	"time"

	"github.com/prometheus/common/model"
)

// Standing is an alert that fires now, of whatever source.
type Standing struct {
	Fingerprint         model.Fingerprint
	Labels, Annotations model.LabelSet
	StartsAt            time.Time
	// Silenced says that nobody is notified because of a silence.
	Silenced bool
}

// Standing lists the alerts that fire: of rules, and those that others handed over.
// The label sets must not be changed.
func (a *Alert) Standing() (out []Standing) {
	if a.embedded.handler.Load() == nil {
		return nil // not started
	}
	now := time.Now()
	it := a.embedded.alerts.GetPending()
	defer it.Close()
	for next := range it.Next() {
		one := next.Data
		if one.ResolvedAt(now) {
			continue
		}
		out = append(out, Standing{
			Fingerprint: one.Fingerprint(), Labels: one.Labels, Annotations: one.Annotations, StartsAt: one.StartsAt,
			Silenced: a.embedded.silencer.Mutes(context.Background(), one.Labels),
		})
	}
	return out
}
