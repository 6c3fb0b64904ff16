//go:build linux

package lab

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tunDevice = "/dev/net/tun"
	// readBatch packets are read from one port before the others have their turn.
	readBatch = 64
	// maxQueued packets on their way are 1.5 Gbit/s over 1 s; 280 MB of memory.
	maxQueued = 1 << 17
	// realTime is the SCHED_FIFO priority, above everything that is not the kernel's own.
	realTime = 50
)

// fabric carries packets between TUN devices: one thread, which owns all that is
// on its way, and settings that others replace atomically.
type fabric struct {
	epoll, timer, wake int
	start              time.Time
	logf               func(string, ...any)
	done               chan struct{}

	mu        sync.Mutex // of those who change the three below
	ports     atomic.Pointer[[]*port]
	routes    atomic.Pointer[map[netip.Prefix]*port]
	distances atomic.Pointer[map[[2]string]time.Duration]

	// The thread's own.
	rng   *rand.Rand
	queue departures
	free  []*packet
	seq   uint64
	armed time.Duration // what the timer is set to, 0 when it is not
}

func newFabric(seed uint64, logf func(string, ...any)) (*fabric, error) {
	f := &fabric{
		epoll: -1, timer: -1, wake: -1,
		start: time.Now(), logf: logf, done: make(chan struct{}),
		rng: rand.New(rand.NewPCG(seed, seed)),
	}
	f.ports.Store(new([]*port))
	f.routes.Store(new(map[netip.Prefix]*port))
	f.distances.Store(new(map[[2]string]time.Duration))
	var errs [3]error
	f.epoll, errs[0] = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	f.timer, errs[1] = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	f.wake, errs[2] = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	err := errors.Join(errs[:]...)
	if err == nil {
		err = errors.Join(f.watch(f.timer), f.watch(f.wake))
	}
	if err != nil {
		f.closeFiles()
		return nil, fmt.Errorf("make the WAN's switch: %w", err)
	}
	return f, nil
}

func (f *fabric) watch(fd int) error {
	return f.watchAs(fd, -1)
}

// watchAs has the event say which port it is of.
func (f *fabric) watchAs(fd, index int) error {
	return unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd), Pad: int32(index)})
}

// add hangs a TUN device on the switch; it owns fd from then on.
func (f *fabric) add(fd int, s shape, routes ...netip.Prefix) (*port, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := *f.ports.Load()
	p := &port{fd: fd, index: len(before)}
	p.shape.Store(&s)
	table := make(map[netip.Prefix]*port, len(*f.routes.Load())+len(routes))
	for prefix, to := range *f.routes.Load() {
		table[prefix] = to
	}
	for _, prefix := range routes {
		if _, dup := table[prefix]; dup {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("route %v on the WAN: it is taken", prefix)
		}
		table[prefix] = p
	}
	ports := slices.Concat(before, []*port{p})
	f.ports.Store(&ports)
	f.routes.Store(&table)
	if err := f.watchAs(fd, p.index); err != nil {
		return nil, fmt.Errorf("watch a TUN device: %w", err)
	}
	return p, nil
}

func (f *fabric) setDistance(a, b string, oneWay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	table := map[[2]string]time.Duration{}
	for k, v := range *f.distances.Load() {
		table[k] = v
	}
	table[[2]string{a, b}], table[[2]string{b, a}] = oneWay, oneWay
	f.distances.Store(&table)
}

func (f *fabric) run() {
	runtime.LockOSThread()
	defer close(f.done)
	// The thread must not go on to others with its priority. Nor should it end, as one
	// does that stays locked: processes that it started before it came here, of other
	// labs, would get their death signal.
	defer func() {
		if err := relax(); err == nil {
			runtime.UnlockOSThread()
		}
	}()
	if err := prioritise(); err != nil {
		f.logf("lab: the WAN runs without real-time priority, its delays are less exact on a busy machine: %v", err)
	}
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(f.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			f.logf("lab: the WAN stops: wait for packets: %v", err)
			return
		}
		for _, ev := range events[:max(n, 0)] {
			switch int(ev.Fd) {
			case f.wake:
				return
			case f.timer:
				f.armed = 0
				var expirations [8]byte
				_, _ = unix.Read(f.timer, expirations[:])
			default:
				f.drain((*f.ports.Load())[ev.Pad])
			}
		}
		f.deliver(f.now())
		f.arm()
	}
}

func prioritise() error {
	// Children must not inherit it.
	attr := &unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: realTime, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("sched_setattr SCHED_FIFO %d: %w", realTime, err)
	}
	return nil
}

// relax undoes prioritise.
func relax() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL}, 0)
}

func (f *fabric) now() time.Duration { return time.Since(f.start) }

// drain reads what a site has sent, up to one batch.
func (f *fabric) drain(p *port) {
	now := f.now()
	for range readBatch {
		pkt := f.packet()
		n, err := unix.Read(p.fd, pkt.data[:])
		if err != nil || n <= 0 {
			f.free = append(f.free, pkt)
			return
		}
		pkt.n = n
		if !pkt.parse() || !f.accept(p, pkt, now) {
			f.free = append(f.free, pkt)
		}
	}
}

// accept takes a packet that site p sent: it decides whether, where and when it
// will arrive.
func (f *fabric) accept(p *port, pkt *packet, now time.Duration) bool {
	if pkt.dst.IsMulticast() || !pkt.dst.IsGlobalUnicast() {
		return false // stays on the link, as on the Internet; no traffic of a site
	}
	p.count.outPackets.Add(1)
	p.count.outBytes.Add(uint64(pkt.n))
	to := f.route(pkt.dst)
	if to == nil || to == p {
		p.count.unroutable.Add(1)
		return false
	}
	s, d := p.shape.Load(), to.shape.Load()
	if s.cut || s.blocks(pkt, true) || apart(p, to) || len(f.queue) >= maxQueued {
		p.count.dropped.Add(1)
		return false
	}
	if f.chance(s.loss) {
		p.count.lost.Add(1)
		return false
	}
	sent, ok := s.serialise(now, pkt.n, &p.upFree)
	if !ok {
		p.count.dropped.Add(1)
		return false
	}
	distance := (*f.distances.Load())[[2]string{s.region, d.region}]
	pkt.due = sent + s.delay + distance + d.delay + f.upTo(s.jitter) + f.upTo(d.jitter)
	if !s.reorder && !d.reorder {
		pkt.due = p.inOrder(to.index, pkt.due)
	}
	pkt.from, pkt.to, pkt.shaped = p, to, false
	f.push(pkt)
	return true
}

// inOrder holds a packet back until the one before it on the same path is due.
func (p *port) inOrder(to int, due time.Duration) time.Duration {
	for len(p.latest) <= to {
		p.latest = append(p.latest, 0)
	}
	p.latest[to] = max(p.latest[to], due)
	return p.latest[to]
}

func apart(a, b *port) bool {
	ga, gb := a.group.Load(), b.group.Load()
	return ga != 0 && gb != 0 && ga != gb
}

func (f *fabric) chance(probability float64) bool {
	return probability > 0 && f.rng.Float64() < probability
}

func (f *fabric) upTo(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(f.rng.Int64N(int64(limit) + 1))
}

// route finds the host, or else the /56 site, that owns an address.
func (f *fabric) route(dst netip.Addr) *port {
	table := *f.routes.Load()
	if to, ok := table[netip.PrefixFrom(dst, dst.BitLen())]; ok {
		return to
	}
	if dst.Is6() {
		site, _ := dst.Prefix(56)
		return table[site]
	}
	return nil
}

func (f *fabric) push(pkt *packet) {
	f.seq++
	pkt.seq = f.seq
	heap.Push(&f.queue, pkt)
}

// deliver writes what is due to the devices it goes to.
func (f *fabric) deliver(now time.Duration) {
	for len(f.queue) > 0 && f.queue[0].due <= now {
		pkt := heap.Pop(&f.queue).(*packet)
		if !f.arrive(pkt) {
			f.free = append(f.free, pkt)
		}
	}
}

// arrive brings a packet over the last link; it reports whether the packet is on
// its way still, behind the link's rate limit.
func (f *fabric) arrive(pkt *packet) bool {
	p, d := pkt.to, pkt.to.shape.Load()
	if !pkt.shaped {
		if d.cut || d.blocks(pkt, false) || apart(pkt.from, p) {
			p.count.dropped.Add(1)
			return false
		}
		if f.chance(d.loss) {
			p.count.lost.Add(1)
			return false
		}
		done, ok := d.serialise(pkt.due, pkt.n, &p.downFree)
		if !ok {
			p.count.dropped.Add(1)
			return false
		}
		pkt.shaped = true
		if done > pkt.due {
			pkt.due = done
			f.push(pkt)
			return true
		}
	}
	if _, err := unix.Write(p.fd, pkt.data[:pkt.n]); err != nil {
		p.count.dropped.Add(1)
		return false
	}
	p.count.inPackets.Add(1)
	p.count.inBytes.Add(uint64(pkt.n))
	return false
}

// arm sets the timer to the next departure.
func (f *fabric) arm() {
	if len(f.queue) == 0 || f.queue[0].due == f.armed {
		return
	}
	f.armed = f.queue[0].due
	// Zero would disarm it.
	wait := max(f.armed-f.now(), time.Nanosecond)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}
	if err := unix.TimerfdSettime(f.timer, 0, &spec, nil); err != nil {
		panic(fmt.Sprintf("BUG: set the WAN's timer to %v: %v", wait, err))
	}
}

func (f *fabric) packet() *packet {
	if n := len(f.free); n > 0 {
		pkt := f.free[n-1]
		f.free = f.free[:n-1]
		return pkt
	}
	return &packet{}
}

// stop ends run and closes all devices, which removes them.
func (f *fabric) stop() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	if _, err := unix.Write(f.wake, one[:]); err != nil {
		panic(fmt.Sprintf("BUG: wake the WAN: %v", err))
	}
	<-f.done
	f.closeFiles()
}

func (f *fabric) closeFiles() {
	for _, fd := range []int{f.epoll, f.timer, f.wake} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	for _, p := range *f.ports.Load() {
		_ = unix.Close(p.fd)
	}
}

// openTUN makes a TUN device in the namespace of the calling thread.
func openTUN(name string) (int, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", tunDevice, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("make TUN device %s: %w", name, err)
	}
	return fd, nil
}
