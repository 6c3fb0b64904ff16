package budget

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Config holds the limits of one island.
type Config struct {
	// Memory becomes the Go runtime's soft memory limit: "auto" is MemoryRatio of
	// the cgroup's limit, or else of the machine's memory. GOMEMLIMIT in the
	// environment wins. Changing it needs a restart.
	Memory Memory `yaml:"memory"`
	// MemoryRatio is the share of the limit found by "auto", above 0 up to 1. The
	// rest is for what the Go heap does not count: mapped blocks, stacks, the
	// kernel's buffers. Changing it needs a restart.
	MemoryRatio float64 `yaml:"memory_ratio"`
	// CPU is how many CPUs may run Go code at once, rounded up to whole ones; 0
	// leaves it to the Go runtime, which reads the cgroup quota itself. GOMAXPROCS
	// in the environment wins. Changing it needs a restart.
	CPU float64 `yaml:"cpu"`
	// Series is how many series the store's head may hold before new ones are
	// dropped; 0 sets no limit. It can change while running.
	Series uint64 `yaml:"series"`
	// SamplesPerTarget is the sample_limit of every scrape that sets none itself;
	// 0 sets no limit. Changing it needs a restart.
	SamplesPerTarget uint64 `yaml:"samples_per_target"`
	// Disk guards the file system under the data directory.
	Disk Disk `yaml:"disk"`
}

// Disk guards the file system under the data directory. It can change while running.
type Disk struct {
	// Reserve is the free space below which ingestion stops, so that compaction,
	// queries and people still have room: bytes ("500MB"), percent of the file
	// system ("5%"), 0 for none, or "auto": the smaller of 1 GiB and 5 %.
	Reserve Reserve `yaml:"reserve"`
	// Max is how large the store may grow; 0 sets no limit. It becomes the store's
	// retention.size unless that is smaller.
	Max flow.Bytes `yaml:"max"`
	// Poll is how often free space is read.
	Poll model.Duration `yaml:"poll"`
}

// Default derives memory and CPU from the machine or cgroup and keeps the disk
// from filling up.
func Default() Config {
	return Config{
		Memory:      Memory{Auto: true},
		MemoryRatio: 0.9,
		Disk:        Disk{Reserve: Reserve{Auto: true}, Poll: defaultPoll},
	}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	if c.Memory.Bytes < 0 {
		errs = append(errs, fmt.Errorf("memory: %d must not be negative; write auto to derive it", int64(c.Memory.Bytes)))
	}
	if !c.Memory.Auto && c.Memory.Bytes < minMemory {
		errs = append(errs, fmt.Errorf("memory: %s is less than the program itself needs; the least is %s", c.Memory, minMemory))
	}
	if math.IsNaN(c.MemoryRatio) || c.MemoryRatio <= 0 || c.MemoryRatio > 1 {
		errs = append(errs, fmt.Errorf("memory_ratio: %v must be above 0 and at most 1", c.MemoryRatio))
	}
	if math.IsNaN(c.CPU) || c.CPU < 0 || c.CPU > 4096 {
		errs = append(errs, fmt.Errorf("cpu: %v must be from 0 to 4096; 0 leaves it to the runtime", c.CPU))
	}
	if r := c.Disk.Reserve; r.Bytes < 0 || math.IsNaN(r.Percent) || r.Percent < 0 || r.Percent >= 100 {
		errs = append(errs, fmt.Errorf("disk.reserve: %s must be a size, or a percentage from 0%% to below 100%%", r))
	}
	if c.Disk.Max < 0 {
		errs = append(errs, fmt.Errorf("disk.max: %d must not be negative; 0 sets no limit", int64(c.Disk.Max)))
	}
	if c.Disk.Poll <= 0 {
		errs = append(errs, fmt.Errorf("disk.poll: %s must be above 0, like 5s", c.Disk.Poll))
	}
	return errors.Join(errs...)
}

// RetentionSize merges Disk.Max into the store's own retention.size: the smaller
// of those that are set.
func (c Config) RetentionSize(store flow.Bytes) flow.Bytes {
	if c.Disk.Max > 0 && (store == 0 || c.Disk.Max < store) {
		return c.Disk.Max
	}
	return store
}

func (c Config) fixed(next Config) error {
	var errs []error
	refuse := func(field string, old, now any) {
		if old != now {
			errs = append(errs, fmt.Errorf("%s: changing %v to %v needs a restart", field, old, now))
		}
	}
	refuse("memory", c.Memory, next.Memory)
	refuse("memory_ratio", c.MemoryRatio, next.MemoryRatio)
	refuse("cpu", c.CPU, next.CPU)
	return errors.Join(errs...)
}

// Memory is a number of bytes or "auto".
type Memory struct {
	Auto  bool
	Bytes flow.Bytes
}

// String writes what UnmarshalText reads.
func (m Memory) String() string {
	if m.Auto {
		return "auto"
	}
	return m.Bytes.String()
}

// MarshalText writes what UnmarshalText reads.
func (m Memory) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads "auto" or a size.
func (m *Memory) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*m = Memory{Auto: true}
		return nil
	}
	b, err := flow.ParseBytes(string(text))
	if err != nil {
		return fmt.Errorf("%w, or auto", err)
	}
	*m = Memory{Bytes: b}
	return nil
}

// Reserve is a number of bytes, a percentage of the file system, or "auto".
type Reserve struct {
	Auto    bool
	Bytes   flow.Bytes
	Percent float64
}

// Of gives the bytes to keep free on a file system of total bytes.
func (r Reserve) Of(total uint64) uint64 {
	switch {
	case r.Auto:
		return min(1<<30, total/20)
	case r.Percent > 0:
		return uint64(float64(total) * r.Percent / 100)
	}
	return uint64(r.Bytes)
}

// String writes what UnmarshalText reads.
func (r Reserve) String() string {
	switch {
	case r.Auto:
		return "auto"
	case r.Percent != 0:
		return strconv.FormatFloat(r.Percent, 'f', -1, 64) + "%"
	}
	return r.Bytes.String()
}

// MarshalText writes what UnmarshalText reads.
func (r Reserve) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "auto", a percentage or a size.
func (r *Reserve) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if s == "auto" {
		*r = Reserve{Auto: true}
		return nil
	}
	if p, isPercent := strings.CutSuffix(s, "%"); isPercent {
		f, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil || math.IsNaN(f) || f < 0 || f >= 100 {
			return fmt.Errorf("reserve %q: must be from 0%% to below 100%%", s)
		}
		*r = Reserve{Percent: f}
		return nil
	}
	b, err := flow.ParseBytes(s)
	if err != nil {
		return fmt.Errorf("%w, a percentage like 5%%, or auto", err)
	}
	*r = Reserve{Bytes: b}
	return nil
}
