package events

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// browser reads a stream as fast as it is written, unless it is held.
type browser struct {
	*httptest.ResponseRecorder
	mu   sync.Mutex
	text strings.Builder
	hold chan struct{} // nil, or closed to go on
	gone context.CancelFunc
	done chan struct{}
}

// Write implements io.Writer.
func (b *browser) Write(p []byte) (int, error) {
	b.mu.Lock()
	hold := b.hold
	b.text.Write(p)
	b.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return len(p), nil
}

func (b *browser) read() string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.text.String()
	b.text.Reset()
	return s
}

func look(t *testing.T, h *Hub, query, last string) *browser {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &browser{ResponseRecorder: httptest.NewRecorder(), gone: cancel, done: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, Path+query, nil)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	go func() {
		defer close(b.done)
		h.ServeHTTP(b, r)
	}()
	synctest.Wait()
	return b
}

func newHub(t *testing.T, o Options) *Hub {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ids are the numbers of the events in a stream, and what lag events say.
func ids(t *testing.T, h *Hub, text string) (out []string) {
	t.Helper()
	for block := range strings.SplitSeq(text, "\n\n") {
		var id, event, data string
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "id":
				id = strings.TrimPrefix(value, h.epoch+"-")
			case "event":
				event = value
			case "data":
				data = value
			}
		}
		switch event {
		case "":
		case "lag":
			var l lag
			if err := json.Unmarshal([]byte(data), &l); err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s missed %d", id, l.Missed))
		default:
			var e Event
			if err := json.Unmarshal([]byte(data), &e); err != nil || string(e.Topic) != event {
				t.Fatalf("%q: %v", block, err)
			}
			out = append(out, id+" "+e.ID)
		}
	}
	return out
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		h := newHub(t, Options{Registerer: reg})
		h.Publish(Event{Topic: Alerts, ID: "before"})
		b, all := look(t, h, "?topics=alerts,peers", ""), look(t, h, "", "")
		h.Publish(Event{Topic: Alerts, Kind: "firing", ID: "disk", Summary: "no room\nat all"})
		h.Publish(Event{Topic: Documents, ID: "rules/x"})
		h.Publish(Event{Topic: Peers, ID: "rome"})
		text := b.read()
		if !strings.HasPrefix(text, "retry: 2000\n\nid: "+h.epoch+"-2\nevent: alerts\ndata: {\"topic\":\"alerts\",\"kind\":\"firing\",\"id\":\"disk\",\"at\":\"2000-01-01T00:00:00Z\",\"summary\":\"no room\\nat all\"}\n\n") {
			t.Errorf("stream %q", text)
		}
		expect(t, ids(t, h, text), "2 disk", "4 rome")
		expect(t, ids(t, h, all.read()), "2 disk", "3 rules/x", "4 rome")
		time.Sleep(beat + time.Second)
		if got := b.read(); got != ": alive\n\n" {
			t.Errorf("after a while %q", got)
		}
		if n := testutil.ToFloat64(h.metrics.clients); n != 2 {
			t.Errorf("%v browsers look", n)
		}
		b.gone()
		<-b.done

		back := look(t, h, "?topics=alerts,peers", h.name(2))
		expect(t, ids(t, h, back.read()), "4 rome")
		h.Publish(Event{Topic: Alerts, ID: "again"})
		expect(t, ids(t, h, back.read()), "5 again")
		stranger := look(t, h, "", "otherlife-7") // the island was started again
		expect(t, ids(t, h, stranger.read()), "5 missed 0")

		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		stop()
		<-all.done
		<-back.done
		<-stranger.done
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := testutil.ToFloat64(h.metrics.clients); n != 0 {
			t.Errorf("%v browsers look after the end", n)
		}
		h.Publish(Event{Topic: Alerts}) // nobody is there, nothing breaks
		late := look(t, h, "", "")
		<-late.done
		if late.Code != http.StatusServiceUnavailable {
			t.Errorf("a browser that comes after the end gets %d", late.Code)
		}
	})
}

func TestSlowBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, Options{Kept: 4})
		slow := look(t, h, "", "")
		slow.mu.Lock()
		slow.hold = make(chan struct{})
		hold := slow.hold
		slow.mu.Unlock()
		for i := range 9 {
			h.Publish(Event{Topic: Alerts, ID: fmt.Sprint(i + 1)})
			synctest.Wait()
		}
		close(hold)
		<-slow.done
		expect(t, ids(t, h, slow.read()), "1 1", "5 missed 4")
		if testutil.ToFloat64(h.metrics.dropped) != 1 || testutil.ToFloat64(h.metrics.missed) != 4 {
			t.Error("the dropped browser is not counted")
		}
		// It comes back with the ID that the lag event had.
		back := look(t, h, "", h.name(5))
		expect(t, ids(t, h, back.read()), "6 6", "7 7", "8 8", "9 9")
		// One that was away for long hears how much it missed, and goes on.
		long := look(t, h, "", h.name(2))
		expect(t, ids(t, h, long.read()), "5 missed 3", "6 6", "7 7", "8 8", "9 9")
		quiet := look(t, h, "?topics=health", h.name(2))
		expect(t, ids(t, h, quiet.read()), "9 missed 3")
		back.gone()
		long.gone()
		quiet.gone()
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, Options{MaxClients: 1})
		first := look(t, h, "", "")
		second := look(t, h, "", "")
		<-second.done
		if second.Code != http.StatusServiceUnavailable || second.Header().Get("Retry-After") == "" || !strings.Contains(second.read(), `"code":"too_many_streams"`) {
			t.Errorf("the second browser gets %d", second.Code)
		}
		first.gone()
		<-first.done
		third := look(t, h, "?topics=weather", "")
		<-third.done
		if text := third.read(); third.Code != http.StatusBadRequest || !strings.Contains(text, `"field":"topics"`) || !strings.Contains(text, `"remedy"`) {
			t.Errorf("%d %s", third.Code, text)
		}
		h.Publish(Event{Topic: Alerts, Summary: strings.Repeat("é", 500)})
		if all, _ := h.Since(time.Time{}, 9); len(all[0].Summary) > maxText || !strings.HasSuffix(all[0].Summary, "é…") {
			t.Errorf("summary of %d bytes", len(all[0].Summary))
		}
	})
}

func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, Options{Kept: 3})
		check := func(back time.Duration, most int, want string, whole bool) {
			t.Helper()
			all, got := h.Since(time.Now().Add(-back), most)
			text := ""
			for _, e := range all {
				text += e.ID
			}
			if text != want || got != whole {
				t.Errorf("the last %s: %q, whole %v; want %q, %v", back, text, got, want, whole)
			}
		}
		check(time.Hour, 9, "", true)
		for _, id := range []string{"a", "b", "c", "d"} {
			if id == "d" {
				check(time.Hour, 9, "cba", true)
			}
			h.Publish(Event{Topic: Alerts, ID: id})
			time.Sleep(time.Minute)
		}
		check(time.Hour, 9, "dcb", false) // a is forgotten
		check(150*time.Second, 9, "dc", true)
		check(time.Hour, 2, "dc", false)
	})
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, Options{Kept: 8})
		var all []*browser
		for range 8 {
			all = append(all, look(t, h, "", ""))
		}
		var writers sync.WaitGroup
		for range 4 {
			writers.Go(func() {
				for range 50 {
					h.Publish(Event{Topic: Health})
					h.Since(time.Time{}, 3)
				}
			})
		}
		writers.Wait()
		for _, b := range all {
			b.gone()
			<-b.done
		}
	})
}
