//go:build linux

package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// T is what a lab needs of a test; testing.TB has it.
type T interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// RequireVariable names the environment variable that, when not empty, makes New
// fail where it would skip: set it where the lab's tests must not be left out.
const RequireVariable = "ATOLL_LAB_REQUIRED"

// Lab is one emulated network. Its methods, and those of what it made, end the
// test by Fatalf when the machine refuses something.
type Lab struct {
	t      T
	prefix string

	mu     sync.Mutex
	wan    *WAN
	spaces []*namespace
	names  map[string]bool
	links  []*Link // all, for Partition, HealAll and a failed test's log
	lans   int
	closed bool

	closing sync.Once
	problem error // of closing
}

// New makes an empty lab that lives until the end of the test. Without root or
// the kernel's help it skips the test with the reason (see RequireVariable);
// missing tools fail it, because they can be installed.
func New(t T) *Lab {
	t.Helper()
	if err := Require(); err != nil {
		if errors.As(err, new(*MissingTools)) || os.Getenv(RequireVariable) != "" {
			t.Fatalf("make a lab: %v", err)
		}
		t.Skipf("skipped, no lab on this machine: %v", err)
	}
	l, err := open(t)
	if err != nil {
		t.Fatalf("make a lab: %v", err)
	}
	t.Cleanup(func() {
		if failed, ok := t.(interface{ Failed() bool }); ok && failed.Failed() {
			l.logCounters()
		}
		if err := l.Close(); err != nil {
			t.Fatalf("clean up the lab: %v", err)
		}
	})
	return l
}

func open(t T) (*Lab, error) {
	if err := sweep(t.Logf); err != nil {
		return nil, err
	}
	owner, err := ownPrefix()
	if err != nil {
		return nil, err
	}
	return &Lab{t: t, prefix: owner + strings.ToLower(rand.Text()[:4]) + "-", names: map[string]bool{}}, nil
}

// Close kills every process in the lab's namespaces, stops the WAN and removes
// the namespaces. Later calls wait for the first and return what it did. New
// arranges for it.
func (l *Lab) Close() error {
	l.closing.Do(func() { l.problem = l.close() })
	return l.problem
}

func (l *Lab) close() error {
	if k, ok := l.t.(*keeper); ok {
		k.cleanup()
	}
	l.mu.Lock()
	l.closed = true
	wan, spaces := l.wan, l.spaces
	l.mu.Unlock()

	var problems []error
	inodes := make([]uint64, 0, len(spaces))
	for _, s := range spaces {
		inodes = append(inodes, s.inode)
	}
	problems = append(problems, killInside(inodes, 5*time.Second))
	if wan != nil {
		wan.stop()
	}
	for _, s := range slices.Backward(spaces) {
		problems = append(problems, s.remove())
	}
	return errors.Join(problems...)
}

// Site is what hangs on the WAN: a public Node, a NAT, or a Node behind one.
type Site interface {
	Name() string
	// Uplink is the link to the WAN, of a Node behind a NAT box that of the box.
	Uplink() *Link
}

// Partition lets packets pass only within a group. Sites in no group stay in
// contact with all. Hosts behind a NAT box share its group. A new partition
// replaces the one before it; HealAll ends it.
func (l *Lab) Partition(groups ...[]Site) {
	l.mu.Lock()
	defer l.mu.Unlock()
	group := map[*port]int32{}
	for i, sites := range groups {
		for _, site := range sites {
			link := site.Uplink()
			if link == nil {
				l.t.Helper()
				l.t.Fatalf("partition: %s hangs on a LAN without an uplink: use Link().Cut", site.Name())
				return
			}
			p := link.port
			if before, dup := group[p]; dup && before != int32(i+1) {
				l.t.Helper()
				l.t.Fatalf("partition: %s is in two groups: hosts behind one NAT box share its uplink", site.Name())
			}
			group[p] = int32(i + 1)
		}
	}
	for _, link := range l.links {
		if link.port != nil {
			link.port.group.Store(group[link.port])
		}
	}
}

// HealAll ends the partition, every Cut and every Block.
func (l *Lab) HealAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range l.links {
		if link.wire != nil {
			link.wire.heal(l.t)
			continue
		}
		link.port.group.Store(0)
		link.shape(func(s *shape) { s.cut, s.filters = false, nil })
	}
}

func (l *Lab) logCounters() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range l.links {
		l.t.Logf("lab: %s: %v", link.name, link.Counters())
	}
}

// claim refuses a name that is taken or would not make the name of a namespace.
func (l *Lab) claim(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("name %q has %d characters: use 1 to 64", name, len(name))
	}
	if odd := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_"); odd != "" {
		return fmt.Errorf("name %q has %q: use a-z, 0-9, - and _", name, odd)
	}
	if l.names[name] {
		return fmt.Errorf("name %q is taken in this lab", name)
	}
	l.names[name] = true
	return nil
}

// space makes a namespace that Close removes.
func (l *Lab) space(name string, ipv6, router bool) (*namespace, error) {
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	if err := l.claim(name); err != nil {
		return nil, err
	}
	s, err := makeNamespace(l.prefix + name)
	if err != nil {
		return nil, err
	}
	l.spaces = append(l.spaces, s)
	return s, s.settle(ipv6, router)
}
