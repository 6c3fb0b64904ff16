//go:build linux

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// namePrefix begins the name of every namespace of every lab. After it come the
// owner's pid and start time, a random tag of the lab and the name of the node:
// atoll-4711-2fq3-x5ta-relay.
const namePrefix = "atoll-"

func ownPrefix() (string, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%d-%s-", namePrefix, os.Getpid(), start), nil
}

// startTime returns when a live process began, in base 36. A process that is gone
// or a zombie gives os.ErrNotExist. With it a reused pid is told from its former owner.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, syscall.ESRCH) {
		err = os.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	// The command name, field 2, is in brackets and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, start = 0, 19
	if len(fields) <= start {
		return "", fmt.Errorf("read start time of process %d: /proc/%d/stat has %d fields", pid, pid, len(fields))
	}
	if s := string(fields[state]); s == "Z" || s == "X" {
		return "", fmt.Errorf("read start time of process %d: it is dead: %w", pid, os.ErrNotExist)
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return "", fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	return strconv.FormatUint(ticks, 36), nil
}

// orphaned reports whether a namespace was made by a lab whose process is gone.
func orphaned(name string) bool {
	rest, ours := strings.CutPrefix(name, namePrefix)
	parts := strings.SplitN(rest, "-", 4)
	if !ours || len(parts) != 4 {
		return false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	start, err := startTime(pid)
	return errors.Is(err, os.ErrNotExist) || err == nil && start != parts[1]
}

// sweep removes what the labs of dead processes left behind.
func sweep(logf func(string, ...any)) error {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for stale namespaces: %w", err)
	}
	var stale []string
	var inodes []uint64
	for _, e := range entries {
		if !orphaned(e.Name()) {
			continue
		}
		stale = append(stale, e.Name())
		var st unix.Stat_t
		if unix.Stat(filepath.Join(netnsDir, e.Name()), &st) == nil {
			inodes = append(inodes, st.Ino)
		}
	}
	if err := killInside(inodes, 5*time.Second); err != nil {
		return err
	}
	for _, name := range stale {
		if err := removeStale(name, 2*time.Second); err != nil {
			return err
		}
		logf("lab: swept namespace %s of a dead process", name)
	}
	return nil
}

// removeStale bears with another lab that sweeps at the same time: what is gone in
// the end is no error, whoever removed it.
func removeStale(name string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := ip("netns", "del", name)
		if err == nil || !exists(filepath.Join(netnsDir, name)) {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// inside lists the processes in any of the network namespaces, but this one.
func inside(inodes []uint64) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil && slices.Contains(inodes, st.Ino) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// killInside kills every process in the namespaces and waits until none is left.
func killInside(inodes []uint64, patience time.Duration) error {
	if len(inodes) == 0 {
		return nil
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		pids, err := inside(inodes)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill the processes in the lab: %v are still there after %v", pids, patience)
		}
		for _, pid := range pids {
			// Gone already is as good.
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
