package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/store"
)

// lag measures rule lag: from the moment when the last sample of a window has been
// taken until all of its results can be queried. Each series is scraped once an
// interval, evenly over it, and results go into a TSDB.
func (j job) lag() (r result, err error) {
	dir, err := os.MkdirTemp("", "atoll-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	s, shut, err := openStore(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, shut()) }()
	f, err := newAtollOver(j, s)
	if err != nil {
		return r, err
	}
	defer f.close()
	ctx, stop := context.WithCancel(context.Background())
	sent := make(chan sentUntil, 1)
	load := make(chan error, 1)
	go func() { load <- j.scrapeEvenly(ctx, f, sent) }()
	defer func() { stop(); err = errors.Join(err, <-load) }()
	skip := 2 // the first window is not whole, counters begin in the next: there may be nothing
	for range skip + int(j.Duration/j.Interval) {
		last := <-sent
		if skip--; skip >= 0 {
			continue
		}
		for {
			n, err := results(ctx, s, last.end)
			if err != nil {
				return r, err
			}
			if n >= j.Fleet.Groups {
				break
			}
			if time.Since(last.at) > time.Minute {
				return r, fmt.Errorf("after a minute %d of %d groups have a result at %d", n, j.Fleet.Groups, last.end)
			}
			time.Sleep(10 * time.Millisecond)
		}
		r.Times = append(r.Times, time.Since(last.at))
	}
	return r, nil
}

func openStore(dir string) (*store.Store, func() error, error) {
	c := store.Default()
	c.Path = dir
	s, err := store.New(store.Options{Config: c, Logger: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
		return s, func() error { cancel(); return <-done }, nil
	case err := <-done:
		cancel()
		return nil, nil, err
	}
}

// sentUntil says when the last sample up to the end of a window (ms) was taken.
type sentUntil struct {
	end int64
	at  time.Time
}

// scrapeEvenly sends some requests every tick, so that each series has a sample
// once an interval.
func (j job) scrapeEvenly(ctx context.Context, f folder, sent chan<- sentUntil) error {
	const tick = 50 * time.Millisecond
	parts := int(j.Interval / tick)
	shop := &shop{fleet: j.Fleet}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	end, from := int64(0), 0
	last := time.Now()
	for n := 1; ctx.Err() == nil; n++ {
		<-ticks.C
		now := time.Now()
		if e := now.Truncate(j.Interval).Add(j.Interval).UnixMilli(); e != end {
			if end != 0 {
				select {
				case sent <- sentUntil{end, last}:
				case <-ctx.Done():
					return nil
				}
			}
			end = e
		}
		// Whole requests, as many as are due by now.
		due := (n%parts + 1) * j.Fleet.Series / parts / fleetRequest * fleetRequest
		for from < due {
			body := shop.requests(now.UnixMilli(), float64(now.UnixMilli()/10), from)[0]
			if err := f.push(body); err != nil {
				return err
			}
			from = min(from+fleetRequest, j.Fleet.Series)
			last = time.Now()
		}
		if from >= j.Fleet.Series {
			from = 0
		}
	}
	return nil
}

// results counts the series that have a sample at t.
func results(ctx context.Context, s storage.Queryable, t int64) (n int, err error) {
	q, err := s.Querier(t, t)
	if err != nil {
		return 0, err
	}
	defer q.Close()
	set := q.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+_total"))
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		if it.Seek(t) != chunkenc.ValNone && it.AtT() == t {
			n++
		}
	}
	return n, set.Err()
}
