package access

import (
	"maps"
	"net/netip"
	"sync"
	"time"
)

// rate is a bucket of tries that fills again slowly.
type rate struct {
	burst float64
	every time.Duration
}

var (
	// perUser counts against a name from addresses it never signed in from, so that
	// a stranger cannot lock out who has.
	perUser = rate{8, 30 * time.Second}
	perAddr = rate{20, 6 * time.Second}
)

// maxBuckets bounds the memory of a limiter; what does not fit shares one bucket.
const maxBuckets = 4096

type bucket struct {
	rate
	left float64
	at   time.Time
}

// fill brings the bucket up to now.
func (b *bucket) fill(now time.Time) {
	b.left = min(b.burst, b.left+now.Sub(b.at).Seconds()/b.every.Seconds())
	b.at = now
}

// limiter bounds how often passwords and codes can be tried.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	// friends are pairs of a name and an address that signed in before.
	friends map[string]time.Time
}

func newLimiter() *limiter {
	return &limiter{buckets: map[string]*bucket{}, friends: map[string]time.Time{}}
}

func (l *limiter) bucket(key string, r rate, now time.Time) *bucket {
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			maps.DeleteFunc(l.buckets, func(_ string, b *bucket) bool {
				b.fill(now)
				return b.left >= b.burst
			})
		}
		if len(l.buckets) >= maxBuckets {
			key = "others"
		}
		if b = l.buckets[key]; b == nil {
			b = &bucket{rate: r, left: r.burst, at: now}
			l.buckets[key] = b
		}
	}
	b.fill(now)
	return b
}

func (l *limiter) of(user, addr string, now time.Time) [2]*bucket {
	key := "user " + user
	if _, ok := l.friends[user+" "+addr]; ok {
		key = "friend " + user + " " + addr
	}
	return [2]*bucket{l.bucket("addr "+addr, perAddr, now), l.bucket(key, perUser, now)}
}

// try takes one try of a name from an address, or says how long to wait for it.
func (l *limiter) try(user, addr string) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	two := l.of(user, addr, time.Now())
	for _, b := range two {
		if b.left < 1 {
			wait = max(wait, time.Duration((1-b.left)*float64(b.every)))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, b := range two {
		b.left--
	}
	return 0
}

// succeeded gives the try back and remembers where the user came from.
func (l *limiter) succeeded(user, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, b := range l.of(user, addr, now) {
		b.left = min(b.burst, b.left+1)
	}
	if len(l.friends) >= maxBuckets {
		var oldest string
		for pair, at := range l.friends {
			if oldest == "" || at.Before(l.friends[oldest]) {
				oldest = pair
			}
		}
		delete(l.friends, oldest)
	}
	l.friends[user+" "+addr] = now
}

func (l *limiter) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

// clientOf is what tries are counted by: an address, of IPv6 the network that one
// customer has.
func clientOf(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "local"
	}
	addr := at.Addr().Unmap()
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
