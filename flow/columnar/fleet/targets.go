package fleet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
)

// host is a machine with a node exporter.
func (f *Fleet) host(i int) *Target {
	b := f.target("node", fmt.Sprintf("host-%02d.example:9100", i))
	r := f.rand
	b.add(constant(1), "up")
	for cpu := range 8 {
		for _, mode := range []string{"idle", "user", "system", "iowait", "irq", "nice", "softirq", "steal"} {
			mean := map[string]float64{"idle": 1300, "user": 120, "system": 50, "iowait": 3, "softirq": 2}[mode]
			step := constant(0)
			if mean > 0 {
				step = counter(r, mean, 2)
			}
			b.add(step, "node_cpu_seconds_total", "cpu", strconv.Itoa(cpu), "mode", mode)
		}
	}
	for dev := range 6 {
		for k, name := range []string{"reads_completed_total", "writes_completed_total", "read_bytes_total", "written_bytes_total", "io_time_seconds_total", "read_time_seconds_total", "write_time_seconds_total", "discards_completed_total"} {
			b.add(disk(r, dev, k), "node_disk_"+name, "device", fmt.Sprintf("sd%c", 'a'+dev))
		}
	}
	for dev := range 8 {
		for k, name := range []string{"receive_bytes_total", "transmit_bytes_total", "receive_packets_total", "transmit_packets_total", "receive_errs_total", "transmit_errs_total", "receive_drop_total", "transmit_drop_total"} {
			b.add(netdev(r, dev, k), "node_network_"+name, "device", fmt.Sprintf("eth%d", dev))
		}
	}
	for k := range 50 {
		b.add(memory(r, k), fmt.Sprintf("node_memory_Field%02d_bytes", k))
	}
	for mount := range 8 {
		for _, name := range []string{"size_bytes", "avail_bytes", "files", "files_free", "readonly"} {
			step := constant(float64(r.Int64N(1 << 40)))
			if name == "avail_bytes" || name == "files_free" {
				step = pages(r, 1e9, 0.5)
			}
			b.add(step, "node_filesystem_"+name, "mountpoint", fmt.Sprintf("/data/%d", mount), "fstype", "ext4")
		}
	}
	for k, name := range []string{"node_load1", "node_load5", "node_load15"} {
		b.add(gauge(2, 0.2/float64(k+1), 0.1, 2), name)
	}
	for k := range 40 {
		b.add(gauge(0.3, 0.05, 0.05, -1), "node_pressure_ewma", "resource", strconv.Itoa(k))
	}
	for k := 0; len(b.t.Labels) < HostSeries; k++ {
		b.add(vmstat(r, k), fmt.Sprintf("node_vmstat_field_%03d", k))
	}
	return b.t
}

func disk(r *rand.Rand, dev, k int) next {
	if k == 7 || dev > 3 {
		return constant(float64(r.Int64N(1e6)))
	}
	if k == 2 || k == 3 {
		return blocks(counter(r, rateOf(r, 400, 2), 0), 4096)
	}
	if k >= 4 {
		return counter(r, rateOf(r, 100, 2), 3)
	}
	return counter(r, rateOf(r, 100, 2), 0)
}

func blocks(c next, size float64) next { return func(r *rand.Rand) float64 { return c(r) * size } }

func netdev(r *rand.Rand, dev, k int) next {
	switch {
	case dev > 4 || k >= 4:
		return constant(float64(r.Int64N(100)))
	case k < 2:
		packets, n := rateOf(r, 2000, 2), 0.0
		return func(r *rand.Rand) float64 {
			n += math.Floor(poisson(r, packets) * (300 + 100*r.Float64()))
			return n
		}
	}
	return counter(r, rateOf(r, 2000, 2), 0)
}

func memory(r *rand.Rand, k int) next {
	if k%3 == 2 {
		return constant(float64(r.Int64N(1<<22)) * 4096)
	}
	return pages(r, 4e9, 0.25)
}

// pages is a gauge of whole pages of memory.
func pages(r *rand.Rand, middle, still float64) next {
	g := gauge(middle/4096*r.Float64(), 200, still, 0)
	return func(r *rand.Rand) float64 { return math.Abs(g(r)) * 4096 }
}

func vmstat(r *rand.Rand, k int) next {
	switch k % 5 {
	case 0, 1:
		return constant(float64(r.Int64N(1e7)))
	case 2:
		return counter(r, rateOf(r, 0.5, 2), 0)
	case 3:
		return counter(r, rateOf(r, 50, 3), k%2*2)
	}
	return gauge(1000, 30, 0.45, k%2)
}

var bounds = []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"}

// service is an application with request counters and latency histograms.
func (f *Fleet) service(i int) *Target {
	b := f.target(fmt.Sprintf("shop-%d", i%6), fmt.Sprintf("10.0.%d.%d:8080", i/6, 10+i))
	r := f.rand
	b.add(constant(1), "up")
	for path := range 10 {
		for k, code := range []string{"200", "201", "400", "404", "429", "500"} {
			mean := rateOf(r, []float64{200, 20, 0.8, 4, 0.1, 0.05}[k], 1)
			b.add(counter(r, mean, 0), "http_requests_total", "path", fmt.Sprintf("/api/v1/resource/%d", path), "code", code)
		}
	}
	for path := range 10 {
		b.histogram(rateOf(r, 80, 1.5), "http_request_duration_seconds", "path", fmt.Sprintf("/api/v1/resource/%d", path))
	}
	b.add(gauge(120, 4, 0.3, 0), "go_goroutines")
	for k := range 24 {
		b.add(pages(r, 1e8, 0.2), fmt.Sprintf("go_memstats_field_%02d_bytes", k))
	}
	b.add(counter(r, 300, 2), "process_cpu_seconds_total")
	for q := range 3 {
		b.add(gauge(1e-4, 1e-5, 0.5, 7), "go_gc_duration_seconds", "quantile", strconv.Itoa(q))
	}
	for k := range 8 {
		b.add(gauge(0.5, 0.03, 0.02, -1), "queue_latency_ewma_seconds", "queue", strconv.Itoa(k))
	}
	for k := 0; len(b.t.Labels) < ServiceSeries; k++ {
		step := constant(float64(k))
		if k%3 == 0 {
			step = counter(r, rateOf(r, 10, 2), 2)
		}
		b.add(step, "app_events_total", "kind", fmt.Sprintf("kind-%02d", k))
	}
	return b.t
}

// histogram adds 12 buckets, a sum with a full mantissa and a count.
func (b *targetBuilder) histogram(mean float64, name string, pairs ...string) {
	at := len(b.t.Values)
	for _, le := range bounds {
		b.add(nil, name+"_bucket", append([]string{"le", le}, pairs...)...)
	}
	b.add(nil, name+"_sum", pairs...)
	b.add(nil, name+"_count", pairs...)
	upper := make([]float64, len(bounds))
	for i := range upper[:len(upper)-1] {
		upper[i] = decimalOf(bounds[i])
	}
	upper[len(upper)-1] = math.Inf(1)
	median, t := 0.02*math.Pow(10, b.r.Float64()), b.t
	t.group = append(t.group, func(r *rand.Rand) {
		for range int(poisson(r, mean)) {
			took := median * math.Exp(0.8*r.NormFloat64())
			for i := sort.SearchFloat64s(upper, took); i < len(upper); i++ {
				t.Values[at+i]++
			}
			t.Values[at+len(upper)] += took
			t.Values[at+len(upper)+1]++
		}
	})
}

func decimalOf(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(fmt.Sprintf("BUG: %q is no number: %v", s, err))
	}
	return v
}
