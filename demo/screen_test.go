package demo

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/portal"
)

func TestInboxPrintsWhatPeopleNeed(t *testing.T) {
	out := &terminal{}
	in, err := openInbox(newScreen(out), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	defer http.DefaultClient.CloseIdleConnections()
	post := func(body string) int {
		resp, err := http.Post(in.url(), "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := post(`{"version":"4","status":"firing","alerts":[
		{"status":"firing","labels":{"alertname":"ShopErrors","service":"payment"},"annotations":{"summary":"31% of \u001b[2Jrequests fail"},"startsAt":"2031-02-03T04:05:06Z"},
		{"status":"resolved","labels":{"alertname":"ShopDown","service":"cart"},"startsAt":"2031-02-03T04:05:06Z","endsAt":"2031-02-03T04:06:16Z"}]}`); code != 200 {
		t.Errorf("status %d", code)
	}
	for _, want := range []string{"FIRING", "ShopErrors  payment: 31% of ·[2Jrequests fail", "RESOLVED", "ShopDown  cart: over after 1m10s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("misses %q in:\n%s", want, out)
		}
	}
	if code := post("no JSON"); code != 400 {
		t.Errorf("garbage: status %d", code)
	}
}

func TestProgressLine(t *testing.T) {
	bursts := schedule{every: 4 * time.Minute, length: time.Minute, first: time.Minute, began: time.Unix(1e9, 0)}
	s := seen{up: 6, targets: 7, status: portal.Status{HeadSeries: 1200, SamplesPerSecond: 240.4}}
	for _, tc := range []struct {
		alerts []string
		after  time.Duration
		want   string
	}{
		{nil, 30 * time.Second, "6/7 targets up · 1200 series · 240 samples/s · no alert · payment breaks in 30s"},
		{[]string{"ShopErrors payment firing", "x"}, 90 * time.Second, "6/7 targets up · 1200 series · 240 samples/s · ShopErrors payment firing and 1 more · payment is broken for 30s more"},
	} {
		s.alerts = tc.alerts
		if got := progressLine(s, bursts, bursts.began.Add(tc.after)); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestScreenKeepsTheProgressLineLast(t *testing.T) {
	out := &terminal{}
	s := &screen{out: out, tty: os.Stdin} // its size is unknown here: nothing is cut
	s.progress("working")
	s.print("news")
	s.end()
	s.print("end")
	if want := "\r\x1b[Kworking" + "\r\x1b[Knews\nworking" + "\r\x1b[K" + "end\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if got := cut("żółw morski", 6); got != "żółw …" {
		t.Errorf("cut: %q", got)
	}
	plain := &terminal{}
	newScreen(plain).progress("working")
	if plain.String() != "" {
		t.Errorf("a file got a progress line: %q", plain)
	}
}
