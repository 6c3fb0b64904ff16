//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// What the islands probe: pages and banners on one host, and a till that has a host of
// its own, so that the way to it alone can break.
const (
	pages    = 14
	banners  = 5
	pagePort = 8001
	sshPort  = 9001
	tillPort = 8443
	mailPort = 9099
)

// isps are whose customers the islands are.
var isps = map[string]string{"eu-1": "Alpine", "eu-2": "Liberty", "us-1": "Liberty", "us-2": "Liberty", "ap-1": "Sakura", "ap-2": "Sakura"}

// shop is what the company runs, and where its alerts arrive.
type shop struct {
	front, till *lab.Node
	servers     []*http.Server
	listeners   []net.Listener
	blocked     map[string][]func() // by ISP
	say         func(format string, args ...any)

	mu   sync.Mutex
	said strings.Builder // by alerts
}

// alerts are all that arrived.
func (s *shop) alerts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// tell shows a line of an alert.
func (s *shop) tell(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.said.WriteString(line + "\n")
	s.mu.Unlock()
	s.say("%s", line)
}

// openShop starts the twenty services and the inbox.
func openShop(l *lab.Lab, say func(string, ...any)) (*shop, error) {
	s := &shop{say: say, blocked: map[string][]func(){}}
	err := lab.Try(func() {
		s.front = l.Public("front", lab.LinkOptions{Region: "eu", Delay: time.Millisecond})
		s.till = l.Public("till", lab.LinkOptions{Region: "eu", Delay: time.Millisecond})
	})
	if err != nil {
		return nil, err
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "open, at", r.Host) })
	for n := range pages {
		err = errors.Join(err, s.serve(s.front, pagePort+n, page))
	}
	err = errors.Join(err, s.serve(s.till, tillPort, page), s.serve(s.front, mailPort, http.HandlerFunc(s.receive)))
	for n := range banners {
		err = errors.Join(err, s.greet(sshPort+n))
	}
	return s, err
}

func (s *shop) serve(on *lab.Node, port int, h http.Handler) error {
	ln, err := on.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, srv)
	go func() { _ = srv.Serve(ln) }() // it ends by close
	return nil
}

// greet says what an SSH server says first.
func (s *shop) greet(port int) error {
	ln, err := s.front.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	s.listeners = append(s.listeners, ln)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // it was closed
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	return nil
}

func (s *shop) close() {
	if s == nil {
		return
	}
	for _, srv := range s.servers {
		_ = srv.Close() // there is nobody to tell
	}
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
}

// address is where a service answers HTTP.
func address(host netip.Addr, port int) string { return fmt.Sprintf("http://%s:%d/", host, port) }

func (s *shop) inbox() string   { return address(s.front.Addr(), mailPort) }
func (s *shop) tillURL() string { return address(s.till.Addr(), tillPort) }

// definitions are the documents of what is probed, by name.
func (s *shop) definitions() map[string]string {
	const head = "interval: 2s\ntimeout: 1s\nhistory: 2 of 3\nowner: shop\nquorum: {down: 2, page: 3}\ntargets:\n"
	web := head + "  - {url: " + s.tillURL() + ", labels: {service: till}}\n"
	for n := range pages {
		web += "  - " + address(s.front.Addr(), pagePort+n) + "\n"
	}
	ssh := "module: ssh_banner\n" + head
	for n := range banners {
		ssh += fmt.Sprintf("  - %s:%d\n", s.front.Addr(), sshPort+n)
	}
	return map[string]string{"probe/shop": web, "probe/machines": ssh}
}

// define signs the definitions on an island.
func (s *shop) define(ctx context.Context, at *site) error {
	for name, text := range s.definitions() {
		file := filepath.Join(at.dir, strings.ReplaceAll(name, "/", "-")+".yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if _, err := at.atoll(ctx, "set", name, "-f", file); err != nil {
			return err
		}
	}
	return nil
}

// receive shows what the islands' notifications say.
func (s *shop) receive(w http.ResponseWriter, r *http.Request) {
	var m struct {
		Alerts []struct {
			Status      string            `json:"status"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"alerts"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&m); err != nil {
		http.Error(w, "not an Alertmanager webhook: "+err.Error(), http.StatusBadRequest)
		return
	}
	for _, a := range m.Alerts {
		s.tell("ALERT %s %s (severity %s, owner %s): %s", strings.ToUpper(a.Status), a.Labels["alertname"], a.Labels["severity"], a.Labels["owner"], a.Annotations["summary"])
		for _, name := range []string{"verdict", "evidence"} {
			if text := a.Annotations[name]; text != "" {
				s.tell("  %s: %s", name, text)
			}
		}
	}
}

// breakFor swallows what passes between the till and an ISP's customers.
func (a *archipelago) breakFor(_ context.Context, args []string) error {
	isp, err := a.isp(args)
	if err != nil {
		return err
	}
	if len(a.shop.blocked[isp]) > 0 {
		return fmt.Errorf("the way from %s to the till is broken already; mend %s ends that", isp, isp)
	}
	var from []netip.Addr
	for _, s := range a.sites {
		if isps[s.name] == isp && !slices.Contains(from, s.node.SeenFrom()) {
			from = append(from, s.node.SeenFrom())
		}
	}
	return lab.Try(func() {
		for _, addr := range from {
			a.shop.blocked[isp] = append(a.shop.blocked[isp], a.shop.till.Link().Block(lab.Filter{Remote: netip.PrefixFrom(addr, addr.BitLen())}))
		}
	})
}

func (a *archipelago) mend(_ context.Context, args []string) error {
	isp, err := a.isp(args)
	if err != nil {
		return err
	}
	unblock := a.shop.blocked[isp]
	delete(a.shop.blocked, isp)
	return lab.Try(func() {
		for _, f := range unblock {
			f()
		}
	})
}

func (a *archipelago) isp(args []string) (string, error) {
	var names []string
	for _, s := range a.sites {
		names = append(names, isps[s.name])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(args) != 1 || !slices.Contains(names, args[0]) {
		return "", fmt.Errorf("name one ISP of %s", strings.Join(names, ", "))
	}
	return args[0], nil
}
