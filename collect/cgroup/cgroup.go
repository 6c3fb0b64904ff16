package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a Collector needs.
type Options struct {
	Config     Config
	Registerer prometheus.Registerer
}

// Collector is a prometheus.Collector of the machine's control groups.
type Collector struct {
	metrics *metrics
	// blockDir names block devices: links called "major:minor".
	blockDir string
	now      func() time.Time

	mu      sync.Mutex
	config  Config
	exclude *regexp.Regexp
	// born is the earliest time each group was known to exist. The kernel
	// forgets it whenever it drops an inode from its cache.
	born    map[string]time.Time
	devices map[string]string
	skipped int
}

// New reads nothing yet.
func New(o Options) (*Collector, error) {
	c := &Collector{
		metrics:  newMetrics(o.Registerer),
		blockDir: "/sys/dev/block",
		now:      time.Now,
		born:     map[string]time.Time{},
		devices:  map[string]string{},
	}
	commit, _, err := c.Prepare(o.Config)
	if err != nil {
		return nil, err
	}
	commit()
	return c, nil
}

// Prepare checks a new configuration; all of it may change live.
func (c *Collector) Prepare(cfg Config) (commit, discard func(), err error) {
	exclude, err := cfg.exclude()
	if err != nil {
		return nil, nil, fmt.Errorf("reading cgroup.exclude: got %q, must be a regular expression: %w", cfg.Exclude, err)
	}
	commit = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.config, c.exclude = cfg, exclude
	}
	return commit, func() {}, nil
}

// Readable tells whether there is anything below root that could be measured.
func Readable(root string) bool { return len(detect(root).trees()) > 0 }

// Skipped returns how many groups the last scrape left out because of a limit.
func (c *Collector) Skipped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipped
}

// Describe implements prometheus.Collector. Which metrics there are depends on
// the kernel, so none is promised.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := detect(c.config.Root)
	f := walk(h.trees(), limits{groups: c.config.MaxGroups, depth: c.config.MaxDepth, exclude: c.exclude})
	c.skipped = f.overGroups + f.overDepth
	c.metrics.skipped.WithLabelValues("max_groups").Set(float64(f.overGroups))
	c.metrics.skipped.WithLabelValues("max_depth").Set(float64(f.overDepth))

	var buf bytes.Buffer
	born := make(map[string]time.Time, len(f.paths))
	for _, p := range f.paths {
		r := &reader{id: identify(p), ch: ch, buf: &buf, block: c.device}
		// Two names that are printed alike would make the whole scrape invalid.
		if _, twice := born[r.id.id]; twice {
			continue
		}
		born[r.id.id] = c.group(h, p, r)
		c.metrics.errors.Add(float64(r.errs))
	}
	c.born = born
	c.metrics.groups.Set(float64(len(born)))
}

// group emits everything about one group and returns when it was born.
func (c *Collector) group(h hierarchies, p string, r *reader) time.Time {
	var dirs []string
	unified := ""
	if h.unified != "" {
		unified = filepath.Join(h.unified, p)
	}
	if len(h.v1) == 0 {
		dirs = []string{unified}
		r.v2(unified)
	} else {
		byController := make(map[string]string, len(h.v1))
		for controller, tree := range h.v1 {
			dir := filepath.Join(tree, p)
			byController[controller] = dir
			dirs = append(dirs, dir)
		}
		r.v1(byController)
		if unified != "" {
			r.pressure(unified)
		}
	}
	c.processes(dirs, r)

	first, ok := r.born(dirs...)
	if known, was := c.born[r.id.id]; was && (!ok || known.Before(first)) {
		first = known
	}
	if !first.IsZero() {
		r.gauge(descStartTime, float64(first.UnixNano())/1e9)
	}
	r.gauge(descLastSeen, float64(c.now().Unix()))
	return first
}

// processes takes the largest count, because in version 1 a process may be in
// a group of one controller and not of another.
func (c *Collector) processes(dirs []string, r *reader) {
	most, any := uint64(0), false
	for _, dir := range dirs {
		if n, ok := r.lines(dir, "cgroup.procs"); ok {
			most, any = max(most, n), true
		}
	}
	if any {
		r.gauge(descProcesses, float64(most))
	}
}

// maxDeviceNames bounds the memory of device names; loop devices come and go.
const maxDeviceNames = 1024

// device returns "/dev/sda" for "8:0", or the numbers when the kernel does not
// know a name.
func (c *Collector) device(numbers string) string {
	if name, ok := c.devices[numbers]; ok {
		return name
	}
	if len(c.devices) >= maxDeviceNames {
		clear(c.devices)
	}
	name := numbers
	if link, err := os.Readlink(filepath.Join(c.blockDir, numbers)); err == nil {
		name = "/dev/" + printable(filepath.Base(link))
	}
	c.devices[numbers] = name
	return name
}
