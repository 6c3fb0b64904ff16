//go:build linux

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// namespace is one named network namespace, held open by a file.
type namespace struct {
	name  string
	file  *os.File
	inode uint64
}

func makeNamespace(name string) (*namespace, error) {
	if err := ip("netns", "add", name); err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(netnsDir, name))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open namespace: %w", err), ip("netns", "del", name))
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat namespace %s: %w", name, err), ip("netns", "del", name))
	}
	return &namespace{name: name, file: file, inode: st.Ino}, nil
}

// settle gives a fresh namespace the same settings on every machine: what it
// inherits differs with the kernel and with who has touched the defaults.
func (s *namespace) settle(ipv6, router bool) error {
	settings := []string{
		"net/ipv4/ip_forward", flag(router),
		"net/ipv4/conf/all/rp_filter", "0",
		"net/ipv4/conf/default/rp_filter", "0",
		// Islands' own ports: who dials one before anybody listens there must not get it
		// as the port it calls from, and so reach itself.
		"net/ipv4/ip_local_reserved_ports", "59080,59443",
		// /proc/sys/net/ipv6 is absent where the kernel was booted without IPv6.
		"?net/ipv6/conf/default/disable_ipv6", flag(!ipv6),
		"?net/ipv6/conf/default/accept_ra", "0",
		"?net/ipv6/conf/default/router_solicitations", "0",
		"?net/ipv6/conf/default/accept_dad", "0",
		"?net/ipv6/conf/all/forwarding", flag(router && ipv6),
		// Absent without br_netfilter; present, it sends bridged frames through the NAT rules.
		"?net/bridge/bridge-nf-call-iptables", "0",
		"?net/bridge/bridge-nf-call-ip6tables", "0",
	}
	for i := 0; i < len(settings); i += 2 {
		key, optional := strings.CutPrefix(settings[i], "?")
		err := s.set(key, settings[i+1])
		if optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return s.batch("link set lo up")
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// set writes a sysctl of the namespace; key is its path below /proc/sys.
func (s *namespace) set(key, value string) error {
	return s.within(func() error {
		if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s = %s in %s: %w", key, value, s.name, err)
		}
		return nil
	})
}

// batch runs lines of `ip` inside the namespace.
func (s *namespace) batch(lines ...string) error {
	return run(strings.Join(lines, "\n")+"\n", "ip", "-n", s.name, "-batch", "-")
}

// nft runs a script of `nft` inside the namespace.
func (s *namespace) nft(script string) error {
	return run(script, "ip", "netns", "exec", s.name, "nft", "-f", "-")
}

func (s *namespace) remove() error {
	s.file.Close()
	return ip("netns", "del", s.name)
}

// within runs fn on this goroutine, with its thread in the namespace. It also
// leaves it when fn panics or calls runtime.Goexit (t.Fatal).
func (s *namespace) within(fn func() error) error {
	return abroad(func() error {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", s.name, err)
		}
		return nil
	}, fn)
}

// abroad locks the goroutine to its thread, takes the thread to another network
// namespace by leave, runs fn there and brings the thread home.
func abroad(leave, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("remember the namespace: %w", err)
	}
	defer home.Close()
	if err := leave(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			// Still locked: the thread must never serve another goroutine.
			panic(fmt.Sprintf("BUG: return to the own network namespace: %v", err))
		}
		runtime.UnlockOSThread()
	}()
	return fn()
}

func ip(args ...string) error { return run("", "ip", args...) }

func run(stdin, name string, args ...string) error {
	_, err := command(stdin, name, args...)
	return err
}

func output(name string, args ...string) (string, error) { return command("", name, args...) }

// command returns what a program said; its input and words are in the error.
func command(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return string(out), nil
	}
	err = fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	if stdin != "" {
		err = fmt.Errorf("%w; its input was:\n%s", err, stdin)
	}
	return "", err
}
