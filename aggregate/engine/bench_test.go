package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
)

// The data: pods of perPod series, 10 labels each, in batches of 1000 samples as a
// sender writes them: snappy over remote write 1.0.
func benchLabels(i, perPod int) labels.Labels {
	pod := i / perPod
	return labels.FromStrings(
		"__name__", "http_requests_total", "cluster", "eu-central-1-production", "env", "production",
		"instance", fmt.Sprintf("10.%d.%d.%d:8080", pod>>16, pod>>8&255, pod&255), "job", "kubernetes-pods",
		"method", [...]string{"GET", "POST", "PUT", "DELETE"}[i%4], "namespace", fmt.Sprintf("team-%02d", i%25),
		"path", fmt.Sprintf("/api/v1/resource/%d", i%perPodPaths(perPod)), "pod", fmt.Sprintf("frontend-deployment-%08x-%05d", uint32(pod)*2654435761, pod%99999),
		"status", [...]string{"200", "404"}[i/4%2])
}

func perPodPaths(int) int { return 20 }

const benchBatch = 1000

func appendTimeSeries(dst, raw []byte, t int64, v float64) []byte {
	var s []byte
	s = append(s, 0x09)
	s = binary.LittleEndian.AppendUint64(s, math.Float64bits(v))
	s = append(s, 0x10)
	s = binary.AppendUvarint(s, uint64(t))
	n := len(raw) + 2 + len(s)
	dst = append(dst, 0x0a)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, raw...)
	dst = append(dst, 0x12, byte(len(s)))
	return append(dst, s...)
}

// walk calls f for each sample of a decoded request.
func walk(b []byte, f func(raw []byte, t int64, v float64)) {
	for len(b) > 0 {
		n, k := binary.Uvarint(b[1:])
		ts := b[1+k : 1+k+int(n)]
		b = b[1+k+int(n):]
		at := 0
		for ts[at] == 0x0a {
			n, k := uint64(ts[at+1]), 1
			if n >= 0x80 {
				n, k = binary.Uvarint(ts[at+1:])
			}
			at += 1 + k + int(n)
		}
		s := ts[at+2:]
		v := math.Float64frombits(binary.LittleEndian.Uint64(s[1:]))
		t, _ := binary.Uvarint(s[10:])
		f(ts[:at], int64(t), v)
	}
}

func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkCommit reports CPU per sample (getrusage, with garbage collection) and
// heap per series, after three rounds of all series.
func BenchmarkCommit(b *testing.B) {
	const rules = "rules:\n- interval: 1h\n  without: [instance, pod]\n  outputs: [%s]\n  keep_input: false\n"
	for _, n := range []int{100_000, 1_000_000} {
		for _, perPod := range []int{20, 1} {
			for _, output := range []string{"total", "'quantiles(0.5, 0.99)'", "rate_sum"} {
				if output != "total" && (n > 100_000 || perPod == 1) {
					continue
				}
				name := fmt.Sprintf("%s/%d/perpod%d", strings.Trim(output, "'")[:5], n, perPod)
				b.Run(name+"/raw", func(b *testing.B) { benchRaw(b, fmt.Sprintf(rules, output), n, perPod, false) })
				b.Run(name+"/raws", func(b *testing.B) { benchRaw(b, fmt.Sprintf(rules, output), n, perPod, true) })
				if output == "total" {
					b.Run(name+"/ref", func(b *testing.B) { benchRef(b, fmt.Sprintf(rules, output), n, perPod) })
				}
			}
		}
	}
}

type bench struct {
	r      *rig
	bodies [][]byte
	buf    []byte
	sum    uint64
	bulk   bool
	raws   []Raw
}

func (x *bench) encode(raws [][]byte, round int64) {
	x.bodies = x.bodies[:0]
	var msg []byte
	for from := 0; from < len(raws); from += benchBatch {
		msg = msg[:0]
		for i := from; i < from+benchBatch; i++ {
			msg = appendTimeSeries(msg, raws[i], origin+round*10_000, float64(round)*100)
		}
		x.bodies = append(x.bodies, snappy.Encode(nil, msg))
	}
}

func (x *bench) play(b *testing.B, body []byte, learn func(raw []byte) labels.Labels, now int64) {
	msg, err := snappy.Decode(x.buf[:cap(x.buf)], body)
	if err != nil {
		b.Fatal(err)
	}
	x.buf = msg
	batch := x.r.e.Begin(1)
	if x.bulk && learn == nil {
		x.raws = x.raws[:0]
		walk(msg, func(raw []byte, t int64, v float64) { x.raws = append(x.raws, Raw{Labels: raw, T: t, V: v}) })
		if left := batch.AppendRaws(x.raws); left != 0 {
			b.Fatalf("%d samples are not taken", left)
		}
		batch.Commit(now)
		return
	}
	walk(msg, func(raw []byte, t int64, v float64) {
		if !batch.AppendRaw(raw, 0, t, v) {
			batch.Learn(raw, learn(raw))
			if !batch.AppendRaw(raw, 0, t, v) {
				b.Fatal("a series is not taken that was learnt")
			}
		}
	})
	batch.Commit(now)
}

// decode is what of it is snappy, walking, and hashing.
func (x *bench) decode(b *testing.B) int64 {
	start := cpuTime()
	for _, body := range x.bodies {
		msg, err := snappy.Decode(x.buf[:cap(x.buf)], body)
		if err != nil {
			b.Fatal(err)
		}
		walk(msg, func(raw []byte, _ int64, _ float64) { x.sum ^= x.r.e.fingerprint(raw).Lo })
	}
	return cpuTime() - start
}

func benchRaw(b *testing.B, rules string, n, perPod int, bulk bool) {
	raws := make([][]byte, n)
	for i := range raws {
		raws[i] = appendLabels(nil, benchLabels(i, perPod), nil)
	}
	x := &bench{bulk: bulk}
	x.encode(raws, 1)
	before := heap()
	x.r = newRig(b, rules, func(o *Options) { o.Shards = 0 })
	scratch := labels.NewScratchBuilder(16)
	learn := func(raw []byte) labels.Labels {
		ls, err := parseLabels(raw, &scratch)
		if err != nil {
			b.Fatal(err)
		}
		return ls
	}
	for round := int64(1); round <= 3; round++ {
		x.encode(raws, round)
		for _, body := range x.bodies {
			x.play(b, body, learn, origin+round*10_000)
		}
	}
	held := heap() - before
	round := int64(3)
	var spent int64
	b.ResetTimer()
	done := 0
	for done < b.N {
		b.StopTimer()
		round++
		x.encode(raws, round)
		b.StartTimer()
		start := cpuTime()
		for _, body := range x.bodies {
			x.play(b, body, nil, origin+round*10_000)
			if done += benchBatch; done >= b.N {
				break
			}
		}
		spent += cpuTime() - start
	}
	b.ReportMetric(float64(spent)/float64(done), "cpu-ns/sample")
	b.ReportMetric(float64(x.decode(b))/float64(n), "decode-ns/sample")
	b.ReportMetric(float64(held)/float64(n), "heap-B/series")
	runtime.KeepAlive(x)
}

func benchRef(b *testing.B, rules string, n, perPod int) {
	r := newRig(b, rules, func(o *Options) { o.Shards = 0 })
	refs := make([]Ref, n)
	all := make([]labels.Labels, n)
	for i := range refs {
		all[i] = benchLabels(i, perPod)
	}
	play := func(round int64, from int) {
		batch := r.e.Begin(1)
		for i := from; i < from+benchBatch; i++ {
			refs[i], _ = batch.Append(refs[i], all[i], 0, origin+round*10_000, float64(round)*100)
		}
		batch.Commit(origin + round*10_000)
	}
	for round := int64(1); round <= 3; round++ {
		for from := 0; from < n; from += benchBatch {
			play(round, from)
		}
	}
	b.ResetTimer()
	start := cpuTime()
	for done, round, from := 0, int64(4), 0; done < b.N; done += benchBatch {
		play(round, from)
		if from += benchBatch; from == n {
			from, round = 0, round+1
		}
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/sample")
}
