package cgroup

import "github.com/prometheus/client_golang/prometheus"

// groupLabels are on every metric. image is always empty: the tree does not
// know it; it is there because queries written for cAdvisor select on it.
// They are sorted, and the one more label that some metrics have comes first.
var groupLabels = []string{"id", "image", "name", "pod_uid", "runtime"}

func desc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("container_"+name, help, append(more, groupLabels...), nil)
}

// moreLabels names the label that a metric has beside groupLabels.
var moreLabels = map[*prometheus.Desc]*string{
	descCPUUsage:  new("cpu"),
	descReadBytes: new("device"), descWriteBytes: new("device"),
	descReads: new("device"), descWrites: new("device"),
}

var (
	descLastSeen  = desc("last_seen", "Unix time of this measurement in seconds.")
	descStartTime = desc("start_time_seconds", "Unix time at which the group was first known to exist in seconds.")

	descCPUUsage      = desc("cpu_usage_seconds_total", "CPU time used in seconds.", "cpu")
	descCPUUser       = desc("cpu_user_seconds_total", "CPU time used in user mode in seconds.")
	descCPUSystem     = desc("cpu_system_seconds_total", "CPU time used in system mode in seconds.")
	descCFSPeriods    = desc("cpu_cfs_periods_total", "Enforcement periods that have elapsed.")
	descCFSThrottled  = desc("cpu_cfs_throttled_periods_total", "Enforcement periods in which the group was throttled.")
	descCFSThrottledS = desc("cpu_cfs_throttled_seconds_total", "Time for which the group was throttled in seconds.")
	descSpecQuota     = desc("spec_cpu_quota", "CPU quota per period in microseconds; absent without a limit.")
	descSpecPeriod    = desc("spec_cpu_period", "CPU period in microseconds.")
	descSpecShares    = desc("spec_cpu_shares", "CPU shares; version 2 weights are converted.")

	descMemUsage      = desc("memory_usage_bytes", "Memory in use, caches included, in bytes.")
	descMemWorkingSet = desc("memory_working_set_bytes", "Memory in use without inactive file cache in bytes.")
	descMemRSS        = desc("memory_rss", "Anonymous memory in bytes.")
	descMemCache      = desc("memory_cache", "Page cache in bytes.")
	descMemSwap       = desc("memory_swap", "Swap in use in bytes.")
	descMemMax        = desc("memory_max_usage_bytes", "Highest memory usage recorded in bytes.")
	descMemFailcnt    = desc("memory_failcnt", "Times the memory limit was hit.")
	descMemLimit      = desc("spec_memory_limit_bytes", "Memory limit in bytes; 0 without a limit.")
	descOOM           = desc("oom_events_total", "Processes killed because the group was out of memory.")

	descProcesses  = desc("processes", "Processes in the group itself.")
	descThreads    = desc("threads", "Threads in the group and below.")
	descThreadsMax = desc("threads_max", "Most threads allowed; 0 without a limit.")

	descReadBytes  = desc("fs_reads_bytes_total", "Bytes read from block devices.", "device")
	descWriteBytes = desc("fs_writes_bytes_total", "Bytes written to block devices.", "device")
	descReads      = desc("fs_reads_total", "Read requests to block devices.", "device")
	descWrites     = desc("fs_writes_total", "Write requests to block devices.", "device")

	descPressure = map[string]struct{ waiting, stalled *prometheus.Desc }{
		"cpu":    pressureDescs("cpu"),
		"memory": pressureDescs("memory"),
		"io":     pressureDescs("io"),
	}
)

func pressureDescs(resource string) struct{ waiting, stalled *prometheus.Desc } {
	return struct{ waiting, stalled *prometheus.Desc }{
		waiting: desc("pressure_"+resource+"_waiting_seconds_total", "Time in which at least one task waited for "+resource+" in seconds."),
		stalled: desc("pressure_"+resource+"_stalled_seconds_total", "Time in which all tasks waited for "+resource+" in seconds."),
	}
}
