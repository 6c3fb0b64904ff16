package cgroup

// userHZ is the unit of cpuacct.stat: the kernel's interface fixes it at 100
// per second on every architecture Go runs on.
const userHZ = 100

// v1 reads one group; dirs holds its directory in each controller's tree. A
// group need not exist in all of them.
func (r *reader) v1(dirs map[string]string) {
	r.cpu1(dirs["cpuacct"], dirs["cpu"])
	r.memory1(dirs["memory"])
	r.pids(dirs["pids"])
	r.blkio1(dirs["blkio"])
}

func (r *reader) cpu1(acct, cpu string) {
	if v, ok := r.uint(acct, "cpuacct.usage"); ok {
		r.counter(descCPUUsage, ofNano(v), "total")
	}
	if b, ok := r.file(acct, "cpuacct.stat"); ok {
		parseFlat(b, func(k string, v uint64) {
			switch k {
			case "user":
				r.counter(descCPUUser, float64(v)/userHZ)
			case "system":
				r.counter(descCPUSystem, float64(v)/userHZ)
			}
		})
	}
	var t throttling
	if b, ok := r.file(cpu, "cpu.stat"); ok {
		parseFlat(b, func(k string, v uint64) {
			switch k {
			case "nr_periods":
				t.periods = v
			case "nr_throttled":
				t.throttled = v
			case "throttled_time":
				t.seconds = ofNano(v)
			}
		})
	}
	quota, ok := r.uint(cpu, "cpu.cfs_quota_us")
	if !ok {
		quota = unlimited
	}
	period, _ := r.uint(cpu, "cpu.cfs_period_us")
	shares, _ := r.uint(cpu, "cpu.shares")
	r.cpuSpec(quota, period, shares, t)
}

func (r *reader) memory1(dir string) {
	usage, ok := r.uint(dir, "memory.usage_in_bytes")
	if !ok {
		return
	}
	// The total_ fields include the groups below, as usage does.
	var inactive, rss, cache, swap uint64
	if b, ok := r.file(dir, "memory.stat"); ok {
		parseFlat(b, func(k string, v uint64) {
			switch k {
			case "total_inactive_file":
				inactive = v
			case "total_rss":
				rss = v
			case "total_cache":
				cache = v
			case "total_swap":
				swap = v
			}
		})
	}
	r.memory(usage, inactive, rss, cache)
	r.gauge(descMemSwap, float64(swap))
	if v, ok := r.uint(dir, "memory.max_usage_in_bytes"); ok {
		r.gauge(descMemMax, float64(v))
	}
	if v, ok := r.uint(dir, "memory.limit_in_bytes"); ok {
		r.gauge(descMemLimit, limit(v))
	}
	if v, ok := r.uint(dir, "memory.failcnt"); ok {
		r.counter(descMemFailcnt, float64(v))
	}
	if b, ok := r.file(dir, "memory.oom_control"); ok {
		parseFlat(b, func(k string, v uint64) {
			if k == "oom_kill" {
				r.counter(descOOM, float64(v))
			}
		})
	}
}

// blkio1 reads the throttling layer's counters, the only ones that are there
// with every I/O scheduler. The recursive files came with Linux 4.17.
func (r *reader) blkio1(dir string) {
	all := map[string]traffic{}
	if b, ok := r.first(dir, "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"); ok {
		parseBlkio(b, all, func(d *traffic, op string, v uint64) {
			switch op {
			case "Read":
				d.readBytes = v
			case "Write":
				d.writtenBytes = v
			}
		})
	}
	if b, ok := r.first(dir, "blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"); ok {
		parseBlkio(b, all, func(d *traffic, op string, v uint64) {
			switch op {
			case "Read":
				d.reads = v
			case "Write":
				d.writes = v
			}
		})
	}
	r.devices(all)
}

func (r *reader) first(dir string, names ...string) ([]byte, bool) {
	for _, name := range names {
		if b, ok := r.file(dir, name); ok {
			return b, true
		}
	}
	return nil, false
}
