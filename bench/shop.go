package main

import (
	"encoding/binary"
	"fmt"
	"math"

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

// encode returns one request with a sample of the series from to to. It writes
// the protobuf by itself: a million labels.Labels would stand in the heap that is
// being measured.
func (f fleet) encode(plain []byte, from, to int, t int64, v float64) (body, scratch []byte) {
	plain = plain[:0]
	var one, label []byte
	for i := from; i < to; i++ {
		one = one[:0]
		f.labels(i+f.From, func(name, value string) {
			label = label[:0]
			label = field(label, 1, name)
			label = field(label, 2, value)
			one = field(one, 1, string(label))
		})
		label = append(label[:0], 1<<3|1)
		label = binary.LittleEndian.AppendUint64(label, math.Float64bits(v+float64(i%97)))
		label = binary.AppendUvarint(append(label, 2<<3), uint64(t))
		one = field(one, 2, string(label))
		plain = field(plain, 1, string(one))
	}
	return snappy.Encode(nil, plain), plain
}

func field(b []byte, number byte, s string) []byte {
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// labels yields the labels of series i, sorted by name. What is left without
// instance and pod depends on i%Groups only.
func (f fleet) labels(i int, yield func(name, value string)) {
	group, pod := i%f.Groups, i/20
	if f.UniquePods {
		pod = i
	}
	yield("__name__", "istio_requests_duration_seconds_count")
	yield("cluster", "prod-eu-central-1-a")
	yield("env", "production")
	yield("instance", fmt.Sprintf("10.%d.%d.%d:15090", pod>>16&255, pod>>8&255, pod&255))
	yield("job", "kubernetes-pods")
	yield("method", []string{"GET", "POST"}[group%2])
	yield("namespace", "payments")
	yield("path", fmt.Sprintf("/api/v1/resource/%d", group/10))
	yield("pod", fmt.Sprintf("payments-api-6b9f7c5d8f-%08d", pod))
	yield("status", []string{"200", "201", "404", "429", "500"}[group/2%5])
}
