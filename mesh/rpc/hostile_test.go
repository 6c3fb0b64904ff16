package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/atoll-mesh/atoll/flow"
)

// say writes b on a new connection from oslo, reads and drops what comes back,
// and returns a channel that is closed when the server hung up.
func (w *world) say(b []byte) <-chan struct{} {
	w.t.Helper()
	conn, err := w.port.connect(context.Background(), oslo)
	if err != nil {
		w.t.Fatal(err)
	}
	hung := make(chan struct{})
	go func() {
		defer close(hung)
		io.Copy(io.Discard, conn)
	}()
	go conn.Write(b) // ends when the server hangs up
	return hung
}

// frames writes HTTP/2 frames after the preface.
func frames(f func(*http2.Framer, *hpack.Encoder, *bytes.Buffer)) []byte {
	out, block := &bytes.Buffer{}, &bytes.Buffer{}
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(out, nil)
	fr.AllowIllegalWrites = true
	fr.WriteSettings()
	f(fr, hpack.NewEncoder(block), block)
	return out.Bytes()
}

func request(enc *hpack.Encoder, path string) {
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
}

func hostileInputs() map[string][]byte {
	noise := make([]byte, 64<<10)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(noise)
	return map[string][]byte{
		"noise":            noise,
		"http/1":           []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"preface of noise": append([]byte(http2.ClientPreface), noise...),
		"half a preface":   []byte(http2.ClientPreface[:10]),
		"no settings":      append([]byte(http2.ClientPreface), frameHeader(0, http2.FramePing, 0, 0)...),
		"frame of 16 MiB": frames(func(fr *http2.Framer, _ *hpack.Encoder, _ *bytes.Buffer) {
			fr.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<20))
		}),
		"header bomb": frames(func(fr *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer) {
			request(enc, "/test.Echo/Normal")
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes()})
			block.Reset()
			enc.WriteField(hpack.HeaderField{Name: "x", Value: string(noise[:1<<10]), Sensitive: true})
			for range 10_000 {
				fr.WriteContinuation(1, false, block.Bytes())
			}
		}),
		"ping flood": frames(func(fr *http2.Framer, _ *hpack.Encoder, _ *bytes.Buffer) {
			for range 10_000 {
				fr.WritePing(false, [8]byte{})
			}
		}),
		"rapid reset": frames(func(fr *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer) {
			for id := uint32(1); id < 20_000; id += 2 {
				block.Reset()
				request(enc, "/test.Echo/Normal")
				fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
				fr.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}),
		"streams without end": frames(func(fr *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer) {
			for id := uint32(1); id < 4_000; id += 2 {
				block.Reset()
				request(enc, "/test.Echo/Normal")
				fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
			}
		}),
		"length that lies": frames(func(fr *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer) {
			request(enc, "/test.Echo/Small")
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
			fr.WriteData(1, true, binary.BigEndian.AppendUint32([]byte{0}, 0xffffffff))
		}),
		"gzip that is none": frames(func(fr *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer) {
			request(enc, "/test.Echo/Normal")
			enc.WriteField(hpack.HeaderField{Name: "grpc-encoding", Value: "gzip"})
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
			fr.WriteData(1, true, append(binary.BigEndian.AppendUint32([]byte{1}, 50), noise[:50]...))
		}),
	}
}

func frameHeader(n uint32, kind http2.FrameType, flags byte, stream uint32) []byte {
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), byte(kind), flags}
	return binary.BigEndian.AppendUint32(b, stream)
}

func TestHostileBytes(t *testing.T) {
	for name, in := range hostileInputs() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				i := w.caller(lisbon)
				hung := w.say(in)
				for range 20 {
					if _, err := i.call(t.Context(), "Normal", "x"); err != nil {
						t.Errorf("another island's call: %v", err)
					}
				}
				begun := time.Now()
				<-hung
				// At the latest as a connection on which nothing happens any more.
				if d := time.Since(begun); d > 11*time.Minute {
					t.Errorf("hung up after %s", d)
				}
				synctest.Wait()
				if n := metric(t, w.reg, "atoll_mesh_rpc_in_flight"); n != 0 {
					t.Errorf("%v calls are left", n)
				}
				w.server.peers.mu.Lock()
				defer w.server.peers.mu.Unlock()
				if p := w.server.peers.byKey[oslo]; p != nil && p.conns != 0 {
					t.Errorf("%d connections are still counted", p.conns)
				}
			})
		})
	}
}

func TestSilentConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		begun := time.Now()
		<-w.say(nil)
		if d := time.Since(begun); d != 10*time.Second {
			t.Errorf("one that never spoke is closed after %s, want the handshake's 10s", d)
		}
		begun = time.Now()
		<-w.say(frames(func(*http2.Framer, *hpack.Encoder, *bytes.Buffer) {}))
		const farewell = 10 * time.Second // grpc waits some seconds for the answer to its GOAWAY
		if d, most := time.Since(begun), (keptLonger+1)*time.Duration(Default().Idle); d < most || d > most+farewell {
			t.Errorf("one that never called is closed after %s, want %s and a farewell", d, most)
		}
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 0 {
			t.Errorf("%v connections are left", n)
		}
	})
}

func TestConnectionsOfOnePeerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var open []net.Conn
		for range 100 {
			conn, err := w.port.connect(t.Context(), oslo)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
		synctest.Wait()
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 12 {
			t.Errorf("%v connections of one island, want 12", n)
		}
		if n := metric(t, w.reg, "atoll_mesh_rpc_denied_total", "reason=connections"); n != 88 || w.log.count("rpc connection refused") != 1 {
			t.Errorf("%v refused, logged %d times", n, w.log.count("rpc connection refused"))
		}
		if _, err := w.caller(lisbon).call(t.Context(), "Normal", ""); err != nil {
			t.Errorf("another island: %v", err)
		}
		_, err := w.caller(oslo).call(t.Context(), "Normal", "")
		wantError(t, err, "cannot be reached: the connection was closed before a first frame came")
		for _, c := range open {
			c.Close()
		}
		synctest.Wait()
		if _, err := w.caller(oslo).call(t.Context(), "Normal", ""); err != nil {
			t.Errorf("after they were closed: %v", err)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		w.echo.on("Normal", func(_ context.Context, in *payload) (*payload, error) { time.Sleep(3 * time.Second); return in, nil })
		g := hold(w.echo, "Again")
		finishes, cut := background(t.Context(), i, 1, "Normal"), background(t.Context(), i, 1, "Again")
		w.say(nil) // never speaks, and must not hold up the end
		synctest.Wait()
		begun := time.Now()
		w.stop()
		if d := time.Since(begun); d != 5*time.Second {
			t.Errorf("stopped after %s, want the drain time", d)
		}
		if err := finishes()[0]; err != nil {
			t.Errorf("a call that ends in time: %v", err)
		}
		if err := cut()[0]; !errors.Is(err, flow.ErrUnavailable) {
			t.Errorf("a call that does not: %v", err)
		}
		if w.log.count("/test.Echo/Again ×1") != 1 {
			t.Errorf("the log does not name it: %s", &w.log.buf)
		}
		close(g.open)
	})
}

func TestStopIsQuickWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		if _, err := w.caller(lisbon).call(t.Context(), "Normal", ""); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		w.stop()
		if d := time.Since(begun); d != 0 {
			t.Errorf("took %s", d)
		}
	})
}

// In real time: grpc holds a mutex while it waits for handlers, under which
// virtual time does not go on.
func TestHandlerThatIgnoresTheEndIsNamed(t *testing.T) {
	w := newWorld(t, func(l *Limits) { l.Drain = model.Duration(20 * time.Millisecond) })
	defer w.close()
	i := w.caller(lisbon)
	in, out := make(chan struct{}), make(chan struct{})
	w.echo.on("Normal", func(_ context.Context, p *payload) (*payload, error) { close(in); <-out; return p, nil })
	done := background(t.Context(), i, 1, "Normal")
	<-in
	w.stop()
	if w.log.count("BUG: handlers ignore the end of their context") != 1 || w.log.count("/test.Echo/Normal ×1") != 2 {
		t.Errorf("log: %s", &w.log.buf)
	}
	if err := done()[0]; !errors.Is(err, flow.ErrUnavailable) {
		t.Errorf("the call ended with %v", err)
	}
	close(out)
}

func FuzzServerBytes(f *testing.F) {
	for _, in := range hostileInputs() {
		if len(in) > 4<<10 {
			in = in[:4<<10]
		}
		f.Add(in)
	}
	f.Add(frames(func(fr *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer) {
		request(enc, "/test.Echo/Normal")
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
		fr.WriteData(1, true, []byte{0, 0, 0, 0, 3, 10, 1, 'x'})
	}))
	w := newWorld(f)
	defer w.close()
	i := w.caller(lisbon)
	f.Fuzz(func(t *testing.T, in []byte) {
		conn, err := w.port.connect(t.Context(), tokyo)
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() { defer close(read); io.Copy(io.Discard, conn) }()
		conn.Write(in) // an error is the server having hung up
		out := &payload{}
		if err := i.Conn(server, Urgent).Invoke(t.Context(), echoService+"Renew", wrapperspb.Bytes([]byte("x")), out); err != nil && !errors.Is(err, flow.ErrUnavailable) {
			t.Fatalf("another island's call: %v", err)
		}
		conn.Close()
		<-read
		if n := metric(t, w.reg, "atoll_mesh_rpc_panics_total"); n != 0 {
			t.Fatal("a handler panicked")
		}
	})
}
