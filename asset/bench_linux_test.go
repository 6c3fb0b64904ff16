package asset

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"
)

// company is a source of many resources as a company has them: each with an address
// of its own, the labels that people search by, and what a cloud's discovery adds.
func company(n int) Source {
	regions := []string{"eu-west-1", "eu-central-1", "us-east-1", "ap-southeast-1", "cn-north-1"}
	clouds := []string{"aws", "gcp", "azure", "aliyun"}
	return Source{Name: "company", List: func(_ context.Context, yield func(*Item)) error {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			region, cloud, team := regions[r.IntN(len(regions))], clouds[r.IntN(len(clouds))], fmt.Sprintf("team-%02d", r.IntN(60))
			service := fmt.Sprintf("svc-%03d", r.IntN(400))
			ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
			it := Item{
				Kind: KindTarget, Name: ip + ":9100", State: "up", Summary: "http://" + ip + ":9100/metrics",
				Labels: labels.FromStrings("instance", ip+":9100", "job", service, "team", team, "region", region, "cloud", cloud, "owner", team+"@example.com", "env", "prod"),
				More: labels.FromStrings("__address__", ip+":9100", "__meta_ec2_instance_id", fmt.Sprintf("i-%016x", r.Uint64()), "__meta_ec2_private_ip", ip,
					"__meta_ec2_instance_type", "m6i.large", "__meta_ec2_vpc_id", fmt.Sprintf("vpc-%d", r.IntN(30)), "__meta_ec2_tag_Name", fmt.Sprintf("%s-%s-%d", service, region, i), "__meta_ec2_ami", "ami-0abcdef"),
			}
			switch i % 20 {
			case 0:
				it.Kind, it.Name, it.More = KindMetric, fmt.Sprintf("app_%s_requests_%d_total", service, i), labels.EmptyLabels()
			case 1, 2, 3:
				it.Kind, it.Name = KindHost, fmt.Sprintf("%s-%s-%d", service, region, i)
			case 4, 5, 6, 7:
				it.Kind, it.Name = KindContainer, fmt.Sprintf("%s/%s-%d/app", team, service, i)
			}
			yield(&it)
		}
		return nil
	}}
}

const many = 100_000

// typed are what people type; each of their beginnings is a search of its own.
var typed = []string{"svc-123-eu-west", "10.1.2.3:9100", "region:eu-west kind:host svc-2", "team-17 aws prod", "app_svc-007_requests", "10.1.0.0/16 cloud:gcp", "svc-132-eu-wset-1"}

func keystrokes() (all []string) {
	for _, text := range typed {
		for i := range text {
			all = append(all, text[:i+1])
		}
	}
	return all
}

func BenchmarkSearch(b *testing.B) {
	v := inventory(b, Options{Sources: []Source{company(many)}})
	for _, text := range []string{"1", "svc-123", "10.1.2.3", "region:eu kind:host svc-2", "team-17 aws prod", "svc-132-eu-wset-1"} {
		q := parse(b, text)
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v.Search(q, DefaultLimit)
			}
		})
	}
}

// BenchmarkKeystrokes reports the latency of each keystroke while the queries are
// typed, by the clock and in CPU time of the thread, which is what the clock shows on
// a machine that has nothing else to do; and what the inventory takes.
func BenchmarkKeystrokes(b *testing.B) {
	before := heapBytes()
	v := inventory(b, Options{Sources: []Source{company(many)}})
	taken := heapBytes() - before
	strokes := keystrokes()
	var wall, cpu []time.Duration
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for b.Loop() {
		for _, text := range strokes {
			q := parse(b, text)
			begin, used := time.Now(), threadTime(b)
			v.Search(q, DefaultLimit)
			wall, cpu = append(wall, time.Since(begin)), append(cpu, threadTime(b)-used)
		}
	}
	if testing.Verbose() {
		for i, text := range strokes {
			b.Logf("%-24q %s", text, cpu[i])
		}
	}
	for name, all := range map[string][]time.Duration{"wall": wall, "cpu": cpu} {
		slices.Sort(all)
		for at, share := range map[string]float64{"p50": .5, "p99": .99, "max": 1} {
			b.ReportMetric(float64(all[int(share*float64(len(all)-1))].Microseconds())/1000, at+"-"+name+"-ms")
		}
	}
	b.ReportMetric(float64(taken)/many, "heap-B/resource")
	b.ReportMetric(float64(v.all()[0].bytes())/many, "counted-B/resource")
}

func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkRefresh is a listing that finds nothing new, and one that builds anew.
func BenchmarkRefresh(b *testing.B) {
	v := inventory(b, Options{Sources: []Source{company(many)}})
	b.Run("same", func(b *testing.B) {
		for b.Loop() {
			v.refresh(b.Context(), 0)
		}
	})
	b.Run("changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.mu.Lock()
			v.listed[0].sum++
			v.mu.Unlock()
			v.refresh(b.Context(), 0)
		}
	})
}

// TestMemory holds what a resource with 15 texts takes.
func TestMemory(t *testing.T) {
	const n, most = 20_000, 512
	v := inventory(t, Options{Sources: []Source{company(n)}})
	if got := v.all()[0].bytes() / n; got > most {
		t.Errorf("a resource takes %d bytes, want at most %d", got, most)
	}
}
