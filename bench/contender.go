package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A contender is this binary, started again with its role in the environment. It
// serves what the role needs on a loopback port, plus /usage, and ends when its
// standard input is closed.
const roleVariable = "ATOLL_BENCH_ROLE"

// usage is what a contender has used so far.
type usage struct {
	CPU     time.Duration // user and system
	PeakRSS int64         // bytes
	Samples float64       // that it has stored
	Heap    int64         // bytes, after a collection
	// Late counts probes by how much later than planned they began at most, in seconds.
	Late []bucket `json:",omitempty"`
}

type bucket struct {
	Most  float64
	Count uint64 // of this and all buckets before
}

func (u usage) since(before usage) usage {
	d := usage{CPU: u.CPU - before.CPU, PeakRSS: u.PeakRSS, Samples: u.Samples - before.Samples, Heap: u.Heap}
	for i, b := range u.Late {
		d.Late = append(d.Late, bucket{b.Most, b.Count - before.Late[i].Count})
	}
	return d
}

// perSecond is how many samples a second of CPU time was enough for.
func (u usage) perSecond() float64 { return u.Samples / u.CPU.Seconds() }

// role is one contender's inside.
type role struct {
	handler http.Handler // may be nil
	samples func() float64
	late    func() []bucket // may be nil
	close   func() error
}

// contend runs the named role until standard input is closed.
func contend(name string) error {
	dir, err := os.MkdirTemp("", "atoll-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	open, ok := roles[name]
	if !ok {
		return fmt.Errorf("%s=%s: no such role", roleVariable, name)
	}
	r, err := open(dir)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/usage", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(used(r)) })
	if r.handler != nil {
		mux.Handle("/", r.handler)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	stop, err := profile()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, server.Close(), r.close())
}

func used(r role) usage {
	runtime.GC() // both pay for the garbage they have made
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	out := usage{
		CPU:     time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		PeakRSS: peakRSS(),
		Samples: r.samples(),
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	out.Heap = int64(mem.HeapAlloc)
	if r.late != nil {
		out.Late = r.late()
	}
	return out
}

// peakRSS reads what the kernel says of this process alone: getrusage counts in
// what the parent had when it started us.
func peakRSS() (kb int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	return 0
}

// process is a running contender, seen from outside.
type process struct {
	cmd  *exec.Cmd
	stop io.Closer
	url  string
}

func start(ctx context.Context, role string, env ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting contender %s: %w", role, err), cmd.Wait())
	}
	return &process{cmd: cmd, stop: in, url: "http://" + strings.TrimSpace(addr)}, nil
}

func (p *process) usage() (u usage, err error) {
	resp, err := http.Get(p.url + "/usage")
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	return u, json.NewDecoder(resp.Body).Decode(&u)
}

func (p *process) end() error { return errors.Join(p.stop.Close(), p.cmd.Wait()) }
