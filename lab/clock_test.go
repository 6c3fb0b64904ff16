//go:build linux

package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// tellTime makes this test binary a process that says, for each line it reads, what
// time it is.
const tellTime = "ATOLL_LAB_TELL_TIME"

func TestClockProcess(t *testing.T) {
	if os.Getenv(tellTime) == "" {
		t.Skip("skipped: this is the process that TestClock starts")
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println("now", time.Now().UnixMilli())
	}
}

// TestClock gives a process a clock that is off, and has it jump both ways.
func TestClock(t *testing.T) {
	if why := ClockUnsupported(); why != "" {
		t.Skip("skipped: " + why)
	}
	l := New(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestClockProcess$")
	cmd.Env = append(os.Environ(), tellTime+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	clock, err := l.LAN("lan").Node("host").StartWithClock(cmd, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Close()
	lines := bufio.NewScanner(out)
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute, 0, 35 * time.Minute} {
		if err := clock.Set(off); err != nil {
			t.Fatal(err)
		}
		before := time.Now().Truncate(time.Millisecond)
		if _, err := fmt.Fprintln(in, "?"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatalf("the process said nothing: %v", lines.Err())
		}
		var ms int64
		if _, err := fmt.Sscanf(lines.Text(), "now %d", &ms); err != nil {
			t.Fatalf("the process said %q: %v", lines.Text(), err)
		}
		if told := time.UnixMilli(ms).Add(-off); told.Before(before) || told.After(time.Now()) {
			t.Errorf("with a clock off by %s it said %s, which is not between %s and now", off, told, before)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
