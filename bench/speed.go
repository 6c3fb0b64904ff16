package main

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// speed pushes as fast as it goes, in one window.
func (j job) speed() (r result, err error) {
	clock, crew := newScrapes(), newCrew(j)
	deal(crew, 0, j.Fleet.Series)
	for _, s := range crew { // their memory is not the folders'
		s.make(clock)
	}
	before := heap()
	f, err := folders[j.Who](j)
	if err != nil {
		return r, err
	}
	defer f.close()
	for range j.Rounds {
		if _, err := j.round(f, clock, crew); err != nil {
			return r, err
		}
	}
	r.Heap = heap() - before
	for start := time.Now(); time.Since(start) < j.Duration; {
		one, err := j.round(f, clock, crew)
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
func (j job) round(f folder, clock *scrapes, crew []*sender) (r result, err error) {
	clock.next()
	for from := 0; from < j.Fleet.Series; from += ahead * fleetRequest {
		deal(crew, from, j.Fleet.Series)
		one, err := pushAll(f, crew, clock)
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

// sender makes requests and pushes them, on one thread: as with a receiver that reads
// its requests from sockets they are in the cache of the core that decodes them.
type sender struct {
	shop   shop
	share  []int // first series of its requests
	bodies [][]byte
	next   atomic.Int64 // of the bodies, that nobody has taken
}

// newCrew is a sender for each core.
func newCrew(j job) []*sender {
	crew := make([]*sender, j.Cores)
	for i := range crew {
		crew[i] = &sender{shop: shop{fleet: j.Fleet}}
	}
	return crew
}

// deal gives each sender as many of the requests from a series on, in their order but
// others each time: no series is any core's own.
func deal(crew []*sender, from, series int) {
	n := min(ahead, (series-from+fleetRequest-1)/fleetRequest)
	for _, s := range crew {
		s.share = s.share[:0]
	}
	for i, k := range rand.Perm(n) {
		s := crew[i%len(crew)]
		s.share = append(s.share, from+k*fleetRequest)
	}
	for _, s := range crew {
		slices.Sort(s.share)
	}
}

func (s *sender) make(clock *scrapes) {
	s.bodies = s.shop.requests(clock.t, clock.v, s.share...)
	s.next.Store(0)
}

// push pushes what the sender has made and nobody has taken.
func (s *sender) push(f folder) error {
	for i := s.next.Add(1) - 1; i < int64(len(s.bodies)); i = s.next.Add(1) - 1 {
		if err := f.push(s.bodies[i]); err != nil {
			return err
		}
	}
	return nil
}

// pushAll lets a crew make requests and then push them: each its own, and when it has
// none the others'.
func pushAll(f folder, crew []*sender, clock *scrapes) (r result, err error) {
	var made sync.WaitGroup
	begin, errs := make(chan struct{}), make(chan error, len(crew))
	for i, s := range crew {
		made.Add(1)
		go func() {
			runtime.LockOSThread()
			s.make(clock)
			made.Done()
			<-begin
			var err error
			for k := range crew {
				err = errors.Join(err, crew[(i+k)%len(crew)].push(f))
			}
			runtime.UnlockOSThread()
			errs <- err
		}()
	}
	made.Wait()
	mallocs, cpu, wall := allocated(), cpuTime(), time.Now()
	close(begin)
	for range crew {
		err = errors.Join(err, <-errs)
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
