package reach

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

// TestKernelTells changes addresses inside a network namespace of its own.
func TestKernelTells(t *testing.T) {
	name := fmt.Sprintf("atoll-watch-%d", os.Getpid())
	ip := func(args ...string) error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := ip("netns", "add", name); err != nil {
		t.Skipf("network namespaces are not available: %v", err)
	}
	defer ip("netns", "del", name)
	ns, err := os.Open("/var/run/netns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	news := make(chan struct{}, 1)
	entered := make(chan error, 1)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		entered <- err
		if err == nil {
			listenKernel(ctx, news)
		}
	}()
	defer func() { cancel(); <-done }()
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	if err := ip("-n", name, "link", "set", "lo", "up"); err != nil {
		t.Fatal(err)
	}
	n := 0
	hosttest.Until(t, "the kernel's word", func() bool {
		n++ // the listener may not be bound yet: change something again
		if err := ip("-n", name, "addr", "add", fmt.Sprintf("10.9.%d.%d/32", n/250, n%250+1), "dev", "lo"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-news:
			return true
		default:
			return false
		}
	})
}

func TestNetworkChangeIsActedOn(t *testing.T) {
	var p place
	relay := p.island(t, relaying())
	p.offer(Candidate{ID: relay.ID()})
	told := make(chan struct{}, 8)
	a := p.island(t, hidden(), func(r *Reach) { r.opts.OnNetwork = func() { told <- struct{}{} } })
	hosttest.Connect(t, a.Host, relay.Host)
	hosttest.Until(t, "a slot", func() bool { return a.Reserved(relay.ID()) })
	before := a.Reservations()[0].Since
	a.NetworkChanged("a test says so")
	<-told
	hosttest.Until(t, "the slot to be asked for anew", func() bool {
		r := a.Reservations()
		return len(r) == 1 && r[0].Since.After(before)
	})
}
