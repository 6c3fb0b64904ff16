package asset

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		questions, fails := 0, error(nil)
		ask := func(_ context.Context, expr string) (out promql.Vector, _ error) {
			questions++
			add := func(value float64, pairs ...string) {
				out = append(out, promql.Sample{F: value, Metric: labels.FromStrings(append(pairs, "job", "node")...)})
			}
			switch {
			case expr == "node_uname_info":
				add(1, "instance", "b:9100", "nodename", "beta", "sysname", "Linux", "release", "6.1", "machine", "x86_64", "team", "Shop")
				add(1, "instance", "a:9100", "nodename", "alpha", "sysname", "Linux")
				add(1, "instance", "a:9100", "nodename", "alpha", "sysname", "Linux", "release", "6.2")
			case expr == "node_os_info":
				add(1, "instance", "b:9100", "pretty_name", "Debian 13")
			case strings.HasPrefix(expr, "count by"):
				add(4, "instance", "b:9100")
			case expr == "node_load1":
				add(.5, "instance", "b:9100")
				add(9, "instance", "stranger")
			}
			return out, fails
		}
		v := inventory(t, Options{Ask: ask})
		get := func(query string) (l HostList, code int) {
			t.Helper()
			w := httptest.NewRecorder()
			v.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, HostsPath+query, nil))
			if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			return l, w.Code
		}
		l, code := get("")
		if code != 200 || l.Total != 2 || l.Items[0].Name != "alpha" || l.Items[0].Load1 != nil {
			t.Fatalf("%d %+v", code, l)
		}
		b := l.Items[1]
		if b.OS != "Debian 13" || b.Kernel != "6.1" || *b.Cores != 4 || *b.Load1 != .5 || b.CPUUsed != nil || b.Href != "/hosts/b:9100" || len(b.Labels) != 1 {
			t.Errorf("beta is %+v", b)
		}
		for query, want := range map[string]int{"?q=shop": 1, "?q=team:shop+debian": 1, "?q=team:x": 0, "?q=linux": 1, "?limit=1": 1, "?offset=2": 0} {
			if l, _ := get(query); len(l.Items) != want {
				t.Errorf("%s: %d hosts, want %d", query, len(l.Items), want)
			}
		}
		if l, _ := get("?limit=1"); l.NextOffset != 1 || l.Total != 2 {
			t.Errorf("first page %+v", l)
		}
		if once := 2 + len(figures()); questions != once {
			t.Errorf("%d questions, want %d for all", questions, once)
		}
		time.Sleep(hostsAge)
		fails = errors.New("the store is busy")
		if _, code := get(""); code != http.StatusServiceUnavailable {
			t.Errorf("answers %d where the store does not", code)
		}
		if _, code := get("?limit=0"); code != http.StatusBadRequest {
			t.Errorf("limit=0 is answered %d", code)
		}
	})
}
