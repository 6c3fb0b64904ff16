package collect

import (
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// TestDNSDiscovery resolves an SRV record of a real DNS server. Upstream reads
// /etc/resolv.conf and asks port 53, so the whole scene is set in a process
// with mount and network namespaces of its own.
func TestDNSDiscovery(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestDNSDiscoveryInNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), "ATOLL_COLLECT_TEST_RESOLV="+write(t, filepath.Join(t.TempDir(), "resolv.conf"), "nameserver 127.0.0.1\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		t.Skipf("no namespaces for this user: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDNSDiscoveryInNamespace") {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
}

func TestDNSDiscoveryInNamespace(t *testing.T) {
	resolv := os.Getenv("ATOLL_COLLECT_TEST_RESOLV")
	if resolv == "" {
		t.Skip("only as a child of TestDNSDiscovery")
	}
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""),
		loopbackUp(),
	); err != nil {
		t.Fatalf("setting the scene: %v", err)
	}
	srv := httptest.NewServer(exposition("m 1\n"))
	t.Cleanup(srv.Close)
	serveDNS(t, srv.Listener.Addr().(*net.TCPAddr).Port)

	f := startDoc(t, doc(`
- job_name: dns
  scrape_interval: 1s
  dns_sd_configs: [{names: [_metrics._tcp.reef.test], refresh_interval: 1s}]
  relabel_configs: [{source_labels: [__meta_dns_name], target_label: found_by}]
`))
	eventually(t, "the SRV target is up", func() bool {
		return f.rec.up("dns") && len(f.rec.find(`found_by="_metrics._tcp.reef.test"`)) > 0
	})
}

func serveDNS(t *testing.T, port int) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		text := ""
		switch q.Question[0].Qtype {
		case dns.TypeSRV:
			text = fmt.Sprintf("_metrics._tcp.reef.test. 1 IN SRV 0 0 %d one.reef.test.", port)
		case dns.TypeA:
			text = q.Question[0].Name + " 1 IN A 127.0.0.1"
		}
		if rr, err := dns.NewRR(text); err == nil && rr != nil {
			m.Answer = []dns.RR{rr}
		}
		_ = w.WriteMsg(m)
	})
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, Handler: handler, NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
}

// loopbackUp sets the flag that a new network namespace's lo does not have.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
