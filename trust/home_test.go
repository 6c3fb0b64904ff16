package trust

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func (w *world) enrolment() Enrolment {
	signer, root := testKey("s1"), testKey("root")
	return Enrolment{Network: w.network, Node: testKey("anegada"), Signer: &signer, Root: &root, Certificate: w.issued("s1", "anegada")}
}

func openTestHome(t *testing.T, dir string) *Home {
	t.Helper()
	return must[*Home](t)(OpenHome(dir))
}

// describeHome says which keys are there.
func describeHome(h *Home) string {
	show := func(k PrivateKey, ok bool) string {
		if !ok {
			return "-"
		}
		for _, name := range everybody {
			if pub(name) == k.Public() {
				return name
			}
		}
		return "?"
	}
	if !h.Enrolled() {
		if !h.Node().IsZero() || h.Certificate() != nil || !h.Network().IsZero() {
			return "half enrolled"
		}
		return "in no network"
	}
	signer, hasSigner := h.Signer()
	root, hasRoot := h.Root()
	next, hasNext := h.NextNode()
	c := h.Certificate()
	if c.Network != h.Network() || c.Key != h.Node().Public() {
		return fmt.Sprintf("certificate of %s beside node key of %s", c.Key, h.Node().Public())
	}
	return fmt.Sprintf("node %s signer %s root %s next %s serial %d",
		show(h.Node(), true), show(signer, hasSigner), show(root, hasRoot), show(next, hasNext), c.Serial)
}

func TestHome(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "data", "mesh")
	h := openTestHome(t, dir)
	check := func(want string) {
		t.Helper()
		if got := describeHome(h); got != want {
			t.Errorf("in memory: %s, want %s", got, want)
		}
		if got := describeHome(openTestHome(t, dir)); got != want {
			t.Errorf("on disk: %s, want %s", got, want)
		}
	}
	check("in no network")
	wantError(t, h.SetSigner(testKey("s2")), ErrNotEnrolled, "keep signer key")
	if err := h.Forget(); err != nil {
		t.Error(err)
	}
	if c := h.Certificate(); c.Message() != nil {
		t.Errorf("who forgot its keys still says certificate %v", c)
	}
	if err := h.Enrol(w.enrolment()); err != nil {
		t.Fatal(err)
	}
	check("node anegada signer s1 root root next - serial 7")
	wantError(t, h.Enrol(w.enrolment()), nil, "leave that first")

	newer := w.certificate("anegada")
	newer.Serial = 8
	newest := must[*Certificate](t)(OpenCertificate(Issue(testKey("s1"), newer)))
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return h.SetCertificate(newest) }, "node anegada signer s1 root root next - serial 8"},
		{func() error { return h.SetSigner(testKey("s2")) }, "node anegada signer s2 root root next - serial 8"},
		{h.DropRoot, "node anegada signer s2 root - next - serial 8"},
		{h.DropRoot, "node anegada signer s2 root - next - serial 8"},
		{func() error { return h.SetRoot(testKey("root2")) }, "node anegada signer s2 root root2 next - serial 8"},
		{func() error { return h.StageNode(testKey("anegada3")) }, "node anegada signer s2 root root2 next anegada3 serial 8"},
		{h.DropNextNode, "node anegada signer s2 root root2 next - serial 8"},
		{func() error { return h.StageNode(testKey("anegada2")) }, "node anegada signer s2 root root2 next anegada2 serial 8"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		check(step.want)
	}
	wantError(t, h.SetCertificate(w.issued("s1", "anegada2")), nil, "is for")
	wantError(t, h.SetCertificate(&Certificate{}), nil, "OpenCertificate")
	wantError(t, h.PromoteNode(newest), nil, "is for")
	if err := h.PromoteNode(w.issued("s1", "anegada2")); err != nil {
		t.Fatal(err)
	}
	check("node anegada2 signer s2 root root2 next - serial 7")
	wantError(t, h.PromoteNode(w.issued("s1", "anegada2")), nil, "StageNode comes first")
	if err := h.DropSigner(); err != nil {
		t.Fatal(err)
	}
	check("node anegada2 signer - root root2 next - serial 7")
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v", info.Mode(), err)
	}
	if err := h.Forget(); err != nil {
		t.Fatal(err)
	}
	check("in no network")
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestEnrolRefuses(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		change func(e *Enrolment)
		want   string
	}{
		"no certificate":           {func(e *Enrolment) { e.Certificate = nil }, "OpenCertificate"},
		"another's certificate":    {func(e *Enrolment) { e.Certificate = w.issued("s1", "bonaire") }, "is for"},
		"no node key":              {func(e *Enrolment) { e.Node = PrivateKey{} }, "must be given"},
		"no network":               {func(e *Enrolment) { e.Network = NetworkID{} }, "must be given"},
		"an empty signer key":      {func(e *Enrolment) { e.Signer = &PrivateKey{} }, "no key"},
		"another network's member": {func(e *Enrolment) { e.Network = NetworkOf(pub("s1")) }, "is for"},
	} {
		t.Run(name, func(t *testing.T) {
			h := openTestHome(t, t.TempDir())
			e := w.enrolment()
			tc.change(&e)
			wantError(t, h.Enrol(e), nil, tc.want)
			if h.Enrolled() {
				t.Error("enrolled all the same")
			}
			if err := h.Enrol(w.enrolment()); err != nil {
				t.Errorf("then with a good one: %v", err)
			}
		})
	}
}

func TestOpenHomeNamesWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	certificate := func(c *Certificate) string { return string(must[[]byte](t)(encodeCertificate(c))) }
	other := w.certificate("anegada")
	other.Network = NetworkOf(pub("s1"))
	for name, tc := range map[string]struct{ file, text, want string }{
		"network":             {networkFile, "reef\n", networkFile},
		"node key":            {nodeFile, "", nodeFile},
		"signer key":          {signerFile, "x", signerFile},
		"certificate":         {certificateFile, "x", certificateFile},
		"another certificate": {certificateFile, certificate(w.issued("s1", "bonaire")), "but the node key is"},
		"another network":     {certificateFile, certificate(must[*Certificate](t)(OpenCertificate(Issue(testKey("s1"), other)))), "is of network"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := openTestHome(t, dir).Enrol(w.enrolment()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, identityDir, tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenHome(dir)
			wantError(t, err, nil, tc.want)
		})
	}
	dir := t.TempDir()
	if err := openTestHome(t, dir).Enrol(w.enrolment()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, identityDir, nodeFile)); err != nil {
		t.Fatal(err)
	}
	wantError(t, second(OpenHome(dir)), os.ErrNotExist, nodeFile)
}

var errKilled = errors.New("killed")

// killAt lets n steps pass and none after, not even those that tidy up.
func killAt(n int, steps *[]string) disk {
	return disk{before: func(step, path string) error {
		*steps = append(*steps, step+" "+filepath.Base(path))
		if len(*steps) > n {
			return errKilled
		}
		return nil
	}}
}

// changes are what a home goes through, each with the states before and after.
var changes = []struct {
	name          string
	prepare       func(w *world, h *Home) error
	do            func(w *world, h *Home) error
	before, after string
}{
	{
		"enrol", func(*world, *Home) error { return nil },
		func(w *world, h *Home) error { return h.Enrol(w.enrolment()) },
		"in no network", "node anegada signer s1 root root next - serial 7",
	},
	{
		"forget", func(w *world, h *Home) error { return h.Enrol(w.enrolment()) },
		func(_ *world, h *Home) error { return h.Forget() },
		"node anegada signer s1 root root next - serial 7", "in no network",
	},
	{
		"stage", func(w *world, h *Home) error { return h.Enrol(w.enrolment()) },
		func(_ *world, h *Home) error { return h.StageNode(testKey("anegada2")) },
		"node anegada signer s1 root root next - serial 7", "node anegada signer s1 root root next anegada2 serial 7",
	},
	{
		"promote", func(w *world, h *Home) error {
			return errors.Join(h.Enrol(w.enrolment()), h.StageNode(testKey("anegada2")))
		},
		func(w *world, h *Home) error { return h.PromoteNode(w.issued("s1", "anegada2")) },
		"node anegada signer s1 root root next anegada2 serial 7", "node anegada2 signer s1 root root next - serial 7",
	},
	{
		"signer", func(w *world, h *Home) error { return h.Enrol(w.enrolment()) },
		func(_ *world, h *Home) error { return h.SetSigner(testKey("s2")) },
		"node anegada signer s1 root root next - serial 7", "node anegada signer s2 root root next - serial 7",
	},
	{
		"drop root", func(w *world, h *Home) error { return h.Enrol(w.enrolment()) },
		func(_ *world, h *Home) error { return h.DropRoot() },
		"node anegada signer s1 root root next - serial 7", "node anegada signer s1 root - next - serial 7",
	},
}

// TestHomeKilledAtEveryStep stops every change after each of its steps: what is
// found then is all of the old or all of the new, and the change can be made again.
func TestHomeKilledAtEveryStep(t *testing.T) {
	w := newWorld(t)
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			seen := map[string]int{}
			for n, finished := 0, false; !finished; n++ {
				dir := t.TempDir()
				h := openTestHome(t, dir)
				if err := c.prepare(w, h); err != nil {
					t.Fatal(err)
				}
				var steps []string
				h.disk = killAt(n, &steps)
				err := c.do(w, h)
				finished = len(steps) <= n
				if finished == (err != nil) {
					t.Fatalf("after %d of the steps %v: error %v", n, steps, err)
				}
				found := openTestHome(t, dir)
				got := describeHome(found)
				seen[got]++
				if got != c.before && got != c.after {
					t.Fatalf("killed after %v: %s", steps[:n], got)
				}
				if finished && got != c.after {
					t.Errorf("finished, and found %s", got)
				}
				if got == c.before {
					if err := c.do(w, found); err != nil {
						t.Errorf("killed after %v: once more: %v", steps[:n], err)
					}
					if got := describeHome(openTestHome(t, dir)); got != c.after {
						t.Errorf("killed after %v: once more: %s", steps[:n], got)
					}
				}
			}
			if seen[c.before] < 1 || seen[c.after] < 2 {
				t.Errorf("found %v: the steps were not stopped one by one", seen)
			}
		})
	}
}

// TestMain lets this test binary be the process that TestEnrolKill9 kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ATOLL_TEST_HOME"); dir != "" {
		enrolAndStop(dir, os.Getenv("ATOLL_TEST_STEP"))
	}
	os.Exit(m.Run())
}

// enrolAndStop enrols in dir and waits for its end at the given step.
func enrolAndStop(dir, step string) {
	n := 0
	h, err := openHome(dir, disk{before: func(string, string) error {
		if n++; fmt.Sprint(n) == step {
			fmt.Println("at step", n)
			_, err := io.ReadAll(os.Stdin) // until killed
			return err
		}
		return nil
	}})
	if err == nil {
		err = h.Enrol((&world{network: NetworkOf(pub("root"))}).enrolmentForChild())
	}
	fmt.Println("enrolled", err)
	os.Exit(0)
}

func (w *world) enrolmentForChild() Enrolment {
	signer, root := testKey("s1"), testKey("root")
	c, err := OpenCertificate(Issue(signer, w.certificate("anegada")))
	if err != nil {
		panic(err)
	}
	return Enrolment{Network: w.network, Node: testKey("anegada"), Signer: &signer, Root: &root, Certificate: c}
}

// TestEnrolKill9 kills a real process at every fifth step.
func TestEnrolKill9(t *testing.T) {
	killed, enrolled := 0, 0
	for step := 1; ; step += 5 {
		dir := t.TempDir()
		if !killChildAt(t, dir, step) {
			break
		}
		killed++
		h := openTestHome(t, dir)
		switch got := describeHome(h); got {
		case "in no network":
			if err := h.Enrol(newWorld(t).enrolment()); err != nil {
				t.Errorf("step %d: once more: %v", step, err)
			}
		case "node anegada signer s1 root root next - serial 7":
			enrolled++
		default:
			t.Errorf("step %d: %s", step, got)
		}
	}
	if killed < 4 || enrolled == killed {
		t.Errorf("killed %d processes, %d of them enrolled: the test stops none in the middle", killed, enrolled)
	}
}

// killChildAt reports false if the child was through before step.
func killChildAt(t *testing.T, dir string, step int) bool {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "ATOLL_TEST_HOME="+dir, fmt.Sprint("ATOLL_TEST_STEP=", step))
	child.WaitDelay = time.Minute
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(line, "enrolled <nil>") {
		if err := child.Wait(); err != nil {
			t.Fatal(err)
		}
		return false
	}
	if !strings.HasPrefix(line, "at step") {
		t.Fatalf("child says %q", line)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child was not killed: %v", err)
	}
	return true
}
