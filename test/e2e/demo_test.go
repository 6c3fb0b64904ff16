package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/probe"
)

// TestDemo runs what `make run` runs, with short bursts: three islands as far from
// each other as their cities, one question to all of them, a site that one of them
// does not reach, an alert that fires and resolves; and Ctrl-C leaves nothing behind.
func TestDemo(t *testing.T) {
	i, tmp := startDemo(t, "--burst-every", "80s", "--burst-for", "30s")
	began := time.Now()
	eventually(t, time.Minute, "saying where to look", func() error {
		if !strings.Contains(i.log.String(), "Look at it      "+i.url("/")) {
			return errors.New("the address is not printed")
		}
		return nil
	})
	t.Logf("welcome after %s", time.Since(began).Round(100*time.Millisecond))
	eventually(t, time.Minute, "peers as far as their cities", func() error { return demoPeers(i) })
	t.Logf("peers after %s", time.Since(began).Round(100*time.Millisecond))
	eventually(t, 2*time.Minute, "one city that does not reach the shop", func() error { return demoVerdict(i) })
	t.Logf("verdict after %s", time.Since(began).Round(100*time.Millisecond))
	says := func(what string) {
		t.Helper()
		eventually(t, 3*time.Minute, what, func() error {
			if !regexp.MustCompile(what).MatchString(i.log.String()) {
				return errors.New("not said yet")
			}
			return nil
		})
	}
	says(`FIRING +ShopErrors +payment: payment answers`)
	t.Logf("alert after %s", time.Since(began).Round(100*time.Millisecond))
	says(`FIRING +ProbeCertificateExpires .*4d 23h`)
	eventually(t, time.Minute, "an answer of three islands", func() error {
		text, err := i.get("/api/v1/query?scope=all&query=" + "count%20by(island)(shop_http_requests_total)")
		if err == nil && (!strings.Contains(text, `"beijing"`) || !strings.Contains(text, `"singapore"`) || !strings.Contains(text, `"frankfurt"`)) {
			err = fmt.Errorf("answered: %s", text)
		}
		return err
	})
	eventually(t, time.Minute, "a total that three islands made", func() error {
		text, err := i.get("/api/v1/query?scope=all&query=" + "count(count%20by(service)({__name__=~%22shop_http_requests_total:.*_total%22}))%20%3E=%203")
		if err == nil && !strings.Contains(text, `"value"`) {
			err = fmt.Errorf("answered: %s", text)
		}
		return err
	})
	if text, err := i.get("/api/atoll/v1/documents/dashboard/shop"); err != nil || !strings.Contains(text, "panels") {
		t.Errorf("no dashboard: %v, %s", err, text)
	}
	i.waitValue(time.Minute, `count(node_cpu_seconds_total)`, atLeast(1))
	demoMemory(t, i.cmd.Process.Pid)
	says(`RESOLVED +ShopErrors +payment: over after`)
	page, err := i.get("/")
	if err != nil || !strings.Contains(page, "<title>") {
		t.Errorf("no page at /: %v", err)
	}

	islands := children(t, i.cmd.Process.Pid)
	if err := i.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-i.done:
	case <-time.After(time.Minute):
		t.Fatal("the demo did not stop within a minute of Ctrl-C")
	}
	if code := i.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the demo ended with code %d", code)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("Ctrl-C left %v behind (%v)", left, err)
	}
	if still := slices.DeleteFunc(islands, gone); len(still) > 0 {
		t.Errorf("Ctrl-C left processes %v behind", still)
	}
}

// TestDemoKilled has the islands end though nobody stops them.
func TestDemoKilled(t *testing.T) {
	i, _ := startDemo(t, "--distance", "off")
	i.waitReady()
	islands := children(t, i.cmd.Process.Pid)
	if len(islands) != 3 {
		t.Fatalf("processes %v, want three", islands)
	}
	if err := i.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-i.done
	eventually(t, time.Minute, "the end of the islands", func() error {
		if still := slices.DeleteFunc(slices.Clone(islands), gone); len(still) > 0 {
			return fmt.Errorf("processes %v are there", still)
		}
		return nil
	})
}

func startDemo(t *testing.T, args ...string) (i *island, tmp string) {
	t.Helper()
	i = newIsland(t, "")
	tmp = t.TempDir()
	i.cmd = exec.Command(binary, append([]string{"demo", "--listen", i.addr}, args...)...)
	i.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	i.launch()
	return i, tmp
}

// demoPeers wants both others connected over the emulated distance, which no
// connection may undercut.
func demoPeers(i *island) error {
	text, err := i.get("/api/atoll/v1/mesh/peers")
	if err != nil {
		return err
	}
	var peers []mesh.PeerStatus
	if err := json.Unmarshal([]byte(text), &peers); err != nil {
		return err
	}
	far := map[string]float64{}
	for _, p := range peers {
		if p.State == mesh.StateConnected && p.Path == "direct" {
			far[p.Name] = p.RTT
		}
	}
	// A busy machine adds to it; the second is far from half the third.
	if s, f := far["singapore"], far["frankfurt"]; s < 0.069 || s > 0.2 || f < 0.229 || f > 0.6 {
		return fmt.Errorf("round trips %v", far)
	}
	return nil
}

// demoVerdict wants Frankfurt, and nobody else, not to reach the shop.
func demoVerdict(i *island) error {
	text, err := i.get(probe.VerdictsPath + "?definition=shop")
	if err != nil {
		return err
	}
	var answer struct{ Data probe.VerdictList }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return err
	}
	for _, v := range answer.Data.Verdicts {
		if v.State == "down" && !v.Page && len(v.Failing) == 1 && len(v.Fine) == 2 &&
			strings.Contains(v.Words, "down from frankfurt in eu-central (ISP Deutsche Telekom)") && strings.Contains(v.Words, "fine from 2 other vantages") {
			return nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %s", v.State, v.Words))
	}
	return errors.Join(errors.New("not down from one"), err)
}

// demoMemory reports what the islands take, and holds them to what is promised: RSS
// counts the pages that they share three times, PSS once.
func demoMemory(t *testing.T, parent int) {
	t.Helper()
	total := map[string]int{}
	for _, pid := range children(t, parent) {
		rollup, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"Rss", "Pss"} {
			m := regexp.MustCompile(kind + `:\s+(\d+) kB`).FindSubmatch(rollup)
			if m == nil {
				t.Fatalf("no %s of %d in:\n%s", kind, pid, rollup)
			}
			kB, _ := strconv.Atoi(string(m[1]))
			total[kind] += kB
		}
	}
	t.Logf("the islands take %d MB together, %d MB with shared pages counted once", total["Rss"]/1000, total["Pss"]/1000)
	if total["Pss"] > 500_000 {
		t.Errorf("the islands take %d MB together, more than 500", total["Pss"]/1000)
	}
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) (out []int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skipf("children are looked up in /proc, which %s has not", runtime.GOOS)
	}
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		text, _ := os.ReadFile(path) // a thread that has ended meanwhile has no children
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, child)
		}
	}
	return out
}

// gone tells that a process has ended, though nobody may have asked how.
func gone(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}
