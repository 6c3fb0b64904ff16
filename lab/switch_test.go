//go:build linux

package lab

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEndOfASwitchKillsNobody has the thread of a switch start a process, as any
// thread may before it becomes that of a switch: the process goes on when the switch
// ends, and the thread has no more priority than others.
func TestEndOfASwitchKillsNobody(t *testing.T) {
	t.Parallel()
	if err := Require(); err != nil {
		t.Skip("skipped: " + err.Error())
	}
	f, err := newFabric(1, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	policy := make(chan uint32, 1)
	var play func()
	play = func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread never ends: take another one
			done := make(chan struct{})
			go func() { defer close(done); play() }()
			<-done
			return
		}
		started <- cmd.Start()
		f.run()
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			attr = &unix.SchedAttr{}
		}
		policy <- attr.Policy
	}
	go play()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	f.stop()
	if got := <-policy; got != unix.SCHED_NORMAL {
		t.Errorf("the thread goes on with scheduling policy %d", got)
	}
	select {
	case err := <-died:
		t.Fatalf("the process ended with the switch: %v", err)
	case <-time.After(time.Second):
	}
	_ = cmd.Process.Kill()
	<-died
}
