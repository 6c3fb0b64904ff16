package web

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go/http3"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// exporters runs blackbox_exporter's own prober and returns its samples, times left
// out by name.
func exporters(t *testing.T, f prober.ProbeFn, req *protocol.Request) (bool, map[string]float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reg := prometheus.NewRegistry()
	up := f(ctx, req.Target, req.Module.Module, reg, slog.New(slog.DiscardHandler))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.Gauge.GetValue()
		}
	}
	return up, all
}

func ours(r *protocol.Result) map[string]float64 {
	all := map[string]float64{}
	for _, s := range r.Samples {
		var labels []string
		for i := 0; i+1 < len(s.Labels); i += 2 {
			labels = append(labels, s.Labels[i]+"="+s.Labels[i+1])
		}
		slices.Sort(labels)
		all[s.Name+"{"+strings.Join(labels, ",")+"}"] = s.Value
	}
	return all
}

// added are the families that blackbox_exporter has not.
var added = []string{"probe_tls_certificate_not_after_seconds", "probe_tls_certificate_key_bits"}

// compare asks both and wants the same samples of both.
func compare(t *testing.T, theirs prober.ProbeFn, f protocol.Func, req *protocol.Request, more ...string) {
	t.Helper()
	up, want := exporters(t, theirs, req)
	r := run(t, f, req)
	got := ours(r)
	if r.Up != up {
		t.Errorf("up is %v (%v), blackbox_exporter says %v", r.Up, r.Reason, up)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		v, ok := got[key]
		if !ok {
			t.Errorf("%s is missing, blackbox_exporter has %v", key, want[key])
		} else if v != want[key] && !strings.Contains(key, "duration_seconds") && !strings.Contains(key, "lookup_time") {
			t.Errorf("%s is %v, blackbox_exporter has %v", key, v, want[key])
		}
	}
	for key := range got {
		family, _, _ := strings.Cut(key, "{")
		if _, ok := want[key]; !ok && !slices.Contains(added, family) && !slices.Contains(more, key) && !slices.Contains(more, family) {
			t.Errorf("%s is ours alone", key)
		}
	}
}

func site() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello, world") })
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
		fmt.Fprint(w, "status")
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	mux.HandleFunc("/keep", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/echo")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/see", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/echo")
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "7"})
		http.Redirect(w, r, "/echo", http.StatusFound)
	})
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusFound) })
	mux.HandleFunc("/far", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "ftp://example.com/")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id := ""
		if c, err := r.Cookie("id"); err == nil {
			id = c.Value
		}
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s host=%s body=%q x=%q type=%q id=%s auth=%s user=%s:%s", r.Method, strings.Split(r.Host, ":")[0], body, r.Header.Get("X-Test"), r.Header.Get("Content-Type"), id, r.Header.Get("Authorization"), user, password)
	})
	mux.HandleFunc("/old", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		fmt.Fprint(w, "old")
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "first ")
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "second")
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"ok": true, "count": 3, "items": [{"name": "a"}, {"name": "b"}]}`)
	})
	mux.HandleFunc("/packed/{by}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", r.PathValue("by"))
		_, _ = w.Write(packed(r.PathValue("by"), bytes.Repeat([]byte("hello, world "), 100)))
	})
	return mux
}

func packed(by string, plain []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	switch by {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w, _ = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriter(&b)
	}
	_, _ = w.Write(plain)
	w.Close()
	return b.Bytes()
}

func TestSameAsBlackboxHTTP(t *testing.T) {
	s := httptest.NewServer(site())
	t.Cleanup(s.Close)
	for _, c := range []struct{ path, http string }{
		{"/", ""},
		{"/", "method: HEAD"},
		{"/", "valid_http_versions: [HTTP/1.1]"},
		{"/", "valid_http_versions: [HTTP/2.0]"},
		{"/", "fail_if_not_ssl: true"},
		{"/", "fail_if_ssl: true"},
		{"/", "fail_if_body_matches_regexp: [world]"},
		{"/", "fail_if_body_matches_regexp: [moon]"},
		{"/", "fail_if_body_not_matches_regexp: [world, hello]"},
		{"/", "fail_if_body_not_matches_regexp: [moon]"},
		{"/", "fail_if_header_matches: [{header: Content-Type, regexp: text}]"},
		{"/", "fail_if_header_matches: [{header: Content-Type, regexp: json}]"},
		{"/", "fail_if_header_matches: [{header: X-None, regexp: a}]"},
		{"/", "fail_if_header_matches: [{header: X-None, regexp: a, allow_missing: true}]"},
		{"/", "fail_if_header_not_matches: [{header: content-type, regexp: text}]"},
		{"/", "fail_if_header_not_matches: [{header: Content-Type, regexp: json}]"},
		{"/", "fail_if_header_not_matches: [{header: X-None, regexp: a}]"},
		{"/", "body_size_limit: 5B"},
		{"/", "{body_size_limit: 5B, fail_if_body_not_matches_regexp: [hello]}"},
		{"/", "body_size_limit: 100KB"},
		{"/status/404", ""},
		{"/status/404", "valid_status_codes: [404]"},
		{"/status/404", "{fail_if_body_matches_regexp: [status], fail_if_header_matches: [{header: X, regexp: a}]}"},
		{"/status/204", ""},
		{"/to", ""},
		{"/to", "follow_redirects: false"},
		{"/to", "{follow_redirects: false, valid_status_codes: [302]}"},
		{"/keep", "{method: POST, body: abc, headers: {Content-Type: a/b}, fail_if_body_not_matches_regexp: ['^POST host=127.0.0.1 body=\"abc\" .*type=\"a/b\"']}"},
		{"/see", "{method: POST, body: abc, headers: {Content-Type: a/b}, fail_if_body_not_matches_regexp: ['^GET host=127.0.0.1 body=\"\" .*type=\"\"']}"},
		{"/loop", ""},
		{"/loop", "valid_status_codes: [302]"},
		{"/cookie", "fail_if_body_not_matches_regexp: [id=7]"},
		{"/nowhere", ""},
		{"/far", ""},
		{"/echo", "{headers: {X-Test: abc, Host: web.test}, fail_if_body_not_matches_regexp: ['host=web.test .*x=\"abc\"']}"},
		{"/echo", "{basic_auth: {username: u, password: p}, fail_if_body_not_matches_regexp: ['user=u:p']}"},
		{"/echo", "{bearer_token: abc, fail_if_body_not_matches_regexp: ['auth=Bearer abc']}"},
		{"/echo", "{authorization: {type: Token, credentials: abc}, fail_if_body_not_matches_regexp: ['auth=Token abc']}"},
		{"/echo", "{http_headers: {X-Test: {values: [abc]}}, fail_if_body_not_matches_regexp: ['x=\"abc\"']}"},
		{"/old", ""},
		{"/chunked", ""},
		{"/json", "fail_if_body_json_matches_cel: 'body.count > 5'"},
		{"/json", "fail_if_body_json_matches_cel: 'body.count > 2'"},
		{"/json", "fail_if_body_json_not_matches_cel: 'body.items.exists(i, i.name == \"b\")'"},
		{"/json", "fail_if_body_json_not_matches_cel: 'body.none == 1'"},
		{"/", "fail_if_body_json_not_matches_cel: 'body.none == 1'"},
		{"/packed/gzip", "{compression: gzip, fail_if_body_not_matches_regexp: [world]}"},
		{"/packed/deflate", "compression: deflate"},
		{"/packed/br", "compression: br"},
		{"/packed/gzip", "compression: br"},
		{"/", "compression: gzip"},
		{"/", "ip_protocol_fallback: false"},
		{"/", "{ip_protocol_fallback: false, preferred_ip_protocol: ip4}"},
	} {
		t.Run(c.path+" "+c.http, func(t *testing.T) {
			text := "http: {}"
			if c.http != "" {
				text = "http: {" + strings.TrimSuffix(strings.TrimPrefix(c.http, "{"), "}") + "}"
				if !strings.HasPrefix(c.http, "{") {
					text = "http: {" + c.http + "}"
				}
			}
			req := request(t, s.URL+c.path, text)
			var more []string
			if c.http == "ip_protocol_fallback: false" {
				// A probe without an address has one duration there, and all of them here.
				more = []string{"probe_http_duration_seconds"}
			}
			compare(t, prober.ProbeHTTP, HTTP, req, more...)
		})
	}
}

func authorityPEM(s *httptest.Server) string {
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"`
}

func TestSameAsBlackboxHTTPS(t *testing.T) {
	s := httptest.NewUnstartedServer(site())
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := "ca: " + authorityPEM(s)
	failed := []string{"probe_ssl_earliest_cert_expiry", "probe_ssl_last_chain_info", "probe_tls_version_info", "probe_tls_cipher_info"}
	for name, c := range map[string]struct {
		path, http string
		more       []string
	}{
		"h2":            {path: "/", http: "tls_config: {" + ca + "}"},
		"h1":            {path: "/", http: "tls_config: {" + ca + "}, enable_http2: false"},
		"skip":          {path: "/old", http: "tls_config: {insecure_skip_verify: true}"},
		"fail if ssl":   {path: "/", http: "tls_config: {" + ca + "}, fail_if_ssl: true"},
		"not ssl":       {path: "/", http: "tls_config: {" + ca + "}, fail_if_not_ssl: true"},
		"redirect":      {path: "/cookie", http: "tls_config: {" + ca + "}"},
		"chunked":       {path: "/chunked", http: "tls_config: {" + ca + "}"},
		"post":          {path: "/echo", http: "tls_config: {" + ca + "}, method: POST, body: abc, fail_if_body_not_matches_regexp: ['body=\"abc\"']"},
		"server name":   {path: "/", http: "tls_config: {" + ca + ", server_name: example.com}"},
		"host":          {path: "/echo", http: "tls_config: {" + ca + "}, headers: {Host: example.com}, fail_if_body_not_matches_regexp: ['host=example.com']"},
		"old version":   {path: "/", http: "tls_config: {" + ca + ", max_version: TLS12}"},
		"unknown root":  {path: "/", http: "", more: failed},
		"other name":    {path: "/", http: "tls_config: {" + ca + ", server_name: other.test}", more: failed},
		"http versions": {path: "/", http: "tls_config: {" + ca + "}, valid_http_versions: [HTTP/2.0]"},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, prober.ProbeHTTP, HTTP, request(t, s.URL+c.path, "http: {"+c.http+"}"), c.more...)
		})
	}
}

func TestSameAsBlackboxHTTP3(t *testing.T) {
	s := httptest.NewUnstartedServer(site())
	s.StartTLS()
	t.Cleanup(s.Close)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h3 := &http3.Server{Handler: site(), TLSConfig: &tls.Config{Certificates: s.TLS.Certificates}}
	served := make(chan struct{})
	go func() { defer close(served); _ = h3.Serve(socket) }()
	t.Cleanup(func() { h3.Close(); socket.Close(); <-served })
	ca := "tls_config: {ca: " + authorityPEM(s) + "}, enable_http3: true, enable_http2: false"
	for _, c := range []struct{ path, http string }{
		{"/", ca},
		{"/old", ca + ", valid_http_versions: [HTTP/3.0]"},
		{"/status/500", ca},
		{"/echo", ca + ", method: POST, body: abc, fail_if_body_not_matches_regexp: ['body=\"abc\"']"},
		{"/to", ca},
	} {
		t.Run(c.path, func(t *testing.T) {
			compare(t, prober.ProbeHTTP, HTTP, request(t, "https://"+socket.LocalAddr().String()+c.path, "http: {"+c.http+"}"))
		})
	}
}
