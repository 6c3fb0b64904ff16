//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// settings of each island. Six of them would measure the one machine six times.
const settings = `island: {name: %s, labels: {region: %s, isp: %s}, data_dir: data}
collect: {host: {enabled: false}, cgroup: {enabled: false}}
store: {out_of_order_window: 2h} # for what load sends
prometheus: {global: {evaluation_interval: 2s}}
alert:
  alertmanager:
    route: {receiver: inbox, group_by: [alertname, job, instance], group_wait: 1s, group_interval: 10s}
    receivers: [{name: inbox, webhook_configs: [{url: %q}]}]
`

// inside is where each island answers HTTP in its own namespace.
const inside = "http://127.0.0.1:59080"

// site is one island on its host.
type site struct {
	name, region, nat string
	isp, inbox        string
	node              *lab.Node
	dir               string // has atoll.yaml, atoll.log and data
	binary            string

	door *http.Server // the island's page, on this machine's loopback
	page string

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil before the first start
	done chan struct{} // closed when cmd has ended
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }
func (s *site) logs() string { return filepath.Join(s.dir, "atoll.log") }

func (s *site) write() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", s.name, err)
	}
	text := fmt.Sprintf(settings, s.name, s.region, s.isp, s.inbox)
	if err := os.WriteFile(filepath.Join(s.dir, "atoll.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", s.name, err)
	}
	return nil
}

// openDoor shows the island's page where a browser can reach it.
func (s *site) openDoor() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open a door to %s: %w", s.name, err)
	}
	to, err := url.Parse(inside)
	if err != nil {
		return err
	}
	s.page = "http://" + l.Addr().String() + "/"
	s.door = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		// Without keep-alives a killed island leaves no stale connection.
		Transport: &http.Transport{DialContext: s.node.Dial, DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, s.name+" does not answer: "+err.Error(), http.StatusBadGateway)
		},
	}}
	go func() { _ = s.door.Serve(l) }() // it ends by closeDoor
	return nil
}

func (s *site) closeDoor() {
	if s.door != nil {
		_ = s.door.Close() // there is nobody to tell
	}
}

// start runs the island and returns at once.
func (s *site) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runsLocked() {
		return fmt.Errorf("start %s: it runs, as process %d", s.name, s.cmd.Process.Pid)
	}
	f, err := os.OpenFile(s.logs(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", s.name, err)
	}
	defer f.Close() // the process has its own
	cmd := s.node.Command(context.Background(), s.binary, "run", "-c", filepath.Join(s.dir, "atoll.yaml"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, f, f
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
	}(s.done)
	return nil
}

func (s *site) runsLocked() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// pid is 0 while the island does not run.
func (s *site) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runsLocked() {
		return 0
	}
	return s.cmd.Process.Pid
}

// up starts the island and waits until it answers.
func (s *site) up(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	return poll(ctx, startLimit, func(ctx context.Context) error {
		if s.pid() == 0 {
			return final{fmt.Errorf("start %s: it ended by itself; the end of its log:\n%s", s.name, s.lastLines())}
		}
		if _, err := control.Ask[control.NetworkStatus](ctx, s.client(), "network"); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		return nil
	})
}

// kill ends the island as a power cut would.
func (s *site) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runsLocked() {
		return fmt.Errorf("kill %s: it does not run", s.name)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	<-s.done
	return nil
}

// reap waits for a process that was killed by the lab's end.
func (s *site) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		<-s.done
	}
}

func (s *site) client() *control.Client { return control.NewClient(s.data()) }

// atoll runs a subcommand on the island's host and returns what it printed.
func (s *site) atoll(ctx context.Context, args ...string) (string, error) {
	cmd := s.node.Command(ctx, s.binary, args...)
	cmd.Dir = s.dir // its atoll.yaml names the data directory
	cmd.Env = append(os.Environ(), "ATOLL_URL="+inside)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("atoll %s on %s: %w: %s", args[0], s.name, err, bytes.TrimSpace(problem.Bytes()))
	}
	return out.String(), nil
}

// waitFor waits until the island is connected with n others.
func (s *site) waitFor(ctx context.Context, n int) error {
	return poll(ctx, seeLimit, func(ctx context.Context) error {
		peers, err := control.Ask[[]mesh.PeerStatus](ctx, s.client(), "peers")
		if err != nil {
			return fmt.Errorf("ask %s for its peers: %w", s.name, err)
		}
		connected := 0
		var others []string
		for _, p := range peers {
			if p.State == mesh.StateConnected {
				connected++
			} else {
				others = append(others, fmt.Sprintf("%s is %s (%s)", p.Name, p.State, p.LastError))
			}
		}
		if connected != n {
			return fmt.Errorf("%s is connected with %d islands, not %d: %s", s.name, connected, n, strings.Join(others, ", "))
		}
		return nil
	})
}

func (s *site) lastLines() string {
	text, err := os.ReadFile(s.logs())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// final is an error that waiting does not mend.
type final struct{ error }

// poll asks until fn returns nil or the time is over; then it returns fn's last word.
func poll(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := fn(ctx)
		if err == nil || errors.As(err, new(final)) {
			return err
		}
		if ctx.Err() == nil {
			last = err // later ones only say that the time is over
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain: %w", limit, last)
		case <-tick.C:
		}
	}
}
