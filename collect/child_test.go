package collect

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Tests that need another process start this test binary again with childEnv
// set to "<what> <argument>".
const childEnv = "ATOLL_COLLECT_TEST_CHILD"

func runChild(spec string) int {
	what, arg, _ := strings.Cut(spec, " ")
	var err error
	switch what {
	case "get":
		err = childGet(arg)
	default:
		err = fmt.Errorf("unknown child %q", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// childGet asks the built-in jobs' socket for metrics and prints the answer.
func childGet(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The other side may have closed already; then reading tells as much.
	_, _ = io.WriteString(conn, "GET /atoll/metrics HTTP/1.0\r\nHost: island\r\n\r\n")
	b, _ := io.ReadAll(conn)
	fmt.Printf("%s", b)
	return nil
}

func TestOtherProcessesCannotReadTheBuiltinJobs(t *testing.T) {
	o, rec, reg := options(t, doc(""))
	o.Config.Self.Enabled = true
	f := start(t, o, rec, reg)
	eventually(t, "the island scrapes itself", func() bool { return f.rec.up(jobSelf) })

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=get "+f.builtins.socket)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("running the other process: %v\n%s", err, out)
	}
	if len(out) != 0 {
		t.Errorf("another process read %q", out)
	}
	if got := testutil.ToFloat64(f.metrics.foreignConnections); got != 1 {
		t.Errorf("atoll_collect_foreign_connections_total is %v, want 1", got)
	}
}
