//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// output is what was printed so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// binaryVariable names a binary to test instead of building one.
const binaryVariable = "ATOLL_BINARY"

// build makes the binary as it is released.
func build(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(binaryVariable); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "atoll")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=lab", "-o", path, "../../cmd/atoll")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build atoll: %v\n%s", err, text)
	}
	return path
}

// script does what the suggestions name. The last wait is the sign that it is over.
const script = `
# a comment, and an empty line

peers us-1
on us-1 ping eu-2
until us-1 20 of 20 services
break Liberty
until eu-1 down from ISP Liberty in eu and us
until eu-1 ALERT FIRING ProbeDown
until ap-1 down from ISP Liberty in eu and us
evidence ap-1
mend Liberty
until us-2 20 of 20 services
partition eu-1,us | eu-2,ap
wait eu-1 2
heal
wait eu-1 5
cut ap-2
wait eu-1 4
heal ap-2
kill eu-2
start eu-2
wait eu-2 5
revoke us-2
wait eu-1 4
peers eu-1
`

func TestScriptedArchipelago(t *testing.T) {
	if err := lab.Require(); err != nil {
		if os.Getenv(lab.RequireVariable) != "" {
			t.Fatalf("make a lab: %v", err)
		}
		t.Skipf("skipped, no lab on this machine: %v", err)
	}
	atoll := build(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	out := &output{}
	in, say := io.Pipe()
	defer say.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	done := make(chan error, 1)
	go func() { done <- run(ctx, options{atoll: atoll, in: in, out: out, log: slog.New(slog.DiscardHandler)}) }()
	go func() { _, _ = io.WriteString(say, script+"table\n") }() // whether it was read shows below

	pids, over := map[string]int{}, false
	for !over {
		select {
		case err := <-done:
			t.Fatalf("ended early: %v\n%s", err, out)
		case <-time.After(100 * time.Millisecond):
			tables := strings.Count(out.String(), "help lists all commands.")
			over = tables == 2
			if tables > 0 {
				readPIDs(t, out.String(), pids)
			}
		}
	}
	t.Logf("%s", out) // shown with -v
	checkAnswers(t, out.String())
	interrupt() // as Ctrl-C does, in mid-script
	if err := <-done; err == nil || !strings.Contains(err.Error(), "before the script had ended") {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if !strings.Contains(out.String(), "stopped; removed "+tmp) {
		t.Errorf("no farewell:\n%s", out)
	}
	checkNothingIsLeft(t, tmp, pids)
}

// readPIDs collects the processes that the tables name.
func readPIDs(t *testing.T, text string, pids map[string]int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^((?:eu|us|ap)-[12]) .* (\d+) +http://`).FindAllStringSubmatch(text, -1) {
		pid, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		pids[m[1]+" "+m[2]] = pid
	}
}

func checkAnswers(t *testing.T, text string) {
	t.Helper()
	for _, want := range []string{
		`(?m)^eu-1 +eu +none, public +\d+ +http://127\.0\.0\.1:\d+/ +/`,
		`(?m)^us-2 +us +port-restricted `,
		`(?m)^ap-1 +ap +symmetric `,
		`sudo ip netns exec atoll-\S+-ap-1 \S+ peers --data-dir /\S+/ap-1/data`,
		`(?m)^eu-1 +eu +admin +connected +direct `,          // seen by us-1
		`(?m)^ap-[12] +ap +island +connected +relayed via `, // as well
		`revoked us-2 \(`,
		// One service, for one ISP's customers: the verdict, the alert and the evidence.
		`(?m)^shop http://\S+:8443/: down from ISP Liberty in eu and us since \d\d:\d\d UTC \(connect timeout\), fine from 3 other vantages$`,
		`ALERT FIRING ProbeDown \(severity \w+, owner shop\): .*http://\S+:8443/`,
		`  verdict: down from ISP Liberty in eu and us since `,
		`  evidence: \S*/api/v1/probes/evidence`,
		`(?m)^http://\S+:8443/, failing, kept by (?:eu-2|us-1|us-2): .*`,
		`(?m)^http://\S+:8443/, healthy, kept by (?:eu-1|ap-1|ap-2): it sees nothing wrong$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("nothing like %s in:\n%s", want, text)
		}
	}
	last := text[strings.LastIndex(text, " s  peers eu-1\n"):]
	if rows := regexp.MustCompile(`(?m)^(?:eu|us|ap)-[12] +\S+ +(?:admin|island) +\S+`).FindAllString(last, -1); len(rows) != 4 || strings.Contains(strings.Join(rows, " "), "us-2") {
		t.Errorf("eu-1 lists %q after us-2 was revoked", rows)
	}
}

func checkNothingIsLeft(t *testing.T, tmp string, pids map[string]int) {
	t.Helper()
	if len(pids) != 7 {
		t.Errorf("the tables name %v; six islands and one that was started again were expected", pids)
	}
	for who, pid := range pids {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("process %s is still there: %v", who, err)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	spaces, err := exec.Command("ip", "netns", "list").Output()
	if own := fmt.Sprintf("atoll-%d-", os.Getpid()); err != nil || bytes.Contains(spaces, []byte(own)) {
		t.Errorf("namespaces are left: %v\n%s", err, spaces)
	}
}

// still is an archipelago of which nothing runs.
func still(in string, out io.Writer, interactive bool) *archipelago {
	return &archipelago{
		began: time.Now(), opts: options{in: strings.NewReader(in), out: out, interactive: interactive},
		sites: []*site{{name: "eu-1"}, {name: "us-1"}},
	}
}

func TestMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"dance":              `"dance" is no command`,
		"peers":              "name one island of eu-1, us-1",
		"peers eu-1 us-1":    "2 words follow",
		"kill nobody":        `"nobody" is no island: there are eu-1, us-1`,
		"kill eu-1":          "it does not run",
		"cut asia":           `"asia" is no island`,
		"partition eu-1":     "one group is no partition",
		"partition eu-1 | x": `"x" is no island`,
		"on eu-1":            "a command of atoll",
		"wait eu-1":          "how many others",
		"wait eu-1 all":      `"all" is no number`,
	} {
		err := still(line+"\nquit", io.Discard, false).obey(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), line) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestAMistakeEndsAScriptOnly(t *testing.T) {
	const text = "# nothing\n\ndance\nhelp\nquit\nkill nobody\n"
	var out output
	if err := still(text, &out, true).obey(t.Context()); err != nil {
		t.Errorf("somebody at the prompt: %v", err)
	}
	for _, want := range []string{"lab> ", "is no command", "partition A,B | C,D"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the prompt shows no %q:\n%s", want, out.String())
		}
	}
	if err := still(text, io.Discard, false).obey(t.Context()); err == nil {
		t.Error("a script went on after a mistake")
	}
	if err := still("help\n", io.Discard, false).obey(t.Context()); err != nil {
		t.Errorf("the end of a script: %v", err)
	}
}

func TestTheBinaryIsMissing(t *testing.T) {
	err := run(t.Context(), options{atoll: filepath.Join(t.TempDir(), "atoll"), out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("without a binary: %v", err)
	}
}
