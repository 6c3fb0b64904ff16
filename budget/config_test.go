package budget

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/flow"
)

func TestConfigFromYAML(t *testing.T) {
	got := Default()
	err := yaml.Unmarshal([]byte(`
memory: 512MB
memory_ratio: 0.8
cpu: 1.5
series: 100000
samples_per_target: 5000
disk: {reserve: 7.5%, max: 10GiB, poll: 1s}
`), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Memory: Memory{Bytes: 512 << 20}, MemoryRatio: 0.8, CPU: 1.5, Series: 100_000, SamplesPerTarget: 5000,
		Disk: Disk{Reserve: Reserve{Percent: 7.5}, Max: 10 << 30, Poll: 1e9},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	text, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again Config
	if err := yaml.Unmarshal(text, &again); err != nil || again != got {
		t.Errorf("%s read back as %v, %v", text, again, err)
	}
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestReserve(t *testing.T) {
	for in, want := range map[string]uint64{
		"auto": 1 << 30, "5%": 5 << 30, "200MiB": 200 << 20, "4096": 4096, "0": 0, "0%": 0,
	} {
		var r Reserve
		if err := r.UnmarshalText([]byte(in)); err != nil || r.Of(100<<30) != want {
			t.Errorf("%q of 100 GiB is %d, %v; want %d", in, r.Of(100<<30), err, want)
		}
	}
	if got := (Reserve{Auto: true}).Of(10 << 30); got != 512<<20 {
		t.Errorf("auto of 10 GiB is %d, want 512 MiB", got)
	}
	for _, in := range []string{"100%", "-1%", "NaN%", "%", "x", "-5MB"} {
		var r Reserve
		if err := r.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was taken as %v", in, r)
		}
	}
}

func TestRetentionSize(t *testing.T) {
	for _, c := range []struct{ max, store, want flow.Bytes }{
		{0, 0, 0}, {0, 5, 5}, {7, 0, 7}, {7, 5, 5}, {3, 5, 3},
	} {
		if got := (Config{Disk: Disk{Max: c.max}}).RetentionSize(c.store); got != c.want {
			t.Errorf("disk.max %d, retention.size %d: %d, want %d", c.max, c.store, got, c.want)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	b := newBudget(t, Default(), nil)
	for want, change := range map[string]func(*Config){
		"memory: changing auto to 128MiB needs a restart":         func(c *Config) { c.Memory = Memory{Bytes: 128 << 20} },
		"memory_ratio: changing 0.9 to 0.5 needs a restart":       func(c *Config) { c.MemoryRatio = 0.5 },
		"cpu: changing 0 to 2 needs a restart":                    func(c *Config) { c.CPU = 2 },
		"memory: 1KiB is less than the program itself needs":      func(c *Config) { c.Memory = Memory{Bytes: 1024} },
		"memory: -1 must not be negative":                         func(c *Config) { c.Memory = Memory{Bytes: -1} },
		"memory_ratio: 0 must be above 0 and at most 1":           func(c *Config) { c.MemoryRatio = 0 },
		"memory_ratio: NaN must be above 0 and at most 1":         func(c *Config) { c.MemoryRatio = math.NaN() },
		"cpu: -1 must be from 0 to 4096":                          func(c *Config) { c.CPU = -1 },
		"disk.reserve: 100% must be a size, or a percentage from": func(c *Config) { c.Disk.Reserve = Reserve{Percent: 100} },
		"disk.max: -1 must not be negative":                       func(c *Config) { c.Disk.Max = -1 },
		"disk.poll: 0s must be above 0":                           func(c *Config) { c.Disk.Poll = 0 },
	} {
		next := Default()
		change(&next)
		if _, _, err := b.Prepare(next); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Prepare: %v; want %q", err, want)
		}
	}
}

// TestApplyRuntime changes the process' own limits and puts them back.
func TestApplyRuntime(t *testing.T) {
	memory, cpus := debug.SetMemoryLimit(-1), runtime.GOMAXPROCS(0)
	defer func() {
		debug.SetMemoryLimit(memory)
		runtime.GOMAXPROCS(cpus)
	}()
	for _, name := range []string{"GOMEMLIMIT", "GOMAXPROCS", "AUTOMEMLIMIT"} {
		t.Setenv(name, "") // put back afterwards
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	c := Default()
	c.Memory, c.CPU = Memory{Bytes: 3 << 30}, 2.5
	b := newBudget(t, c, nil)
	b.ApplyRuntime()
	if got := b.metric(t, "atoll_budget_memory_limit_bytes"); got != 3<<30 {
		t.Errorf("memory limit %v, want 3 GiB", got)
	}
	if got := b.metric(t, "atoll_budget_cpu_limit_cores"); got != 3 {
		t.Errorf("cpu limit %v, want 3", got)
	}

	newBudget(t, Default(), nil).ApplyRuntime()
	if got := debug.SetMemoryLimit(-1); got <= 0 || got >= 1<<50 {
		t.Errorf("auto set a memory limit of %d", got)
	}

	t.Setenv("GOMEMLIMIT", "1GiB")
	t.Setenv("GOMAXPROCS", "1")
	debug.SetMemoryLimit(1 << 30)
	runtime.GOMAXPROCS(1)
	b.ApplyRuntime()
	if m, p := debug.SetMemoryLimit(-1), runtime.GOMAXPROCS(0); m != 1<<30 || p != 1 {
		t.Errorf("the environment's limits became %d bytes and %d cpus", m, p)
	}
}

func FuzzReserve(f *testing.F) {
	for _, s := range []string{"auto", "5%", "0.1 %", "200MiB", "4096", "99.999%", "1e1%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r, again Reserve
		if r.UnmarshalText([]byte(s)) != nil {
			return
		}
		if got := r.Of(1 << 40); r.Bytes == 0 && got > 1<<40 {
			t.Fatalf("%q keeps %d of %d bytes free", s, got, 1<<40)
		}
		if err := again.UnmarshalText([]byte(r.String())); err != nil || again != r {
			t.Fatalf("%q is %v, written as %q, read back as %v, %v", s, r, r.String(), again, err)
		}
	})
}
