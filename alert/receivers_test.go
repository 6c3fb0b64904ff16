package alert

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/alertmanager/template"
)

// inbox is an SMTP server that accepts everything.
type inbox struct {
	addr  string
	mu    sync.Mutex
	mails []string
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &inbox{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { in.serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return in
}

func (in *inbox) serve(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	c.PrintfLine("220 test ESMTP")
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "DATA":
			c.PrintfLine("354 go on")
			mail, err := io.ReadAll(c.DotReader())
			if err != nil {
				return
			}
			in.mu.Lock()
			in.mails = append(in.mails, string(mail))
			in.mu.Unlock()
			c.PrintfLine("250 taken")
		case "QUIT":
			c.PrintfLine("221 bye")
			return
		default:
			c.PrintfLine("250 ok")
		}
	}
}

func (in *inbox) has(text string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range in.mails {
		if strings.Contains(m, text) {
			return true
		}
	}
	return false
}

// calls remembers requests, as "METHOD path?query body" with the authorisation in front.
type calls struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func newCalls(t *testing.T, answer func(r *http.Request) (int, string)) *calls {
	t.Helper()
	c := &calls{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(bufio.NewReader(r.Body))
		c.mu.Lock()
		c.got = append(c.got, fmt.Sprintf("%s %s %s %s", r.Header.Get("Authorization"), r.Method, r.URL, body))
		c.mu.Unlock()
		code, text := answer(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		io.WriteString(w, text)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *calls) has(parts ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.got {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(call, p)
		}
		if all {
			return true
		}
	}
	return false
}

func (c *calls) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, "\n")
}

func TestReceiversOfEveryKind(t *testing.T) {
	r, in := newRig(t), newInbox(t)
	c := newCalls(t, func(r *http.Request) (int, string) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/gettoken"):
			return 200, `{"errcode":0,"access_token":"wecom-token","expires_in":7200}`
		case strings.HasPrefix(r.URL.Path, "/opsgenie"), strings.HasPrefix(r.URL.Path, "/pagerduty"):
			return 202, `{"status":"success"}`
		case strings.HasPrefix(r.URL.Path, "/telegram"):
			return 200, `{"ok":true,"result":{"message_id":1,"date":1,"chat":{"id":42}}}`
		default:
			return 200, `{"ok":true,"errcode":0,"errmsg":"ok"}`
		}
	})
	r.file("secret", "opsgenie-key")
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	am, problems := LoadAlertmanager("am.yml", fmt.Appendf(nil, `
global:
  smtp_smarthost: %[2]s
  smtp_from: island@example.org
  smtp_require_tls: false
route: {receiver: all, group_by: [alertname], group_wait: 20ms, group_interval: 100ms}
receivers:
  - name: all
    email_configs: [{to: oncall@example.org}]
    slack_configs: [{api_url: "%[1]s/slack", channel: "#ops"}]
    wechat_configs: [{api_url: "%[1]s/wecom/", corp_id: corp, api_secret: s3cret, agent_id: "7", to_user: zhang}]
    pagerduty_configs: [{routing_key: pd-key, url: "%[1]s/pagerduty"}]
    opsgenie_configs: [{api_key_file: %[3]q, api_url: "%[1]s/opsgenie/"}]
    telegram_configs: [{bot_token: "1:abc", chat_id: 42, api_url: "%[1]s/telegram"}]
    discord_configs: [{webhook_url: "%[1]s/discord"}]
    msteamsv2_configs: [{webhook_url: "%[1]s/teams"}]
    pushover_configs: [{user_key: u, token: p}]
`, c.URL, in.addr, r.dir+"/secret"), r.dir)
	if problems != nil {
		t.Fatal(Problems(problems))
	}
	am.Receivers[0].PushoverConfigs = nil // its address is fixed upstream: parsing is all that can be tested
	r.start(r.prom(""), am)

	eventually(t, "the mail", func() bool { return in.has("HighLoad") && in.has("oncall@example.org") })
	for name, parts := range map[string][]string{
		"slack":     {"POST /slack", "HighLoad", "#ops"},
		"wecom":     {"POST /wecom/message/send?access_token=wecom-token", "HighLoad", "zhang"},
		"pagerduty": {"POST /pagerduty", "pd-key", `"event_action":"trigger"`, "HighLoad"},
		"opsgenie":  {"GenieKey opsgenie-key", "POST /opsgenie/v2/alerts", "HighLoad"},
		"telegram":  {"/telegram/bot1:abc/sendMessage", "42", "HighLoad"},
		"discord":   {"POST /discord", "HighLoad"},
		"msteams":   {"POST /teams", "HighLoad"},
	} {
		eventually(t, name+" among the calls", func() bool {
			ok := c.has(parts...)
			if !ok && t.Context().Err() != nil {
				t.Log(c)
			}
			return ok
		})
	}
	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "PagerDuty to be told that it is over", func() bool { return c.has("/pagerduty", `"event_action":"resolve"`) })
}

func TestCheckTemplate(t *testing.T) {
	tmpl, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`plain`:                                  "",
		`{{ template "slack.default.title" . }}`: "",
		`{{ range .Alerts }}{{ .Labels.host | toUpper | printf "%s" }}{{ end }}`: "",
		`{{ define "own" }}x{{ end }}{{ template "own" . }}`:                     "",
		`{{ template "gone" . }}`:                                                `template "gone" is not defined`,
		`{{ if .Status }}{{ else }}{{ template "gone" . }}{{ end }}`:             `template "gone" is not defined`,
		`{{ .Status `:          "unclosed action",
		`{{ nofunc .Status }}`: `function "nofunc" not defined`,
	} {
		err := checkTemplate(text, tmpl)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("checkTemplate(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestFailingReceiverIsReported(t *testing.T) {
	r, h := newRig(t), newHook(t)
	h.answer(http.StatusServiceUnavailable)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "a warning that names the receiver", func() bool {
		text := r.warned("alert-notify-failing")
		return strings.Contains(text, `receiver "hook", integration webhook[0]`) && strings.Contains(text, "503")
	})
	h.answer(http.StatusOK)
	eventually(t, "the notification after all", func() bool { return h.count("firing", "HighLoad") == 1 })
	eventually(t, "the warning to end", func() bool { return r.warned("alert-notify-failing") == "" })
}

func TestUnrecoverableFailureIsReportedAtOnce(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.config.FailuresBeforeWarning = 1000
	h.answer(http.StatusForbidden)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the warning", func() bool { return strings.Contains(r.warned("alert-notify-failing"), "403") })
	other := newHook(t)
	if err := r.reload(r.prom(""), parseAM(t, `
route: {receiver: other}
receivers: [{name: other, webhook_configs: [{url: "`+other.URL+`"}]}]`)); err != nil {
		t.Fatal(err)
	}
	if text := r.warned("alert-notify-failing"); text != "" {
		t.Errorf("warned of a receiver that is gone: %s", text)
	}
}

// jsonOf is for messages of failing tests.
func jsonOf(v any) string {
	b, _ := json.MarshalIndent(v, "", " ")
	return string(b)
}
