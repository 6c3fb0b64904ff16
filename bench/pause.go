package main

import (
	"context"
	"errors"
	"time"
)

// probeSeries are as many series as one request of a probe has.
const probeSeries = 20

// pause looks for the longest time that a request takes while windows are sealed
// and published: one sender sends the fleet over and over, another one small
// requests, which are timed. Times are the longest of each window.
func (j job) pause() (r result, err error) {
	f, err := folders[j.Who](j)
	if err != nil {
		return r, err
	}
	defer f.close()
	clock, crew := newScrapes(), newCrew(j)
	clock.live = true
	for range j.Rounds {
		if _, err := j.round(f, clock, crew); err != nil {
			return r, err
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), j.Duration)
	defer stop()
	load := make(chan error, 1)
	go func() {
		for err := error(nil); ; {
			if err != nil || ctx.Err() != nil {
				load <- err
				return
			}
			var one result
			one, err = j.round(f, clock, crew[:1]) // the other core is for the probe
			r.Samples += one.Samples
		}
	}()
	r.Times, err = j.probe(ctx, f)
	err = errors.Join(err, <-load)
	return r, err
}

// probe returns the longest time of each whole window.
func (j job) probe(ctx context.Context, f folder) (longest []time.Duration, err error) {
	probes := &shop{fleet: fleet{Series: probeSeries, Groups: j.Fleet.Groups, From: j.Fleet.From + j.Fleet.Series}}
	window, worst := time.Now().Truncate(j.Interval), time.Duration(-1)
	for v := 0.0; ctx.Err() == nil; v++ {
		body := probes.requests(time.Now().UnixMilli(), v, 0)[0]
		start := time.Now()
		if err := f.push(body); err != nil {
			return nil, err
		}
		took := time.Since(start)
		if w := start.Truncate(j.Interval); w != window {
			if worst >= 0 {
				longest = append(longest, worst)
			}
			window, worst = w, 0
		}
		if worst >= 0 { // the first window is not a whole one
			worst = max(worst, took)
		}
		time.Sleep(100 * time.Microsecond)
	}
	return longest, nil
}
