//go:build linux

package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// look is how often the memory is looked at.
	look = 250 * time.Millisecond
	// nobody runs Chromium where this program runs as root.
	nobody = 65534
)

// process is a running Chromium.
type process struct {
	cmd     *exec.Cmd
	profile string
	in, out *os.File // our ends of its pipes
	said    *tail
	watch   sync.WaitGroup
	ended   chan struct{}
	memory  int64 // what it may take, in bytes
	fat     bool  // it was killed for its memory; read after ended
}

func find(path string) (string, error) {
	if path != "" {
		return exec.LookPath(path)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "headless_shell"} {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
	}
	return "", errors.New("find Chromium in $PATH: not there; install it, or set browser.path")
}

func arguments(profile, proxy string, width, height int) []string {
	return []string{
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + profile, "--window-size=" + strconv.Itoa(width) + "," + strconv.Itoa(height),
		"--proxy-server=http://" + proxy,
		// By itself it would dial the own machine directly, and resolve names; and media
		// and HTTP/3 would find ways around the proxy.
		"--proxy-bypass-list=<-loopback>", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--disable-quic",
		"--force-webrtc-ip-handling-policy=disable_non_proxied_udp", "--webrtc-ip-handling-policy=disable_non_proxied_udp",
		"--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-default-apps", "--disable-extensions", "--disable-breakpad", "--disable-crash-reporter", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-client-side-phishing-detection", "--disable-domain-reliability", "--metrics-recording-only", "--mute-audio", "--hide-scrollbars",
		"--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication,CertificateTransparencyComponentUpdater",
		"--password-store=basic", "--use-mock-keychain", "--js-flags=--max-old-space-size=256", "about:blank",
	}
}

// launch starts Chromium in a group of its own.
func launch(path, proxy string, width, height int, memory int64) (_ *process, err error) {
	p := &process{memory: memory, said: &tail{}, ended: make(chan struct{})}
	if p.profile, err = os.MkdirTemp("", "atoll-browser"); err != nil {
		return nil, fmt.Errorf("make a profile: %w", err)
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(p.profile, nobody, nobody); err != nil {
			return nil, errors.Join(fmt.Errorf("give the profile away: %w", err), os.RemoveAll(p.profile))
		}
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.profile))
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), ourOut.Close(), os.RemoveAll(p.profile))
	}
	p.in, p.out = ourIn, ourOut
	p.cmd = exec.Command(path, arguments(p.profile, proxy, width, height)...)
	p.cmd.Env = []string{"HOME=" + p.profile, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "XDG_RUNTIME_DIR=" + p.profile, "TMPDIR=" + p.profile}
	p.cmd.Dir = p.profile
	p.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	p.cmd.SysProcAttr = attr
	p.cmd.Stderr = p.said
	p.cmd.WaitDelay = 2 * time.Second
	err = p.cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", path, err), ourIn.Close(), ourOut.Close(), os.RemoveAll(p.profile))
	}
	p.watch.Go(p.guard)
	return p, nil
}

// guard waits for the end and looks at the memory until then.
func (p *process) guard() {
	waited := make(chan struct{})
	go func() { defer close(waited); _ = p.cmd.Wait() }()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-waited:
			close(p.ended)
			return
		case <-tick.C:
			if groupMemory(p.cmd.Process.Pid) > p.memory {
				p.fat = true
				p.kill()
			}
		}
	}
}

// fatEnd reports whether the processes were killed for what they held.
func (p *process) fatEnd() bool {
	select {
	case <-p.ended:
		return p.fat
	case <-time.After(look): // the pipe may end before the process is waited for
		return false
	}
}

// kill ends the whole group.
func (p *process) kill() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// stop kills what is left and removes the profile.
func (p *process) stop() error {
	p.kill()
	p.watch.Wait()
	p.in.Close()
	p.out.Close()
	// The last of the group may still write while it dies.
	var err error
	for range 50 {
		if err = os.RemoveAll(p.profile); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// groupMemory is what the processes of a group hold of their own, in bytes: without
// the program itself and what they share.
func groupMemory(group int) (total int64) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0
	}
	for _, dir := range dirs {
		if stat, err := os.ReadFile(dir + "/stat"); err == nil && groupOf(stat) == group {
			if statm, err := os.ReadFile(dir + "/statm"); err == nil {
				total += ownPages(statm) * int64(os.Getpagesize())
			}
		}
	}
	return total
}

// groupOf reads /proc/PID/stat. The name, in brackets, may hold anything: what
// follows it is counted.
func groupOf(stat []byte) int {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 {
		return 0
	}
	n, _ := strconv.Atoi(string(fields[2]))
	return n
}

// ownPages reads /proc/PID/statm: what is in memory, less what is shared.
func ownPages(statm []byte) int64 {
	fields := bytes.Fields(statm)
	if len(fields) < 3 {
		return 0
	}
	resident, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	shared, _ := strconv.ParseInt(string(fields[2]), 10, 64)
	return max(resident-shared, 0)
}

// tail keeps the end of what was written to it, for words when a start fails.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - 4<<10; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

// about finds a line with one of the words.
func (t *tail) about(words ...string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(string(t.b)) {
		for _, w := range words {
			if strings.Contains(strings.ToLower(line), w) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// whyNot says why a process does not speak.
func (p *process) whyNot(ctx context.Context) string {
	if line := p.said.about("sandbox", "permission", "no such file", "shared librar"); line != "" {
		return fmt.Sprintf("Chromium does not start: %.200s", line)
	}
	if ctx.Err() != nil {
		return "Chromium did not start in time"
	}
	return "Chromium ended at its start"
}
