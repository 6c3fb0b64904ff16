package thanos

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// before is what a Prometheus with a sidecar has collected, as OpenMetrics.
func before() string {
	var b strings.Builder
	from := time.Now().Add(-9 * time.Hour).Truncate(2 * time.Hour)
	for i := range series {
		for n := range 120 {
			fmt.Fprintf(&b, "m{i=\"%d\"} %d %d\n", i, i, from.Unix()+int64(n)*60)
		}
	}
	return b.String() + "# EOF\n"
}

// serve runs a program until the test ends, and waits until it answers at url.
func (w *world) serve(url, bin string, args ...string) {
	w.t.Helper()
	w.bin = bin
	w.keep(args...)
	eventually(w.t, bin+" answers", func() error {
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
}

// TestAttach: an island beside a Thanos that is there already, in its bucket, with
// the settings and commands of docs/storage.md. Thanos Query answers about both, and
// islands about what they were given, or may read, of the past.
func TestAttach(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	bin := thanos(t)
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v: apt-get install prometheus", err)
		}
	}
	atoll := filepath.Join(w.dir, "atoll")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", atoll, "../../cmd/atoll")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build atoll: %v\n%s", err, out)
	}
	file := func(name string) string { return filepath.Join(w.dir, name) }
	bucketDir, old := file("bucket"), file("prometheus")
	if err := os.Mkdir(bucketDir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(file("bucket.yml"), "type: FILESYSTEM\nconfig: {directory: "+bucketDir+"}\n")
	w.write(file("past.om"), before())
	w.bin = "promtool"
	w.run("tsdb", "create-blocks-from", "openmetrics", file("past.om"), old)

	// What is there: a Prometheus, its sidecar, and what that has uploaded.
	w.write(file("prometheus.yml"), "global: {external_labels: {region: eu, replica: a}}\n")
	prometheus := free(t)
	w.serve("http://"+prometheus+"/-/ready", "prometheus", "--config.file="+file("prometheus.yml"), "--storage.tsdb.path="+old, "--web.listen-address="+prometheus,
		"--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")
	sidecar := free(t)
	w.serve("http://"+sidecar+"/-/ready", bin, "sidecar", "--prometheus.url=http://"+prometheus, "--tsdb.path="+old, "--objstore.config-file="+file("bucket.yml"),
		"--http-address="+sidecar, "--grpc-address="+free(t))
	eventually(t, "the sidecar uploads", func() error { return uploads(bucketDir, "replica", 1) })

	// An island, which is given those blocks.
	certs := certificates(t)
	api, web := free(t), free(t)
	w.write(file("atoll.yaml"), fmt.Sprintf(`
island: {name: fra, labels: {region: eu}, data_dir: data}
http: {listen: ["%s"]}
collect: {host: {enabled: false}, cgroup: {enabled: false}}
prometheus: {global: {scrape_interval: 1s, scrape_timeout: 1s}}
store:
  bucket: {type: filesystem, directory: %s, prefix: islands}
  thanos:
    listen: %s
    tls: {cert_file: %s/island.pem, key_file: %[4]s/island.key, client_ca_file: %[4]s/ca.pem}
`, web, bucketDir, api, certs))
	if err := os.CopyFS(file("data/tsdb"), os.DirFS(bucketDir)); err != nil {
		t.Fatal(err)
	}
	w.serve("http://"+web+"/-/ready", atoll, "run", "-c", file("atoll.yaml"))
	eventually(t, "the island uploads", func() error { return uploads(filepath.Join(bucketDir, "islands"), "island", 1) })
	expect(t, web, "of the past, asked of the island", `count(count_over_time(m[12h]))`, `{} 50`)

	// Another one, which reads them where they are.
	reader := free(t)
	w.write(file("reader.yaml"), fmt.Sprintf(`
island: {name: ams, data_dir: reader}
http: {listen: ["%s"]}
collect: {host: {enabled: false}, cgroup: {enabled: false}, self: {enabled: false}}
store:
  bucket:
    type: filesystem
    directory: %s
    also_read: [{region: eu, replica: a}]
`, reader, bucketDir))
	w.serve("http://"+reader+"/-/ready", atoll, "run", "-c", file("reader.yaml"))
	expect(t, reader, "of the past, read from the sidecar's blocks", `count by (island, replica) (count_over_time(m[12h]))`, `{} 50`)

	store, stores, query := free(t), free(t), free(t)
	w.serve("http://"+store+"/-/ready", bin, "store", "--objstore.config-file="+file("bucket.yml"), "--data-dir="+t.TempDir(), "--http-address="+store, "--grpc-address="+stores)
	w.write(file("endpoints.yml"), fmt.Sprintf(`
endpoints:
- address: %s
- address: %s
  client_config: {tls_config: {cert_file: %s/querier.pem, key_file: %[3]s/querier.key, ca_file: %[3]s/ca.pem}}
`, stores, api, certs))
	w.serve("http://"+query+"/-/ready", bin, "query", "--endpoint.sd-config-file="+file("endpoints.yml"), "--http-address="+query, "--grpc-address="+free(t))
	expect(t, query, "of the past, from Thanos Store", `count by (region, replica) (count_over_time(m{replica="a"}[12h]))`, `{"region":"eu","replica":"a"} 50`)
	expect(t, query, "of the past, from the island", `count by (region, island) (count_over_time(m{island="fra"}[12h]))`, `{"island":"fra","region":"eu"} 50`)
	expect(t, query, "of now, from the island", `sum by (island, job) (up{job="atoll"})`, `{"island":"fra","job":"atoll"} 1`)
}

// expect waits until an address answers expr with this.
func expect(t *testing.T, addr, what, expr, want string) {
	t.Helper()
	eventually(t, what, func() error {
		got, err := ask(addr, expr, time.Now().UnixMilli())
		if err == nil && got != want {
			err = fmt.Errorf("%s is %s, want %s", expr, got, want)
		}
		return err
	})
}

// uploads counts the blocks in a bucket whose external labels have this one.
func uploads(dir, label string, want int) error {
	files, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	n := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), `"`+label+`"`) {
			n++
		}
	}
	if err == nil && n < want {
		err = fmt.Errorf("%d of %d blocks have the label %s", n, want, label)
	}
	return err
}
