package host

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/node_exporter/collector"
)

// process is the one piece of package state in the room, and it mirrors state
// that upstream keeps for the whole process: node_exporter's paths and options
// are kingpin flags on kingpin.CommandLine, get even their defaults only when
// that is parsed, and are read by collectors that upstream caches for ever.
// So the first island to ask decides, and a second one in the same process
// must ask for the same or is refused.
var process singleton

type singleton struct {
	mu   sync.Mutex
	args []string
	// kingpin guards kingpin.CommandLine, which is not safe for concurrent use.
	kingpin sync.Mutex
	// logs is where the cached collectors' records go: to the island that
	// configured its host metrics last.
	logs atomic.Pointer[slog.Handler]
	// gates keep each cached collector from running twice at a time.
	gates map[string]chan struct{}
}

// configure parses the flags on the first call. A later call with other paths
// or flags fails, naming what was asked for and what holds.
func (s *singleton) configure(c Config, logger *slog.Logger) error {
	args := []string{
		"--path.procfs=" + c.Paths.Procfs,
		"--path.sysfs=" + c.Paths.Sysfs,
		"--path.rootfs=" + c.Paths.Rootfs,
		"--path.udev.data=" + c.Paths.UdevData,
	}
	args = append(args, c.Flags...)

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.args == nil:
		// Every collector is made selectable; which ones run is decided by
		// name, per island, in build.
		all := slices.Clone(args)
		for name := range knownCollectors() {
			all = append(all, "--collector."+name)
		}
		if err := s.parse(all); err != nil {
			return fmt.Errorf("reading host.flags %q: %w", c.Flags, err)
		}
		s.args = args
	case !slices.Equal(s.args, args):
		return fmt.Errorf("changing host.paths or host.flags: got %q, running with %q, these cannot change while the process lives; restart it", args, s.args)
	}
	h := logger.Handler()
	s.logs.Store(&h)
	return nil
}

func (s *singleton) parse(args []string) error {
	s.kingpin.Lock()
	defer s.kingpin.Unlock()
	_, err := kingpin.CommandLine.Parse(args)
	return err
}

func (s *singleton) flags() []*kingpin.FlagModel {
	s.kingpin.Lock()
	defer s.kingpin.Unlock()
	return kingpin.CommandLine.Model().Flags
}

func (s *singleton) gate(name string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gates == nil {
		s.gates = map[string]chan struct{}{}
	}
	if s.gates[name] == nil {
		s.gates[name] = make(chan struct{}, 1)
	}
	return s.gates[name]
}

// build makes the named collectors. Those that cannot be made on this machine
// are returned as errors by name; the others are fine.
func (s *singleton) build(names []string) (map[string]collector.Collector, map[string]error) {
	made, failed := map[string]collector.Collector{}, map[string]error{}
	logger := slog.New(&relay{to: &s.logs})
	for _, name := range names {
		// One by one, because upstream gives up on all when one fails. An
		// empty list of names would mean all of them.
		nc, err := collector.NewNodeCollector(logger, name)
		if err != nil {
			failed[name] = err
			continue
		}
		c, ok := nc.Collectors[name]
		if !ok {
			failed[name] = errors.New("node_exporter made none of this name")
			continue
		}
		made[name] = c
	}
	return made, failed
}
