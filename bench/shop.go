package main

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/klauspost/compress/snappy"
)

// fleet is the data of the aggregation benchmarks: counters of 10 labels, some
// 240 bytes each, that grow by 100 between two rounds. series/groups of them fold
// into one when instance and pod are dropped. Twenty series share a pod, or each
// has its own.
type fleet struct {
	Series, Groups int
	UniquePods     bool
	// From numbers the first series, so that two fleets have nothing in common.
	From int
}

const fleetRequest = 1000 // series per request

// shop makes requests, over and over in the same memory: what it left behind
// would be collected at the expense of those who are measured.
type shop struct {
	fleet                              fleet
	bodies                             [][]byte
	plain, packed, series, label, text []byte
}

// requests returns bodies with a sample at t of each series, those that begin with
// the ones named. They hold until the next call.
func (s *shop) requests(t int64, v float64, from ...int) (bodies [][]byte) {
	for n, first := range from {
		if n == len(s.bodies) {
			s.bodies = append(s.bodies, nil)
		}
		s.bodies[n] = s.encode(s.bodies[n], first, min(first+fleetRequest, s.fleet.Series), t, v)
	}
	return s.bodies[:len(from)]
}

// encode writes the protobuf by itself: a million labels.Labels would stand in the
// heap that is being measured.
func (s *shop) encode(body []byte, from, to int, t int64, v float64) []byte {
	s.plain = s.plain[:0]
	for i := from; i < to; i++ {
		s.encodeLabels(i)
		s.label = append(s.label[:0], 1<<3|1)
		s.label = binary.LittleEndian.AppendUint64(s.label, math.Float64bits(v+float64(i%97)))
		s.label = binary.AppendUvarint(append(s.label, 2<<3), uint64(t))
		s.series = field(s.series, 2, s.label)
		s.plain = field(s.plain, 1, s.series)
	}
	if n := snappy.MaxEncodedLen(len(s.plain)); cap(s.packed) < n {
		s.packed = make([]byte, n)
	}
	return append(body[:0], snappy.Encode(s.packed[:cap(s.packed)], s.plain)...)
}

// encodeLabels returns the label fields of a series, until the next call.
func (s *shop) encodeLabels(i int) []byte {
	s.series = s.series[:0]
	s.labels(i + s.fleet.From)
	return s.series
}

func field[T ~string | ~[]byte](b []byte, number byte, s T) []byte {
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// put appends a label of the series.
func (s *shop) put(name, value string) {
	s.label = field(s.label[:0], 1, name)
	s.label = field(s.label, 2, value)
	s.series = field(s.series, 1, s.label)
}

// labels appends the labels of series i, sorted by name. What is left without
// instance and pod depends on i%Groups only.
func (s *shop) labels(i int) {
	group, pod := i%s.fleet.Groups, i/20
	if s.fleet.UniquePods {
		pod = i
	}
	s.put("__name__", "istio_requests_duration_seconds_count")
	s.put("cluster", "prod-eu-central-1-a")
	s.put("env", "production")
	s.value("instance", "10.").number(pod>>16&255, ".").number(pod>>8&255, ".").number(pod&255, ":15090").end()
	s.put("job", "kubernetes-pods")
	s.put("method", []string{"GET", "POST"}[group%2])
	s.put("namespace", "payments")
	s.value("path", "/api/v1/resource/").number(group/10, "").end()
	s.value("pod", "payments-api-6b9f7c5d8f-").number(100_000_000+pod, "").end()
	s.put("status", []string{"200", "201", "404", "429", "500"}[group/2%5])
}

// value begins a label whose value is put together.
func (s *shop) value(name, text string) *shop {
	s.label = field(s.label[:0], 1, name)
	s.text = append(s.text[:0], text...)
	return s
}

func (s *shop) number(n int, text string) *shop {
	s.text = append(strconv.AppendInt(s.text, int64(n), 10), text...)
	return s
}

func (s *shop) end() {
	s.label = field(s.label, 2, s.text)
	s.series = field(s.series, 1, s.label)
}
