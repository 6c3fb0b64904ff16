package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/streamaggr"
	"github.com/klauspost/compress/snappy"
)

var folders = map[string]func(job) (folder, error){
	"victoriametrics": newStreamaggr,
	"atoll":           newAtoll,
}

func ruleFile(j job) []byte {
	interval := j.Interval
	if interval == 0 {
		interval = time.Hour
	}
	return fmt.Appendf(nil, "- interval: %s\n  without: [instance, pod]\n  outputs: [%q]\n", interval, j.Output)
}

// streamaggrFolder is lib/streamaggr as vmagent drives it, without HTTP.
type streamaggrFolder struct {
	a       *streamaggr.Aggregators
	buffers sync.Pool
}

type streamaggrBuffers struct {
	plain   []byte
	matches []uint32
}

func newStreamaggr(j job) (folder, error) {
	a, err := streamaggr.LoadFromData(ruleFile(j), func([]prompb.TimeSeries) {}, &streamaggr.Options{}, "bench")
	if err != nil {
		return nil, err
	}
	return &streamaggrFolder{a: a, buffers: sync.Pool{New: func() any { return new(streamaggrBuffers) }}}, nil
}

func (f *streamaggrFolder) push(body []byte) (err error) {
	b := f.buffers.Get().(*streamaggrBuffers)
	defer f.buffers.Put(b)
	if b.plain, err = snappy.Decode(b.plain[:cap(b.plain)], body); err != nil {
		return err
	}
	u := prompb.GetWriteRequestUnmarshaler()
	defer prompb.PutWriteRequestUnmarshaler(u)
	r, err := u.UnmarshalProtobuf(b.plain)
	if err != nil {
		return err
	}
	b.matches = f.a.Push(r.Timeseries, b.matches)
	return nil
}

func (f *streamaggrFolder) close() { f.a.MustStop() }
