package cgroup

// v2 reads one group of the unified hierarchy. Files of controllers that are
// not enabled for the group do not exist.
func (r *reader) v2(dir string) {
	r.cpu2(dir)
	r.memory2(dir)
	r.pids(dir)
	r.pressure(dir)
	if b, ok := r.file(dir, "io.stat"); ok {
		all := map[string]traffic{}
		parseIOStat(b, all)
		r.devices(all)
	}
}

func (r *reader) cpu2(dir string) {
	b, ok := r.file(dir, "cpu.stat")
	if !ok {
		return
	}
	stat := map[string]uint64{}
	parseFlat(b, func(k string, v uint64) { stat[k] = v })
	r.counter(descCPUUsage, ofMicro(stat["usage_usec"]), "total")
	r.counter(descCPUUser, ofMicro(stat["user_usec"]))
	r.counter(descCPUSystem, ofMicro(stat["system_usec"]))

	quota, period := uint64(unlimited), uint64(0)
	if b, ok := r.file(dir, "cpu.max"); ok {
		if q, p, ok := parseCPUMax(b); ok {
			quota, period = q, p
		}
	}
	var shares uint64
	if w, ok := r.uint(dir, "cpu.weight"); ok {
		shares = sharesOfWeight(w)
	}
	r.cpuSpec(quota, period, shares, throttling{
		periods:   stat["nr_periods"],
		throttled: stat["nr_throttled"],
		seconds:   ofMicro(stat["throttled_usec"]),
	})
}

func (r *reader) memory2(dir string) {
	usage, ok := r.uint(dir, "memory.current")
	if !ok {
		return
	}
	var inactive, anon, cache uint64
	if b, ok := r.file(dir, "memory.stat"); ok {
		parseFlat(b, func(k string, v uint64) {
			switch k {
			case "inactive_file":
				inactive = v
			case "anon":
				anon = v
			case "file":
				cache = v
			}
		})
	}
	r.memory(usage, inactive, anon, cache)
	if v, ok := r.uint(dir, "memory.peak"); ok {
		r.gauge(descMemMax, float64(v))
	}
	if v, ok := r.uint(dir, "memory.max"); ok {
		r.gauge(descMemLimit, limit(v))
	}
	if v, ok := r.uint(dir, "memory.swap.current"); ok {
		r.gauge(descMemSwap, float64(v))
	}
	if b, ok := r.file(dir, "memory.events"); ok {
		parseFlat(b, func(k string, v uint64) {
			switch k {
			case "max":
				r.counter(descMemFailcnt, float64(v))
			case "oom_kill":
				r.counter(descOOM, float64(v))
			}
		})
	}
}
