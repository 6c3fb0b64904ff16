package definition

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	blackbox "github.com/prometheus/blackbox_exporter/config"
	_ "github.com/prometheus/prometheus/discovery/dns"
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the .txt files of testdata anew")

// load reads a file of testdata: those whose names begin with modules are module files.
func load(file string, text []byte) (any, error) {
	if strings.HasPrefix(filepath.Base(file), "modules") {
		return ReadModules(filepath.Base(file), text)
	}
	return Read("example", filepath.Base(file), text)
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(files) < 10 {
		t.Fatalf("testdata has %d files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			v, err := load(file, text)
			if good := strings.HasSuffix(file, ".good.yml"); good != (err == nil) {
				t.Fatalf("good is %v, error: %v", good, err)
			}
			got := ""
			if err != nil {
				var list Errors
				if !errors.As(err, &list) || len(list.Problems) == 0 {
					t.Fatalf("the error is %T, want Errors", err)
				}
				got = err.Error() + "\n"
			} else if written, err := yaml.Marshal(v); err != nil {
				t.Fatal(err)
			} else {
				got = string(written)
			}
			golden := strings.TrimSuffix(file, ".yml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestModulesAsUpstream holds the modules of blackbox_exporter's own file to what
// it reads itself.
func TestModulesAsUpstream(t *testing.T) {
	text, err := os.ReadFile("testdata/modules_blackbox.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	var theirs blackbox.Config
	if err := yaml.Unmarshal(text, &theirs); err != nil {
		t.Fatal(err)
	}
	ours, err := ReadModules("blackbox.yml", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(theirs.Modules) || len(ours) < 10 {
		t.Fatalf("%d modules, upstream reads %d", len(ours), len(theirs.Modules))
	}
	for name, want := range theirs.Modules {
		if diff := cmp.Diff(marshal(t, want), marshal(t, ours[name].Module)); diff != "" {
			t.Errorf("%s (-upstream +ours):\n%s", name, diff)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBuiltin(t *testing.T) {
	modules := Builtin()
	for _, name := range []string{DefaultModule, "http_post_2xx", "tcp_connect", "icmp", "dns", "tls", "ssh_banner", "smtp_starttls", "trace"} {
		if modules[name] == nil {
			t.Errorf("no module %s among %v", name, modules.Names())
		}
	}
	probed := map[string]bool{}
	for _, m := range modules {
		probed[m.Prober] = true
	}
	for _, p := range Probers() {
		if !probed[p] && p != "unix" && p != "udp" { // these say nothing without a module of one's own
			t.Errorf("no built-in module uses prober %s", p)
		}
	}
}

func read(t *testing.T, text string) *Definition {
	t.Helper()
	d, err := Read("example", "example.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestResolve(t *testing.T) {
	d := read(t, "targets: [a]\nmodule: icmp\nexpect: {within: 1s}\n")
	m, ok := d.Resolve(Builtin())
	if !ok || m.Prober != "icmp" || time.Duration(m.Expect.Within) != time.Second || m.ICMP.TTL != 64 {
		t.Errorf("module %+v, %v", m, ok)
	}
	if Builtin()["icmp"].Expect.Within != 0 {
		t.Error("the shared module was changed")
	}
	if _, ok := read(t, "targets: [a]\nmodule: nope\n").Resolve(Builtin()); ok {
		t.Error("there is no module nope")
	}
	for text, want := range map[string]time.Duration{
		"targets: [a]":                             DefaultTimeout,
		"targets: [a]\ninterval: 2s":               2 * time.Second,
		"targets: [a]\ntimeout: 3s":                3 * time.Second,
		"targets: [a]\nmodule: icmp_loss":          5 * time.Second,
		"targets: [a]\nmodule: trace\ntimeout: 7s": 7 * time.Second,
	} {
		d := read(t, text)
		m, ok := d.Resolve(Builtin())
		if !ok || d.Within(m) != want {
			t.Errorf("%q: within %s, want %s", text, d.Within(m), want)
		}
	}
}

func TestActive(t *testing.T) {
	d := read(t, `
targets: [a]
during: [{weekdays: [monday], times: [{start_time: "08:00", end_time: "18:00"}], location: Asia/Shanghai}]
except: [{days_of_month: ["2"]}]
`)
	for text, want := range map[string]bool{
		"2026-11-23T00:30:00Z": true,  // 08:30 in Shanghai, a Monday
		"2026-11-23T10:30:00Z": false, // 18:30
		"2026-11-24T00:30:00Z": false, // a Tuesday
		"2026-11-02T03:30:00Z": false, // a Monday, the 2nd
		"2026-11-09T03:30:00Z": true,
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Active(at.In(time.FixedZone("", 3600))); got != want {
			t.Errorf("%s: active %v, want %v", text, got, want)
		}
	}
	if !read(t, "targets: [a]").Active(time.Now()) {
		t.Error("without windows a definition is always active")
	}
}

func TestFrom(t *testing.T) {
	eu := map[string]string{"island": "berlin", "region": "eu"}
	for text, want := range map[string]bool{
		"all": true, `'{region="eu"}'`: true, `region="us"`: false, `'{island!="berlin"}'`: false, `isp=""`: true,
	} {
		if got := read(t, "targets: [a]\nfrom: "+text).From.Selects(eu); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestReadList(t *testing.T) {
	list := func(text string) ([]*Definition, error) {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		return ReadList("atoll.yaml", "probe.definitions", doc.Content[0])
	}
	got, err := list("- {name: a, targets: [x]}\n- {name: b, targets: [y]}\n")
	if err != nil || len(got) != 2 || got[1].Name != "b" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = list("- {name: a, targets: [x]}\n- {name: a, targets: [y]}\n- {targets: [z], interval: 1ms}\n")
	const want = `atoll.yaml:2:3: probe.definitions[1].name: "a" is the name of the definition in line 1; each has its own
atoll.yaml:3:3: probe.definitions[2]: has no name; write name: and what the targets have in common
atoll.yaml:3:28: probe.definitions[2].interval: 1ms: must be between 1s and 24h0m0s`
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := ReadModules("f", text); (m == nil) == (err == nil) && len(m) > 0 {
			t.Fatalf("modules %v, error %v", m, err)
		}
		d, err := Read("example", "f", text)
		if (d == nil) == (err == nil) {
			t.Fatalf("definition %v, error %v", d, err)
		}
		var list Errors
		if errors.As(err, &list) {
			for _, p := range list.Problems {
				if p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Errorf("%#v says not enough", p)
				}
			}
		}
		if d == nil {
			return
		}
		if d.Interval <= 0 || len(d.Targets)+len(d.Discover) == 0 || d.History.Need < 1 {
			t.Fatalf("%+v", d)
		}
		if m, ok := d.Resolve(Builtin()); ok && d.Within(m) <= 0 {
			t.Fatalf("within %v", d.Within(m))
		}
	})
}

func TestComparedHeadersAreBounded(t *testing.T) {
	for headers, want := range map[string]string{
		"[" + strings.Repeat("a, ", MostCompared) + "b]": "compare.headers: 17: must be at most 16",
		"[" + strings.Repeat("a", LongestHeader+1) + "]": "of at most 64 bytes",
	} {
		_, err := Read("a", "a.yml", []byte("targets: [https://a/]\ncompare: {headers: "+headers+"}\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
