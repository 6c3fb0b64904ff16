package scale

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"
	"testing"
)

// inside marks the process that has a network namespace of its own.
const inside = "ATOLL_SCALE_INSIDE"

// collectAt is by how many percent memory may grow before it is collected: what an
// island sets unless its configuration says otherwise.
const collectAt = 75

// TestMain runs the tests in a child with its own loopback, so that every byte
// counted there is one of the islands', and every port is free.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "set the namespace's loopback up: %v: %s\n", err, out)
			os.Exit(1)
		}
		debug.SetGCPercent(collectAt)
		os.Exit(m.Run())
	}
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), inside+"=1")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var failed *exec.ExitError
	switch err := child.Run(); {
	case errors.As(err, &failed):
		os.Exit(failed.ExitCode())
	case err != nil:
		fmt.Fprintf(os.Stderr, "run the tests in a network namespace: %v; they need root\n", err)
		os.Exit(1)
	}
}
