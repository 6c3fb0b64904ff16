package island

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/portal"
)

// room is a part of the island that can take over a new configuration.
type room struct {
	name string
	// prepare does all that can fail; exactly one of commit and discard is called.
	prepare func(next *config.Config) (commit, discard func(), err error)
}

// Reload loads the configuration again and hands it to every room, or to none:
// on any error the running one stays in force and the error says everything that
// stands against the new one. It is safe for concurrent use.
func (i *Island) Reload(context.Context) error {
	if i.opts.Load == nil {
		return errors.New("this island was started without a configuration file: there is nothing to load again")
	}
	return i.reapply()
}

// reapply is Reload for what changed beside the file: without one, shared
// documents still come and go.
func (i *Island) reapply() error {
	i.reloading.Lock()
	defer i.reloading.Unlock()

	err := i.reload()
	result := &portal.ReloadResult{At: time.Now(), OK: err == nil}
	i.metrics.reloaded(result.At, result.OK)
	if err != nil {
		result.Error = err.Error()
		i.lastReload.Store(result)
		i.reloadFailed.Set("%s", err)
		i.logger.Error("configuration refused, the old one runs on", "error", err)
		return err
	}
	i.lastReload.Store(result)
	i.reloadFailed.Clear()
	i.logger.Info("configuration loaded", "file", i.Config().Path)
	return nil
}

func (i *Island) reload() error {
	rooms := i.preparable()
	if rooms == nil {
		return errors.New("the island is still starting: try again when it is ready")
	}
	next, err := i.load()
	if err != nil {
		return err
	}
	var (
		errs              []error
		commits, discards []func()
	)
	for _, r := range rooms {
		commit, discard, err := r.prepare(next)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		commits, discards = append(commits, commit), append(discards, discard)
	}
	if len(errs) > 0 {
		for _, discard := range discards {
			discard()
		}
		return errors.Join(errs...)
	}
	i.adopt(next)
	for _, commit := range commits {
		commit()
	}
	return nil
}

// load reads the configuration and what the network shares.
func (i *Island) load() (*config.Config, error) {
	next := i.opts.Config
	if i.opts.Load != nil {
		var err error
		if next, err = i.opts.Load(); err != nil {
			return nil, err
		}
	}
	return i.withShared(next), nil
}

// prepareIsland refuses what belongs to the island itself and cannot change
// while it runs.
func (i *Island) prepareIsland(next *config.Config) (commit, discard func(), err error) {
	now := i.Config()
	var errs []error
	refuse := func(field, before, after string) {
		if before != after {
			errs = append(errs, fmt.Errorf("%s: cannot change while running: is %q, would be %q; restart the island for it", field, before, after))
		}
	}
	refuse("island.name", now.Island.Name, next.Island.Name)
	refuse("island.data_dir", now.Island.DataDir, next.Island.DataDir)
	if now.Collect.Receive != next.Collect.Receive {
		errs = append(errs, errors.New("collect.receive: cannot change while running; restart the island for it"))
	}
	refuse("log.format", now.Log.Format, next.Log.Format)
	refuse("budget.samples_per_target", strconv.FormatUint(now.Budget.SamplesPerTarget, 10), strconv.FormatUint(next.Budget.SamplesPerTarget, 10))
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return func() { i.setLogLevel(next.Log.Level) }, func() {}, nil
}
