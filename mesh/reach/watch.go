package reach

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// watchEvery is how often addresses are looked at where the kernel does not tell.
	watchEvery = 5 * time.Second
	// settle lets a burst of changes (an interface comes up) end before it is acted on.
	settle = 300 * time.Millisecond
	// sleepGap is how far the wall clock may run ahead of the running one before the
	// machine is taken to have slept.
	sleepGap = 10 * time.Second
)

// watch calls changed when addresses or default routes of the machine differ from
// before, and when it woke from sleep.
func watch(ctx context.Context, changed func(why string)) {
	news := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		listenKernel(ctx, news)
	}()
	defer func() { <-done }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	was, last := fingerprint(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-news:
			if !pause(ctx, settle) {
				return
			}
		}
		now := time.Now()
		slept := asleep(now.Round(0).Sub(last.Round(0)), now.Sub(last))
		last = now
		is := fingerprint()
		switch {
		case is != was:
			was = is
			changed("addresses or routes changed")
		case slept:
			changed("the machine slept")
		}
	}
}

// asleep compares how far the wall clock and the monotonic one, which stands still
// while the machine sleeps, have moved. It is true too for a clock set forward.
func asleep(wall, running time.Duration) bool { return wall-running > sleepGap }

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// fingerprint names the addresses that others could see and the default routes.
// Link-local addresses come and go with every container and say nothing.
func fingerprint() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var lines []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			lines = append(lines, n.String())
		}
	}
	lines = append(lines, defaultRoutes("/proc/net/route", func(f []string) bool { return f[1] == "00000000" })...)
	lines = append(lines, defaultRoutes("/proc/net/ipv6_route", func(f []string) bool {
		return f[1] == "00" && strings.Trim(f[0], "0") == "" && strings.Trim(f[4], "0") != ""
	})...)
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

// defaultRoutes returns gateway and interface of each default route; where there
// is no such file, none.
func defaultRoutes(path string, isDefault func(fields []string) bool) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 8 && isDefault(f) {
			if len(f) >= 10 { // IPv6: destination, length, source, length, next hop, …, interface
				out = append(out, f[4]+" "+f[len(f)-1])
			}
			out = append(out, f[0]+" "+f[2])
		}
	}
	return out
}

// localIPs are the addresses that the machine has now.
func localIPs() map[string]bool {
	out := map[string]bool{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			out[n.IP.String()] = true
		}
	}
	return out
}
