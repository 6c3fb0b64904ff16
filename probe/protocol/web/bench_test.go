package web

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// serveEnv makes the test's binary a server that is no part of what is measured.
const serveEnv = "ATOLL_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveOnly()
		return
	}
	goleak.VerifyTestMain(m)
}

// serveOnly serves until its standard input ends, with two lines to find it by.
func serveOnly() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat("hello ", 20)) })
	plain, secure := httptest.NewServer(h), httptest.NewUnstartedServer(h)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	fmt.Println(plain.URL)
	fmt.Println(secure.URL)
	os.Stdout.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	fmt.Println("END")
	bufio.NewScanner(os.Stdin).Scan()
}

// BenchmarkHTTP measures the CPU time of this process, user and system, per probe.
// The server is another process.
func BenchmarkHTTP(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	lines.Scan()
	plain := lines.Text()
	lines.Scan()
	secure := lines.Text()
	ca := ""
	for lines.Scan() && lines.Text() != "END" {
		ca += lines.Text() + "\n"
	}
	tlsModule := "http: {tls_config: {ca: \"" + strings.ReplaceAll(ca, "\n", `\n`) + "\", server_name: example.com}, enable_http2: %v}"
	for _, c := range []struct{ name, target, module string }{
		{"http1", plain, ""},
		{"https1", secure, fmt.Sprintf(tlsModule, false)},
		{"http2", secure, fmt.Sprintf(tlsModule, true)},
	} {
		b.Run(c.name, func(b *testing.B) {
			req := request(b, c.target, c.module)
			req.Memory = &protocol.Memory{}
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				r := HTTP(ctx, req)
				cancel()
				if !r.Up {
					b.Fatal(r.Reason)
				}
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
		// blackbox_exporter's prober alone, without its own server and the scrape.
		b.Run(c.name+"/blackbox_exporter", func(b *testing.B) {
			m := module(b, c.module).Module
			before := cpu()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				reg := prometheus.NewRegistry()
				up := prober.ProbeHTTP(ctx, c.target, m, reg, slog.New(slog.DiscardHandler))
				cancel()
				if families, err := reg.Gather(); !up || err != nil || len(families) == 0 {
					b.Fatal("not up")
				}
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
