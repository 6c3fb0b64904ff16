package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

const (
	churnRounds = 50 // of which each replaces
	churnShare  = 5  // one in so many series
	churnKeep   = 14 // rounds after which what is gone is forgotten, and a little more
)

// churn lets a fifth of the fleet be replaced by new series every minute until ten
// times as many series have come and gone, and compares the heap long before and
// long after. Time is that of the events.
func (j job) churn() (r result, err error) {
	rules, err := rule.Load("bench", fmt.Appendf(nil,
		"rules:\n- {interval: 1m, without: [instance, pod], outputs: [%q], keep_input: false, staleness_interval: 2m, max_lag: 1m, max_age: 10m, forget_after: 10m}\n", j.Output))
	if err != nil {
		return r, err
	}
	c := &churner{shop: shop{fleet: j.Fleet}, now: newScrapes().t}
	before := heap()
	if c.engine, err = engine.New(engine.Options{Rules: rules}); err != nil {
		return r, err
	}
	phase := func(rounds, replaced int) error {
		for range rounds {
			c.shop.fleet.From += replaced
			if err := c.minute(); err != nil {
				return err
			}
			r.Samples += int64(j.Fleet.Series)
		}
		return nil
	}
	if err := phase(churnKeep, 0); err != nil {
		return r, err
	}
	r.Heap = heap() - before
	if err := phase(churnRounds, j.Fleet.Series/churnShare); err != nil {
		return r, err
	}
	if err := phase(churnKeep, 0); err != nil {
		return r, err
	}
	r.Left = heap() - before
	runtime.KeepAlive(c)
	return r, nil
}

// churner drives an engine by event time, without a receiver.
type churner struct {
	engine *engine.Engine
	shop   shop
	now    int64 // ms
	v      float64
	series []prompb.TimeSeries
	raws   []engine.Raw
	bytes  []byte
}

// minute sends a sample of each series and then lets a minute pass.
func (c *churner) minute() error {
	c.v += 100
	for from := 0; from < c.shop.fleet.Series; from += fleetRequest {
		if err := c.send(from, min(from+fleetRequest, c.shop.fleet.Series)); err != nil {
			return err
		}
	}
	for range 20 {
		c.now += (time.Minute / 20).Milliseconds()
		if err := c.engine.Advance(c.now, func(*partial.Window) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (c *churner) send(from, to int) error {
	c.raws, c.bytes = c.raws[:0], c.bytes[:0]
	for i := from; i < to; i++ {
		start := len(c.bytes)
		c.bytes = append(c.bytes, c.shop.encodeLabels(i)...)
		c.raws = append(c.raws, engine.Raw{Labels: c.bytes[start:], T: c.now, V: c.v})
	}
	b := c.engine.Begin(1)
	if b.AppendRaws(c.raws) > 0 {
		var scratch labels.ScratchBuilder
		for i := range c.raws {
			raw := &c.raws[i]
			if raw.Taken {
				continue
			}
			var ts prompb.TimeSeries
			if err := ts.Unmarshal(raw.Labels); err != nil {
				return err
			}
			b.Learn(raw.Labels, ts.ToLabels(&scratch, nil))
			if !b.AppendRaw(raw.Labels, 0, raw.T, raw.V) {
				return fmt.Errorf("series %d is not taken though it was learnt", from+i)
			}
		}
	}
	b.Commit(c.now)
	return nil
}
