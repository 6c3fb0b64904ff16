package cgroup

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// maxFile is how much of one file is read, in bytes: a memory.stat has some
// 2 KiB, an io.stat 100 bytes for each device.
const maxFile = 128 << 10

// reader reads the files of one group and emits its metrics. It lives for one
// group; the buffer is handed from one to the next.
type reader struct {
	id    identity
	ch    chan<- prometheus.Metric
	buf   *bytes.Buffer
	errs  int
	block func(device string) string
	pairs []*dto.LabelPair
}

// file returns the content of a file, valid until the next call. A file that
// does not exist, or whose group has gone (ENODEV), is no error.
func (r *reader) file(dir, name string) ([]byte, bool) {
	if dir == "" {
		return nil, false
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		r.note(err)
		return nil, false
	}
	defer f.Close()
	r.buf.Reset()
	if _, err := r.buf.ReadFrom(io.LimitReader(f, maxFile)); err != nil {
		r.note(err)
		return nil, false
	}
	return r.buf.Bytes(), true
}

func (r *reader) note(err error) {
	if !errors.Is(err, os.ErrNotExist) && !gone(err) {
		r.errs++
	}
}

func (r *reader) uint(dir, name string) (uint64, bool) {
	b, ok := r.file(dir, name)
	if !ok {
		return 0, false
	}
	return parseUint(b)
}

// lines counts the lines of a file of any length.
func (r *reader) lines(dir, name string) (uint64, bool) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		r.note(err)
		return 0, false
	}
	defer f.Close()
	var n uint64
	chunk := make([]byte, 4096)
	for {
		k, err := f.Read(chunk)
		n += uint64(bytes.Count(chunk[:k], []byte("\n")))
		if errors.Is(err, io.EOF) {
			return n, true
		}
		if err != nil {
			r.note(err)
			return 0, false
		}
	}
}

// born returns when the group's inode was made, as far as the kernel still
// knows.
func (r *reader) born(dirs ...string) (time.Time, bool) {
	var first time.Time
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		st, err := os.Stat(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		if t := st.ModTime(); first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first, !first.IsZero()
}

func (r *reader) counter(d *prometheus.Desc, v float64, more ...string) {
	r.emit(d, prometheus.CounterValue, v, more)
}

func (r *reader) gauge(d *prometheus.Desc, v float64, more ...string) {
	r.emit(d, prometheus.GaugeValue, v, more)
}

// emit sends one sample. more is the value of the one label that a metric may
// have beside groupLabels.
func (r *reader) emit(d *prometheus.Desc, t prometheus.ValueType, v float64, more []string) {
	s := &sample{desc: d, kind: t, value: v, labels: r.labels()}
	if len(more) > 0 {
		s.labels = append([]*dto.LabelPair{{Name: moreLabels[d], Value: &more[0]}}, s.labels...)
	}
	r.ch <- s
}

// labels returns the pairs that all samples of the group share, in the order
// of their names, as the exposition wants them.
func (r *reader) labels() []*dto.LabelPair {
	if r.pairs == nil {
		values := map[string]*string{"id": &r.id.id, "name": &r.id.name, "image": new(string), "runtime": &r.id.runtime, "pod_uid": &r.id.podUID}
		for _, name := range groupLabels {
			r.pairs = append(r.pairs, &dto.LabelPair{Name: &name, Value: values[name]})
		}
	}
	return r.pairs
}

// sample is a prometheus.Metric. The library's constant metrics would copy the
// labels of a group some thirty times.
type sample struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	value  float64
	labels []*dto.LabelPair
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	if s.kind == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &s.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// seconds of the units the kernel counts in.
func ofMicro(v uint64) float64 { return float64(v) / 1e6 }
func ofNano(v uint64) float64  { return float64(v) / 1e9 }

// limit is 0 for "no limit", as cAdvisor has it.
func limit(v uint64) float64 {
	if v >= v1Unlimited {
		return 0
	}
	return float64(v)
}

// cpuSpec emits quota, period and shares, and the throttling counters where a
// quota is or was in force: for all other groups they are always 0.
func (r *reader) cpuSpec(quota, period, shares uint64, t throttling) {
	limited := quota != unlimited && quota > 0
	if limited {
		r.gauge(descSpecQuota, float64(quota))
	}
	if period > 0 {
		r.gauge(descSpecPeriod, float64(period))
	}
	if shares > 0 {
		r.gauge(descSpecShares, float64(shares))
	}
	if limited || t.periods > 0 {
		r.counter(descCFSPeriods, float64(t.periods))
		r.counter(descCFSThrottled, float64(t.throttled))
		r.counter(descCFSThrottledS, t.seconds)
	}
}

type throttling struct {
	periods, throttled uint64
	seconds            float64
}

// memory is what both versions know under different names.
func (r *reader) memory(usage, inactiveFile, rss, cache uint64) {
	r.gauge(descMemUsage, float64(usage))
	r.gauge(descMemWorkingSet, float64(usage-min(usage, inactiveFile)))
	r.gauge(descMemRSS, float64(rss))
	r.gauge(descMemCache, float64(cache))
}

func (r *reader) pids(dir string) {
	if n, ok := r.uint(dir, "pids.current"); ok {
		r.gauge(descThreads, float64(n))
	}
	if n, ok := r.uint(dir, "pids.max"); ok {
		r.gauge(descThreadsMax, limit(n))
	}
}

func (r *reader) devices(all map[string]traffic) {
	for dev, d := range all {
		name := r.block(dev)
		r.counter(descReadBytes, float64(d.readBytes), name)
		r.counter(descWriteBytes, float64(d.writtenBytes), name)
		r.counter(descReads, float64(d.reads), name)
		r.counter(descWrites, float64(d.writes), name)
	}
}

func (r *reader) pressure(dir string) {
	for resource, d := range descPressure {
		b, ok := r.file(dir, resource+".pressure")
		if !ok {
			continue
		}
		if some, full, ok := parsePressure(b); ok {
			r.counter(d.waiting, ofMicro(some))
			r.counter(d.stalled, ofMicro(full))
		}
	}
}
