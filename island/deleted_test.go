package island

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
)

// TestDeletedTwice: series with two gaps answer questions that end between them: of
// this island, of a rule, and about all islands.
func TestDeletedTwice(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	const expr = `count_over_time(gaps[12m] offset 10m)`
	yaml := strings.Replace(lone("one", "prometheus: {global: {evaluation_interval: 1s}, rule_files: [rules.yml]}"), "http: {", "http: {admin_api: true, ", 1)
	s := newSpecimen(t, yaml)
	rule := fmt.Sprintf("groups: [{name: g, interval: 1s, rules: [{record: 'gaps:count', expr: '%s'}]}]", expr)
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.file), "rules.yml"), []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run()
	now := time.Now()
	app := s.getRooms().door.AppenderV2(context.Background())
	for ago := 30 * time.Minute; ago > 0; ago -= 15 * time.Second {
		ls := labels.FromStrings("__name__", "gaps", "job", "test")
		if _, err := app.Append(0, ls, 0, now.Add(-ago).UnixMilli(), 1, nil, nil, storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	at := func(ago time.Duration) string { return fmt.Sprint(now.Add(-ago).Unix()) }
	for _, gap := range [][2]time.Duration{{25 * time.Minute, 20 * time.Minute}, {5 * time.Minute, time.Minute}} {
		form := url.Values{"match[]": {"gaps"}, "start": {at(gap[0])}, "end": {at(gap[1])}}
		resp, err := http.PostForm("http://"+s.Addr()+"/api/v1/admin/tsdb/delete_series", form)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatal(resp, err)
		}
		_ = resp.Body.Close()
	}
	for _, more := range []url.Values{{}, {"scope": {"all"}}} {
		more.Set("query", expr)
		more.Set("time", at(0))
		if got := s.ask("/api/v1/query?" + more.Encode()); !strings.Contains(got, `"40"`) && !strings.Contains(got, `"39"`) {
			t.Errorf("%v: %s; want the 10 minutes that are left of 12", more, got)
		}
		more.Set("start", at(28*time.Minute))
		more.Set("end", at(10*time.Minute))
		more.Set("step", "60")
		if got := s.ask("/api/v1/query_range?" + more.Encode()); !strings.Contains(got, "success") {
			t.Errorf("%v: %s", more, got)
		}
	}
	await(t, "the rule's result", func() bool {
		return strings.Contains(s.ask("/api/v1/query?query="+url.QueryEscape("gaps:count > 30")), `gaps:count`)
	})
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
