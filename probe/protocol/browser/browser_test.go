package browser

import (
	"bytes"
	"context"
	"fmt"
	"image/jpeg"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard lets everything pass but one address, and counts what is dialled.
type guard struct {
	denied string
	dials  atomic.Int32
}

func (g *guard) DialContext(ctx context.Context, network, address string, _ netip.Addr) (net.Conn, error) {
	g.dials.Add(1)
	if address == g.denied {
		return nil, fmt.Errorf("dial %s: %w", address, protocol.ErrDenied)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (g *guard) Permit(netip.Addr, uint16) error { return nil }

// names knows one name.
type names map[string]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := n[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func module() *definition.Module { return &definition.Module{Module: blackbox.DefaultModule} }

func load(t *testing.T, b *Browser, target string, m *definition.Module, g *guard, wait time.Duration) *protocol.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	r := b.Load(ctx, &protocol.Request{Target: target, Module: m, Dialer: g, Resolver: names{"shop.test": "127.0.0.1"}})
	if r.Reason.Code == protocol.Unsupported {
		t.Skipf("no pages on this machine: %v; apt-get install chromium", r.Reason)
	}
	return r
}

// profiles counts those that are there.
func profiles(t *testing.T) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "atoll-browser*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func value(t *testing.T, r *protocol.Result, name string, labels ...string) float64 {
	t.Helper()
	for _, s := range r.Samples {
		if s.Name == name && strings.Join(s.Labels, "=") == strings.Join(labels, "=") {
			return s.Value
		}
	}
	t.Errorf("no sample %s%v among %v", name, labels, r.Samples)
	return -1
}

const page = `<!doctype html><title>shop</title><h1 style="font-size:80px">Everything for the beach</h1>
<div id="list"></div><img src="/gone.png"><img src="http://%s/secret.png">
<script>fetch('/stock').then(r => r.text()).then(t => { document.getElementById('list').innerHTML = '<p class="item">' + t + '</p>' })</script>`

func TestLoad(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the guard was passed by") }))
	defer inner.Close()
	const thinking = 300 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the proxy's password is told to the server")
		}
		switch r.URL.Path {
		case "/":
			<-time.After(thinking)
			fmt.Fprintf(w, page, inner.Listener.Addr())
		case "/stock":
			fmt.Fprint(w, "umbrella")
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	m := module()
	m.Browser.Screenshot, m.Browser.Selector = "always", "#list > p.item"
	m.Browser.Width, m.Browser.Height = 640, 480
	g := &guard{denied: inner.Listener.Addr().String()}
	before := profiles(t)
	r := load(t, New(0), "http://shop.test:"+port+"/", m, g, time.Minute)
	if !r.Up {
		t.Fatalf("down: %v", r.Reason)
	}
	if got := r.Phases[protocol.FirstByte]; got < thinking {
		t.Errorf("the first byte came after %v, want %v at least", got, thinking)
	}
	if got := value(t, r, "probe_browser_requests"); got < 4 {
		t.Errorf("%v requests, want the page, two pictures and the stock", got)
	}
	if got := value(t, r, "probe_browser_failed_requests"); got < 2 {
		t.Errorf("%v requests failed, want two pictures", got)
	}
	if got := value(t, r, "probe_browser_status_code"); got != 200 {
		t.Errorf("status %v", got)
	}
	for _, name := range []string{"probe_browser_first_contentful_paint_seconds", "probe_browser_largest_contentful_paint_seconds"} {
		if got := value(t, r, name); got < thinking.Seconds() || got > 60 {
			t.Errorf("%s is %v", name, got)
		}
	}
	if load := value(t, r, "probe_browser_navigation_seconds", "event", "load"); load < thinking.Seconds() {
		t.Errorf("loaded after %v s", load)
	}
	picture, err := jpeg.DecodeConfig(bytes.NewReader(r.Response.Screenshot))
	if err != nil || picture.Width != 640 || picture.Height != 480 {
		t.Errorf("the screenshot is %+v, %v", picture, err)
	}
	if r.Address.String() != "127.0.0.1:"+port || g.dials.Load() < 2 {
		t.Errorf("the address is %v, after %d dials", r.Address, g.dials.Load())
	}
	if after := profiles(t); after > before {
		t.Errorf("%d profiles are left", after-before)
	}
}

func TestLoadFails(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/503":
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "<h1>later</h1>")
		case "/hang":
			<-hang
		case "/endless":
			w.Header().Set("Content-Type", "text/html")
			for r.Context().Err() == nil {
				fmt.Fprint(w, strings.Repeat("<p>more</p>", 100))
				w.(http.Flusher).Flush()
				select {
				case <-time.After(20 * time.Millisecond):
				case <-hang:
					return
				}
			}
		case "/greedy":
			fmt.Fprint(w, "<script>let a = []; setInterval(() => { let b = new Uint8Array(32 << 20); b.fill(1); a.push(b) }, 20)</script>")
		case "/circle":
			http.Redirect(w, r, "/circle", http.StatusFound)
		default:
			fmt.Fprint(w, "<p>hello</p>")
		}
	}))
	t.Cleanup(func() { close(hang); server.Close() })
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }))
	t.Cleanup(secure.Close)
	selector := func(m *definition.Module) { m.Browser.Selector = ".missing" }
	slow := func(m *definition.Module) { m.Browser.Settle = 60e9 }
	plain := func(*definition.Module) {}
	for _, tc := range []struct {
		name, target string
		module       func(*definition.Module)
		memory       int64
		wait         time.Duration
		code         protocol.Code
		words        string
	}{
		{"503", server.URL + "/503", plain, 0, time.Minute, protocol.Status, "status 503"},
		{"selector", server.URL, selector, 0, 8 * time.Second, protocol.Body, ".missing"},
		{"hang", server.URL + "/hang", plain, 0, 8 * time.Second, protocol.RequestTimeout, "did not answer"},
		{"endless", server.URL + "/endless", plain, 0, 8 * time.Second, protocol.TransferTimeout, "did not end"},
		{"greedy", server.URL + "/greedy", slow, 400 << 20, time.Minute, protocol.TooLarge, "400 MiB"},
		{"circle", server.URL + "/circle", plain, 0, time.Minute, protocol.Redirects, ""},
		{"untrusted", secure.URL, plain, 0, time.Minute, protocol.TLSUntrusted, ""},
		{"no name", "http://gone.test/", plain, 0, time.Minute, protocol.ResolveFailed, "gone.test"},
		{"refused", "http://127.0.0.1:" + closedPort(t) + "/", plain, 0, time.Minute, protocol.ConnectionRefused, ""},
		{"denied", "http://127.0.0.1:2/", plain, 0, time.Minute, protocol.Denied, ""},
		{"not a page", "ftp://127.0.0.1/", plain, 0, time.Minute, protocol.BadTarget, "http://"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.wait < time.Minute {
				t.Parallel()
			}
			m := module()
			tc.module(m)
			b := New(1)
			if tc.memory > 0 {
				b.memory = tc.memory
			}
			// On a busy machine the time may be over before the page was asked for.
			for wait := tc.wait; ; wait *= 2 {
				r := load(t, b, tc.target, m, &guard{denied: "127.0.0.1:2"}, wait)
				if !r.Up && r.Reason.Code == tc.code && strings.Contains(r.Reason.Words, tc.words) {
					return
				}
				if wait >= time.Minute {
					t.Fatalf("up %v, %v; want %s with %q", r.Up, r.Reason, tc.code, tc.words)
				}
			}
		})
	}
	t.Run("ignored certificate", func(t *testing.T) {
		m := module()
		m.HTTP.HTTPClientConfig.TLSConfig.InsecureSkipVerify = true
		if r := load(t, New(1), secure.URL, m, &guard{}, time.Minute); !r.Up || r.Phases[protocol.TLS] == 0 {
			t.Errorf("up %v, %v, phases %v", r.Up, r.Reason, r.Phases)
		}
	})
}

func TestNoChromium(t *testing.T) {
	m := module()
	m.Browser.Path = "/nowhere/chromium"
	r := New(0).Load(t.Context(), &protocol.Request{Target: "http://127.0.0.1/", Module: m, Dialer: &guard{}, Resolver: names{}})
	if r.Reason.Code != protocol.Unsupported || !strings.Contains(r.Reason.Words, "/nowhere/chromium") {
		t.Errorf("the reason is %v", r.Reason)
	}
}

// TestProxyPassword asks the proxy as another program on the machine might.
func TestProxyPassword(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := &guard{}
	p, err := openProxy(ctx, &protocol.Request{Module: module(), Dialer: g, Resolver: names{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); p.close() }()
	for _, user := range []*url.Userinfo{nil, url.UserPassword(proxyUser, "guess")} {
		transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", User: user, Host: p.ln.Addr().String()})}
		client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
		resp, err := client.Get("http://127.0.0.1:1/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != http.StatusProxyAuthRequired {
			t.Errorf("as %v: status %d, want 407", user, resp.StatusCode)
		}
	}
	if n := g.dials.Load(); n != 0 {
		t.Errorf("%d dials for strangers", n)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte("{\"id\":1,\"result\":{}}\x00{\"method\":\"Page.loadEventFired\"}\x00"))
	f.Add([]byte("{\"method\":\"Network.requestWillBeSent\",\"params\":{\"requestId\":\"1\",\"loaderId\":\"1\"}}\x00{\"method\":\"Network.responseReceived\",\"params\":{\"requestId\":\"1\",\"response\":{\"status\":404}}}\x00"))
	f.Add([]byte("\x00\x00{\x00[]\x00null\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := newTally()
		if err := scan(bytes.NewReader(b), func(m message) { seen.event(m.Method, m.Params) }); err == nil {
			t.Error("the end of a pipe is no end")
		}
		if len(seen.open) > seen.requests {
			t.Errorf("%d of %d requests are open", len(seen.open), seen.requests)
		}
		groupOf(b)
		ownPages(b)
	})
}

// closedPort is one where nobody listens, and which Chromium does not hold for unsafe.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}
