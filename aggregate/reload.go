package aggregate

import (
	"errors"
	"fmt"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Prepare checks a new section and new rules. commit puts them in force: the state
// of rules stays where their Hash did not change, of others it begins anew.
func (a *Aggregator) Prepare(next Config, rules *rule.Set) (commit, discard func(), err error) {
	if rules == nil {
		rules = &rule.Set{}
	}
	now := a.opts.Config
	var errs []error
	refuse := func(field string, before, after any) {
		if before != after {
			errs = append(errs, fmt.Errorf("aggregate.%s: cannot change while running: is %v, would be %v; restart the island for it", field, before, after))
		}
	}
	refuse("store", now.Store, next.Store)
	refuse("checkpoint_interval", now.CheckpointInterval, next.CheckpointInterval)
	refuse("journal_size", now.JournalSize, next.JournalSize)
	refuse("pending_samples", now.Pending, next.Pending)
	if err := errors.Join(append(errs, next.Validate())...); err != nil {
		return nil, nil, err
	}
	if a.opts.Dir == "" && len(next.Sink.RemoteWrite)+len(next.Sink.Kafka) > 0 {
		return nil, nil, errNoDir
	}
	commitSinks, discard := func() {}, func() {}
	if a.sinks != nil {
		if commitSinks, discard, err = a.sinks.Prepare(next.Sink); err != nil {
			return nil, nil, err
		}
	}
	return func() {
		commitSinks()
		if err := a.reload(rules); err != nil {
			a.log.Error("the new aggregation rules are not in force", "err", err)
		}
	}, discard, nil
}

func (a *Aggregator) reload(rules *rule.Set) error {
	a.turn.Lock()
	defer a.turn.Unlock()
	// The engine may refuse; the owner must never know other rules than it.
	if err := a.engine.Reload(rules); err != nil {
		return err
	}
	a.owner.Reload(rules)
	a.rules = rules
	if a.shared.share != nil {
		a.shared.share.Reload(rules)
	}
	select {
	case a.reloaded <- struct{}{}:
	default: // it is asked for already
	}
	return nil
}
