package overview

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneLookForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		h := New(func() Overview { looks++; return Overview{Island: "paris", Alerts: Alerts{Firing: looks}} })
		ask := func(want string) {
			t.Helper()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Path, nil))
			if w.Code != 200 || !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %s, want %s", w.Code, w.Body, want)
			}
		}
		ask(`"firing":1`)
		time.Sleep(fresh - time.Millisecond)
		ask(`"firing":1`)
		time.Sleep(time.Millisecond)
		ask(`"firing":2`)
	})
}
