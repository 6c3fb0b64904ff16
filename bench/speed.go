package main

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// speed pushes as fast as it goes, in one window.
func (j job) speed() (r result, err error) {
	clock, shop := newScrapes(), &shop{fleet: j.Fleet}
	shop.requests(0, ahead, clock.t, clock.v) // its memory is not theirs
	before := heap()
	f, err := folders[j.Who](j)
	if err != nil {
		return r, err
	}
	defer f.close()
	for range j.Rounds {
		if _, err := j.round(f, clock, shop); err != nil {
			return r, err
		}
	}
	r.Heap = heap() - before
	for start := time.Now(); time.Since(start) < j.Duration; {
		one, err := j.round(f, clock, shop)
		if err != nil {
			return r, err
		}
		r.Allocs += one.Allocs
		r.Samples += one.Samples
		r.CPU += one.CPU
		r.Wall += one.Wall
		r.PerCPU = append(r.PerCPU, float64(one.CPU.Nanoseconds())/float64(one.Samples))
		r.PerWall = append(r.PerWall, float64(one.Wall.Nanoseconds())/float64(one.Samples))
	}
	r.Allocs /= float64(r.Samples)
	return r, nil
}

// scrapes is the clock of the senders: a scrape every second.
type scrapes struct {
	t    int64
	v    float64
	live bool // t is the time it is
}

func (s *scrapes) next() {
	s.t += 1000
	s.v += 100
	if s.live {
		s.t = time.Now().UnixMilli()
	}
}

func newScrapes() *scrapes { return &scrapes{t: time.Now().Add(-10 * time.Minute).UnixMilli(), v: 1e6} }

// ahead is how many requests are made before they are pushed.
const ahead = 200

// round pushes one sample of each series. Requests are made beforehand, some at a
// time, and their making is not counted.
func (j job) round(f folder, clock *scrapes, shop *shop) (r result, err error) {
	clock.next()
	for from := 0; from < j.Fleet.Series; {
		var bodies [][]byte
		bodies, from = shop.requests(from, ahead, clock.t, clock.v)
		one, err := pushAll(f, bodies, j.Cores)
		if err != nil {
			return r, err
		}
		r.CPU += one.CPU
		r.Wall += one.Wall
		r.Allocs += one.Allocs
	}
	r.Samples = int64(j.Fleet.Series)
	return r, nil
}

// pushAll pushes the bodies from as many goroutines as there are cores, each the
// next one that nobody has taken.
func pushAll(f folder, bodies [][]byte, workers int) (r result, err error) {
	mallocs, cpu, wall := allocated(), cpuTime(), time.Now()
	var next atomic.Int64
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var err error
			for i := next.Add(1) - 1; i < int64(len(bodies)) && err == nil; i = next.Add(1) - 1 {
				err = f.push(bodies[i])
			}
			errs <- err
		}()
	}
	for range workers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	r = result{CPU: cpuTime() - cpu, Wall: time.Since(wall)}
	r.Allocs = float64(allocated() - mallocs)
	return r, err
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func heap() int64 {
	debug.FreeOSMemory()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
