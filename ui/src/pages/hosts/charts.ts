import type { Unit } from "@/chart/units";
import { quoted } from "@/prom/names";

export const sections = ["cpu", "memory", "disk", "network", "process", "container"] as const;
export type Section = (typeof sections)[number];

/** HostChart is a chart of one host, before it has words. */
export type HostChart = {
  id: ChartID;
  section: Section;
  queries: { expr: string; legend?: string }[];
  needs: string[];
  unit: Unit;
  stacked?: boolean;
};
export type ChartID =
  | "cpu"
  | "load"
  | "pressure"
  | "memory"
  | "swap"
  | "paging"
  | "space"
  | "inodes"
  | "throughput"
  | "busy"
  | "latency"
  | "traffic"
  | "faults"
  | "tcp"
  | "retransmits"
  | "processes"
  | "forks"
  | "files"
  | "containerCPU"
  | "containerMemory"
  | "containerPressure";

/** File systems that hold nothing of their own. */
const pseudo = 'fstype!~"tmpfs|ramfs|squashfs|overlay|devtmpfs|nsfs|fuse.lxcfs|iso9660"';

/** hostMatchers pick one host's series, and those of one island where that is known. */
export function hostMatchers(instance: string, island: string | null): string {
  const own = `instance=${quoted(instance)}`;
  return island === null || island === "" ? own : `${own},island=${quoted(island)}`;
}

/** hostCharts are all charts that a host can have, for its matchers and the window of rates. */
export function hostCharts(m: string, w: string): HostChart[] {
  const rate = (metric: string, more = "") => `rate(${metric}{${m}${more}}[${w}])`;
  const mem = (name: string) => `node_memory_${name}_bytes{${m}}`;
  return [
    {
      id: "cpu",
      section: "cpu",
      needs: ["node_cpu_seconds_total"],
      unit: "ratio",
      stacked: true,
      queries: [
        {
          expr: `sum by (mode) (${rate("node_cpu_seconds_total", ',mode!~"idle|guest.*"')}) / scalar(count(node_cpu_seconds_total{${m},mode="idle"}))`,
          legend: "{{mode}}",
        },
      ],
    },
    {
      id: "load",
      section: "cpu",
      needs: ["node_load1"],
      unit: "number",
      queries: [
        { expr: `node_load1{${m}}`, legend: "1 min" },
        { expr: `node_load5{${m}}`, legend: "5 min" },
        { expr: `node_load15{${m}}`, legend: "15 min" },
        { expr: `count(node_cpu_seconds_total{${m},mode="idle"})`, legend: "CPUs" },
      ],
    },
    {
      id: "pressure",
      section: "cpu",
      needs: ["node_pressure_cpu_waiting_seconds_total", "node_pressure_memory_waiting_seconds_total"],
      unit: "ratio",
      queries: [
        { expr: rate("node_pressure_cpu_waiting_seconds_total"), legend: "cpu, some wait" },
        { expr: rate("node_pressure_memory_waiting_seconds_total"), legend: "memory, some wait" },
        { expr: rate("node_pressure_memory_stalled_seconds_total"), legend: "memory, all stall" },
        { expr: rate("node_pressure_io_waiting_seconds_total"), legend: "io, some wait" },
        { expr: rate("node_pressure_io_stalled_seconds_total"), legend: "io, all stall" },
      ],
    },
    {
      id: "memory",
      section: "memory",
      needs: ["node_memory_MemTotal_bytes"],
      unit: "bytes",
      stacked: true,
      queries: [
        {
          expr: `${mem("MemTotal")} - ${mem("MemFree")} - ${mem("Buffers")} - ${mem("Cached")} - ${mem("SReclaimable")}`,
          legend: "used",
        },
        { expr: `${mem("Buffers")} + ${mem("Cached")} + ${mem("SReclaimable")}`, legend: "cache" },
        { expr: mem("MemFree"), legend: "free" },
      ],
    },
    {
      id: "swap",
      section: "memory",
      needs: ["node_memory_SwapTotal_bytes"],
      unit: "bytes",
      queries: [
        { expr: `(${mem("SwapTotal")} - ${mem("SwapFree")}) and ${mem("SwapTotal")} > 0`, legend: "used" },
        { expr: `${mem("SwapTotal")} > 0`, legend: "all" },
      ],
    },
    {
      id: "paging",
      section: "memory",
      needs: ["node_vmstat_pgmajfault"],
      unit: "perSecond",
      queries: [
        { expr: rate("node_vmstat_pgmajfault"), legend: "major faults" },
        { expr: rate("node_vmstat_pswpin"), legend: "swapped in" },
        { expr: rate("node_vmstat_pswpout"), legend: "swapped out" },
      ],
    },
    {
      id: "space",
      section: "disk",
      needs: ["node_filesystem_avail_bytes"],
      unit: "ratio",
      queries: [
        {
          expr: `max by (mountpoint) (1 - node_filesystem_avail_bytes{${m},${pseudo}} / node_filesystem_size_bytes{${m},${pseudo}})`,
          legend: "{{mountpoint}}",
        },
      ],
    },
    {
      id: "inodes",
      section: "disk",
      needs: ["node_filesystem_files"],
      unit: "ratio",
      queries: [
        {
          expr: `max by (mountpoint) (1 - node_filesystem_files_free{${m},${pseudo}} / (node_filesystem_files{${m},${pseudo}} > 0))`,
          legend: "{{mountpoint}}",
        },
      ],
    },
    {
      id: "throughput",
      section: "disk",
      needs: ["node_disk_read_bytes_total"],
      unit: "bytesPerSecond",
      queries: [
        { expr: `sum by (device) (${rate("node_disk_read_bytes_total")})`, legend: "{{device}} read" },
        { expr: `sum by (device) (${rate("node_disk_written_bytes_total")})`, legend: "{{device}} written" },
      ],
    },
    {
      id: "busy",
      section: "disk",
      needs: ["node_disk_io_time_seconds_total"],
      unit: "ratio",
      queries: [
        { expr: `sum by (device) (${rate("node_disk_io_time_seconds_total")})`, legend: "{{device}}" },
      ],
    },
    {
      id: "latency",
      section: "disk",
      needs: ["node_disk_read_time_seconds_total"],
      unit: "seconds",
      queries: (["read", "write"] as const).map((way) => ({
        expr: `sum by (device) (${rate(`node_disk_${way}_time_seconds_total`)}) / (sum by (device) (${rate(`node_disk_${way}s_completed_total`)}) > 0)`,
        legend: `{{device}} ${way}`,
      })),
    },
    {
      id: "traffic",
      section: "network",
      needs: ["node_network_receive_bytes_total"],
      unit: "bytesPerSecond",
      queries: [
        {
          expr: `sum by (device) (${rate("node_network_receive_bytes_total", ',device!="lo"')})`,
          legend: "{{device}} in",
        },
        {
          expr: `sum by (device) (${rate("node_network_transmit_bytes_total", ',device!="lo"')})`,
          legend: "{{device}} out",
        },
      ],
    },
    {
      id: "faults",
      section: "network",
      needs: ["node_network_receive_errs_total"],
      unit: "perSecond",
      queries: [
        {
          expr: `sum by (device) (${rate("node_network_receive_errs_total", ',device!="lo"')})`,
          legend: "{{device}} errors in",
        },
        {
          expr: `sum by (device) (${rate("node_network_transmit_errs_total", ',device!="lo"')})`,
          legend: "{{device}} errors out",
        },
        {
          expr: `sum by (device) (${rate("node_network_receive_drop_total", ',device!="lo"')})`,
          legend: "{{device}} dropped in",
        },
        {
          expr: `sum by (device) (${rate("node_network_transmit_drop_total", ',device!="lo"')})`,
          legend: "{{device}} dropped out",
        },
      ],
    },
    {
      id: "tcp",
      section: "network",
      needs: ["node_netstat_Tcp_CurrEstab", "node_sockstat_TCP_tw"],
      unit: "number",
      queries: [
        { expr: `node_netstat_Tcp_CurrEstab{${m}}`, legend: "established" },
        { expr: `node_sockstat_TCP_tw{${m}}`, legend: "time wait" },
        { expr: `node_sockstat_TCP_orphan{${m}}`, legend: "orphaned" },
      ],
    },
    {
      id: "retransmits",
      section: "network",
      needs: ["node_netstat_Tcp_RetransSegs"],
      unit: "ratio",
      queries: [
        {
          expr: `${rate("node_netstat_Tcp_RetransSegs")} / (${rate("node_netstat_Tcp_OutSegs")} > 0)`,
          legend: "retransmitted",
        },
      ],
    },
    {
      id: "processes",
      section: "process",
      needs: ["node_procs_running"],
      unit: "number",
      queries: [
        { expr: `node_procs_running{${m}}`, legend: "running" },
        { expr: `node_procs_blocked{${m}}`, legend: "blocked" },
      ],
    },
    {
      id: "forks",
      section: "process",
      needs: ["node_forks_total", "node_context_switches_total"],
      unit: "perSecond",
      queries: [{ expr: rate("node_forks_total"), legend: "started" }],
    },
    {
      id: "files",
      section: "process",
      needs: ["node_filefd_allocated"],
      unit: "number",
      queries: [{ expr: `node_filefd_allocated{${m}}`, legend: "open" }],
    },
    {
      id: "containerCPU",
      section: "container",
      needs: ["container_cpu_usage_seconds_total"],
      unit: "number",
      queries: [
        {
          expr: `topk(10, sum by (id, name) (${rate("container_cpu_usage_seconds_total", ',id!="/"')}))`,
          legend: "{{name}} {{id}}",
        },
      ],
    },
    {
      id: "containerMemory",
      section: "container",
      needs: ["container_memory_working_set_bytes"],
      unit: "bytes",
      queries: [
        {
          expr: `topk(10, sum by (id, name) (container_memory_working_set_bytes{${m},id!="/"}))`,
          legend: "{{name}} {{id}}",
        },
      ],
    },
    {
      id: "containerPressure",
      section: "container",
      needs: ["container_pressure_cpu_waiting_seconds_total"],
      unit: "ratio",
      queries: [
        {
          expr: `topk(10, sum by (id, name) (${rate("container_pressure_cpu_waiting_seconds_total", ',id!="/"')}) > 0)`,
          legend: "{{name}} {{id}}",
        },
      ],
    },
  ];
}

/** The questions behind the list of hosts. Without a network there is no label island, and none is missed. */
export const listQueries = (w: string) => {
  const by = "by (instance, island)";
  return {
    // Who was there within the hour is listed, though it may be silent now.
    info: "group by (instance, island, nodename, release, machine) (last_over_time(node_uname_info[1h]))",
    // Where there is no uname, memory or load tell that there is a host.
    bare: `group ${by} (last_over_time(node_memory_MemTotal_bytes[1h]) or last_over_time(node_load1[1h]))`,
    cpu: `1 - avg ${by} (rate(node_cpu_seconds_total{mode="idle"}[${w}]))`,
    memory: `max ${by} (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)`,
    disk: `max ${by} (1 - node_filesystem_avail_bytes{${pseudo}} / (node_filesystem_size_bytes{${pseudo}} > 0))`,
    load: `max ${by} (node_load1)`,
    cores: `count ${by} (node_cpu_seconds_total{mode="idle"})`,
    boot: `max ${by} (node_boot_time_seconds)`,
  };
};
export type ListQuery = keyof ReturnType<typeof listQueries>;
