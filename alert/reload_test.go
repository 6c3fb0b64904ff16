package alert

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

func TestReloadAddsReceiver(t *testing.T) {
	r, first, second := newRig(t), newHook(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, first.URL, ""))
	eventually(t, "the first receiver", func() bool { return first.count("firing", "HighLoad") == 1 })
	if err := r.reload(r.prom(""), webhookTo(t, first.URL, `
  - name: unused
  `)); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(r.prom(""), parseAM(t, `
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 20ms
  group_interval: 100ms
  routes: [{receiver: second, continue: true, matchers: [severity=page]}, {receiver: hook}]
receivers:
  - {name: hook, webhook_configs: [{url: "`+first.URL+`"}]}
  - {name: second, webhook_configs: [{url: "`+second.URL+`"}]}
`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second receiver to hear of the alert that fired before", func() bool { return second.count("firing", "HighLoad") == 1 })
}

func TestReloadKeepsWhatFires(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	for range 3 {
		if err := r.reload(r.prom(""), webhookTo(t, h.URL, "")); err != nil {
			t.Fatal(err)
		}
	}
	during(t, time.Second, "a second notification after reloads that change nothing", func() bool { return len(h.all()) > 1 })
}

func TestBadReloadKeepsTheOld(t *testing.T) {
	r, h := newRig(t), newHook(t)
	rules := r.file("rules.yml", highLoad)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))

	r.file("rules.yml", strings.Replace(highLoad, "load > 5", "load >", 1))
	err := r.reload(r.prom(`
alerting:
  alertmanagers: [{static_configs: [{targets: ["127.0.0.1:1"]}], tls_config: {ca_file: /does/not/exist}}]`),
		webhookTo(t, h.URL, `
  - name: slack
    slack_configs: [{api_url: "http://127.0.0.1:1", channel: x}]
`))
	if err == nil {
		t.Fatal("a broken rule and a missing file were taken")
	}
	for _, part := range []string{rules + ":9:21: ", "unexpected end of input", "alerting.alertmanagers[0]", "/does/not/exist"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}

	r.set(9, "__name__", "load", "host", "db1")
	eventually(t, "the old rule to fire", func() bool { return h.count("firing", "HighLoad") == 1 })
}

func TestBadReceiversAreAllNamed(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	err := r.reload(r.prom(""), parseAM(t, `
route: {receiver: a, routes: [{receiver: b}]}
receivers:
  - name: a
    slack_configs: [{api_url_file: /does/not/exist, channel: x, title: '{{ template "gone" . }}'}]
  - name: b
    webhook_configs: [{url: "http://127.0.0.1:1", http_config: {authorization: {credentials_file: /nor/this}}}]
`))
	if err == nil {
		t.Fatal("missing files were taken")
	}
	for _, part := range []string{
		`receiver "a": slack_configs[0].api_url_file: open /does/not/exist`,
		`receiver "a": slack_configs[0].title: template "gone" is not defined`,
		`receiver "b": webhook_configs[0].http_config.authorization.credentials_file: open /nor/this`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
}

func TestDiscardLeavesEverything(t *testing.T) {
	r, h, other := newRig(t), newHook(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	_, discard, err := r.alert.Prepare(r.config, r.prom(""), webhookTo(t, other.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	discard()
	r.set(9, "__name__", "load", "host", "db1")
	eventually(t, "the old receiver", func() bool { return h.count("firing", "HighLoad") == 1 })
	if len(other.all()) > 0 {
		t.Error("a discarded receiver was notified")
	}
}

func TestWhatCannotChangeIsRefusedByName(t *testing.T) {
	r := newRig(t)
	r.start(r.prom(""), nil)
	r.config.Retention = model.Duration(time.Minute)
	err := r.reload(r.prom(""), nil)
	if want := "alert.retention cannot change from 5d to 1m while running"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// A group whose text is unchanged is kept upstream with the external labels it
// was made with; alerts in it must keep their state and get the new ones.
func TestReloadChangesExternalLabelsInTemplates(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", `
groups:
  - name: load
    interval: 50ms
    query_offset: 10ms
    rules:
      - {alert: HighLoad, expr: load > 5, annotations: {summary: "{{ $externalLabels.site }}"}}
`)
	r.set(9, "__name__", "load", "host", "db1")
	summary := func() string {
		for _, rule := range r.alert.AlertingRules() {
			for _, a := range rule.ActiveAlerts() {
				return a.Annotations.Get("summary")
			}
		}
		return ""
	}
	r.start(r.prom("global: {external_labels: {site: north}}"), webhookTo(t, h.URL, ""))
	eventually(t, "the first label", func() bool { return summary() == "north" })
	fired := func() time.Time { return r.alert.AlertingRules()[0].ActiveAlerts()[0].ActiveAt }
	before := fired()
	if err := r.reload(r.prom("global: {external_labels: {site: south}}"), webhookTo(t, h.URL, "")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second label", func() bool { return summary() == "south" })
	if !fired().Equal(before) {
		t.Errorf("the alert is active since %v, was %v before the reload", fired(), before)
	}
}

func TestReloadBeforeTheStoreIsReady(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	ready := make(chan struct{})
	o := r.options(r.prom(""), nil)
	o.Ready = ready
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.run(a)
	if err := r.reload(r.prom(""), webhookTo(t, h.URL, "")); err != nil {
		t.Fatal(err)
	}
	if n := len(a.RuleGroups()); n != 0 {
		t.Errorf("%d groups are evaluated before the store is ready", n)
	}
	close(ready)
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
}

func TestReloadBeforeRunAndHandlerBeforeRun(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	a, err := New(r.options(r.prom(""), nil))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v2/alerts", nil))
	if w.Code != 503 {
		t.Errorf("the API answered %d before Run, want 503", w.Code)
	}
	commit, _, err := a.Prepare(r.config, r.prom(""), webhookTo(t, h.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	commit()
	r.run(a)
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	if err := a.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "it ran already") {
		t.Errorf("a second Run returned %v", err)
	}
}

func TestStopBeforeTheStoreIsReadyKeepsTheState(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	r.stop()

	o := r.options(r.prom(""), webhookTo(t, h.URL, ""))
	o.Ready = make(chan struct{})
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.run(a)
	r.stop()

	r.set(1, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the end of the alert, two stops later", func() bool { return h.count("resolved", "HighLoad") == 1 })
}

// A query that does not end holds up neither a stop nor a reload for ever.
func TestStopCancelsAQueryThatHangs(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", highLoad)
	entered := make(chan struct{}, 1)
	o := r.options(r.prom(""), nil)
	o.Queryable = storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		q, err := r.db.Querier(mint, maxt)
		return hangingQuerier{q, entered}, err
	})
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.run(a)
	<-entered
	r.file("rules.yml", strings.Replace(highLoad, "load > 5", "load > 6", 1))
	reloaded := make(chan error, 1)
	go func() { reloaded <- r.reload(r.prom(""), nil) }()
	r.stop()
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
}

type hangingQuerier struct {
	storage.Querier
	entered chan<- struct{}
}

// Select answers when the query is cancelled.
func (q hangingQuerier) Select(ctx context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	select {
	case q.entered <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return storage.ErrSeriesSet(ctx.Err())
}
