package budget

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// ApplyRuntime sets the Go runtime's memory and CPU limits for the whole process.
// Call it once, at start. What the environment sets (GOMEMLIMIT, GOMAXPROCS)
// stays.
func (b *Budget) ApplyRuntime() {
	b.applyMemory()
	b.applyCPU()
	b.logger.Info("limits of the runtime", "memory_bytes", debug.SetMemoryLimit(-1), "cpus", runtime.GOMAXPROCS(0))
}

func (b *Budget) applyMemory() {
	c := b.cfg.Load()
	if v, set := os.LookupEnv("GOMEMLIMIT"); set {
		b.logger.Info("memory limit from the environment", "GOMEMLIMIT", v)
		return
	}
	if !c.Memory.Auto {
		debug.SetMemoryLimit(int64(c.Memory.Bytes))
		return
	}
	_, err := memlimit.Set(
		memlimit.WithRatio(c.MemoryRatio),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
	)
	if err != nil {
		b.logger.Warn("deriving the memory limit; there is none now", "err", err, "remedy", "set budget.memory")
	}
}

func (b *Budget) applyCPU() {
	c := b.cfg.Load()
	if c.CPU == 0 {
		return
	}
	if v, set := os.LookupEnv("GOMAXPROCS"); set && v != "" {
		b.logger.Info("cpu limit from the environment", "GOMAXPROCS", v)
		return
	}
	runtime.GOMAXPROCS(int(math.Ceil(c.CPU)))
}
