//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLabsSideBySideDoNotMeet(t *testing.T) {
	t.Parallel()
	var at [2]netip.AddrPort
	var ask [2]net.PacketConn
	var links [2]*Link
	for i := range at {
		l := New(t)
		host := l.Public("host", LinkOptions{})
		asker := l.Public("asker", LinkOptions{})
		at[i], ask[i], links[i] = reflector(t, host), socket(t, asker), host.Link()
	}
	if at[0] != at[1] {
		t.Fatalf("the labs use %v and %v: this test needs the same address", at[0], at[1])
	}
	links[0].Cut()
	mustNotReach(t, ask[0], at[0], "cut in the first lab")
	mustReach(t, ask[1], at[1], "whole in the second")
	if got := links[0].Counters().InPackets; got != 0 {
		t.Errorf("the first lab's host got %d packets", got)
	}
}

func TestMulticastOnALAN(t *testing.T) {
	t.Parallel()
	l := New(t)
	box := l.NAT("box", Cone, LinkOptions{})
	lan := l.LAN("lan")
	for _, pair := range [][2]*Node{
		{lan.Node("a"), lan.Node("b")},
		{box.Node("c"), box.Node("d")},
	} {
		group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
		var conn *net.UDPConn
		pair[0].Run(func() {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			if conn, err = net.ListenMulticastUDP("udp4", eth0, group); err != nil {
				t.Fatal(err)
			}
		})
		defer conn.Close()
		if !hears(t, conn, socket(t, pair[1]), group.AddrPort(), answered) {
			t.Errorf("%s does not hear the multicast of %s", pair[0].Name(), pair[1].Name())
		}
	}
}

func TestCommandRunsInTheNamespace(t *testing.T) {
	t.Parallel()
	l := New(t)
	n := l.Public("n", LinkOptions{})
	out, err := n.Command(t.Context(), "ip", "-o", "-4", "addr", "show", "dev", "wan0").CombinedOutput()
	if err != nil || !strings.Contains(string(out), n.Addr().String()+"/32") {
		t.Errorf("ip addr: %v: %s: want %v", err, out, n.Addr())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := n.Command(ctx, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "killed") {
		t.Errorf("command after its context: %v, want killed", err)
	}
	if err := n.Command(t.Context(), "no-such-program").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("unknown program: %v, want exec.ErrNotFound", err)
	}
}

func TestHTTPClient(t *testing.T) {
	t.Parallel()
	l := New(t)
	server, client := l.Public("server", LinkOptions{}), l.NAT("box", Symmetric, LinkOptions{}).Node("client")
	ln, err := server.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}
	go srv.Serve(ln)
	defer srv.Close()
	resp, err := client.HTTPClient().Get("http://" + server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(string(body), client.SeenFrom().String()+":") {
		t.Errorf("seen as %q, %v; want %v", body, err, client.SeenFrom())
	}
	if _, err := client.Dial(t.Context(), "tcp", "localhost:80"); err == nil || !strings.Contains(err.Error(), "names cannot be resolved") {
		t.Errorf("dial a name: %v", err)
	}
}

func TestRunBringsTheThreadHome(t *testing.T) {
	t.Parallel()
	l := New(t)
	n := l.Public("n", LinkOptions{})
	home := threadNamespace(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n.Run(func() {
		if threadNamespace(t) != n.space.inode {
			t.Error("Run runs elsewhere")
		}
	})
	if got := threadNamespace(t); got != home {
		t.Error("the thread stayed in the namespace after a return")
	}
	func() {
		defer func() {
			if r := recover(); r != "boom" {
				t.Errorf("recovered %v, want the panic of fn", r)
			}
		}()
		n.Run(func() { panic("boom") })
	}()
	if got := threadNamespace(t); got != home {
		t.Error("the thread stayed in the namespace after a panic")
	}
}

func threadNamespace(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	l := New(t)
	n := l.NAT("box", Cone, LinkOptions{}).Node("host")
	// The grandchild has left the process group and the command's death does not reach it.
	cmd := n.Command(t.Context(), "sh", "-c", "setsid sleep 1000 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	inodes := []uint64{n.space.inode}
	if pids, err := inside(inodes); err != nil || len(pids) != 2 {
		t.Fatalf("processes inside: %v, %v; want the shell and its child", pids, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the command ended well: want killed")
	}
	if pids, err := inside(inodes); err != nil || len(pids) != 0 {
		t.Errorf("processes inside after Close: %v, %v", pids, err)
	}
	if left := namespaces(t, l.prefix); len(left) != 0 {
		t.Errorf("namespaces after Close: %v", left)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func namespaces(t *testing.T, prefix string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// childVariable has a test of this file be the process that dies.
const childVariable = "ATOLL_LAB_TEST_CHILD"

// dying starts this test binary again to run one test in child's way.
func dying(t *testing.T, way string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDyingChild$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childVariable+"="+way)
	return cmd
}

func TestDyingChild(t *testing.T) {
	way := os.Getenv(childVariable)
	if way == "" {
		t.Skip("skipped: it is the child process of other tests")
	}
	l := New(t)
	n := l.Public("n", LinkOptions{})
	cmd := n.Command(context.Background(), "sh", "-c", "setsid sleep 1000 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool {
		pids, err := inside([]uint64{n.space.inode})
		return err != nil || len(pids) == 2
	})
	fmt.Println("namespace " + n.Namespace())
	switch way {
	case "panic":
		panic("boom")
	case "fatal in Run":
		n.Run(func() { t.Fatal("boom") })
	case "kill":
		select {}
	}
}

func TestWhateverEndsATestItsLabGoes(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"panic", "fatal in Run"} {
		cmd := dying(t, way)
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("boom")) {
			t.Fatalf("%s: child ended with %v: %s", way, err, out)
		}
		if left := namespaces(t, fmt.Sprintf("%s%d-", namePrefix, cmd.Process.Pid)); len(left) != 0 {
			t.Errorf("%s: namespaces left: %v", way, left)
		}
	}
}

func TestTheNextLabSweepsWhatAKilledOneLeft(t *testing.T) {
	t.Parallel()
	cmd := dying(t, "kill")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for buf := make([]byte, 256); !bytes.Contains(said, []byte("namespace ")); {
		n, err := out.Read(buf)
		if said = append(said, buf[:n]...); err != nil {
			t.Fatalf("child said %q: %v", said, err)
		}
	}
	prefix := fmt.Sprintf("%s%d-", namePrefix, cmd.Process.Pid)
	left := namespaces(t, prefix)
	if len(left) != 1 {
		t.Fatalf("namespaces of the child: %v, want 1", left)
	}
	var st unix.Stat_t
	if err := unix.Stat(left[0], &st); err != nil {
		t.Fatal(err)
	}
	if err := sweep(t.Logf); err != nil {
		t.Fatal(err)
	}
	if got := namespaces(t, prefix); len(got) != 1 {
		t.Fatalf("namespaces of a living process after a sweep: %v", got)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Unreaped, the owner is a zombie: dead already. Other tests' labs may sweep first.
	wait(t, func() bool { _, err := startTime(cmd.Process.Pid); return err != nil })
	New(t)
	if got := namespaces(t, prefix); len(got) != 0 {
		t.Errorf("namespaces after the next lab: %v", got)
	}
	if pids, err := inside([]uint64{st.Ino}); err != nil || len(pids) != 0 {
		t.Errorf("processes inside after the next lab: %v, %v", pids, err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the killed child ended well")
	}
}

func TestOrphaned(t *testing.T) {
	own, err := ownPrefix()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		own + "abcd-relay": false,
		fmt.Sprintf("atoll-%d-0-abcd-relay", os.Getpid()): true, // the pid is used again
		"atoll-999999999-zzz-abcd-relay":                  true,
		"atoll-x-0-abcd-relay":                            false,
		"atoll-999999999-zzz-relay":                       false,
		"other-999999999-zzz-abcd-relay":                  false,
	} {
		if got := orphaned(name); got != want {
			t.Errorf("orphaned(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestUpBuildsThreeRegions(t *testing.T) {
	var log bytes.Buffer
	var islands Islands
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := Up(ctx, Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Build:  func(l *Lab) { islands = ThreeRegions(l) },
	})
	if err != nil {
		t.Fatal(err)
	}
	at := reflector(t, islands.Public[0])
	for i, want := range []time.Duration{4, 100, 100, 200, 200} {
		n := islands.All[i+1]
		wantRTT(t, n.Name()+" to eu-1", roundTrips(t, n, at, 8), want*time.Millisecond)
	}
	if err := Try(func() { l.Public("us", LinkOptions{}) }); err == nil || !strings.Contains(err.Error(), `"us" is taken`) {
		t.Errorf("a name taken: %v", err)
	}
	if err := Try(func() { islands.All[3].Link().SetDelay(1) }); err == nil || !strings.Contains(err.Error(), "uplink of its box") {
		t.Errorf("delay on a LAN: %v", err)
	}
	if err := Try(func() { islands.All[0].Link().SetLoss(2) }); err == nil || !strings.Contains(err.Error(), "from 0 to 1") {
		t.Errorf("loss of 2: %v", err)
	}
	cancel()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if left := namespaces(t, l.prefix); len(left) != 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if _, err := Up(t.Context(), Options{Build: func(l *Lab) { l.NAT("x", "odd", LinkOptions{}) }}); err == nil || !strings.Contains(err.Error(), `kind is "odd"`) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestRequireNamesThePackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var missing *MissingTools
	if err := Require(); os.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "only root may") {
			t.Errorf("Require as a user: %v", err)
		}
	} else if !errors.As(err, &missing) || !strings.Contains(err.Error(), "apt-get install -y iproute2 nftables") {
		t.Errorf("Require without tools: %v", err)
	}
}
