package alert

import (
	"net/http"
	"strings"
)

func changesSilences(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost:
		return r.URL.Path == "/api/v2/silences"
	case http.MethodDelete:
		return strings.HasPrefix(r.URL.Path, "/api/v2/silence/")
	}
	return false
}

// serveKept answers only once the silences are on disk: whoever was told that a
// silence holds must not be woken because the process died a second later. A
// disk that takes nothing raises the warning of all snapshots; the silence holds
// all the same while the island runs.
func (e *embedded) serveKept(next http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := &bufferedResponse{header: w.Header(), code: http.StatusOK}
	next.ServeHTTP(answer, r)
	if answer.code/100 == 2 {
		if _, err := e.state.maintain(fileSilences, e.silences)(); err != nil {
			e.logger.Error("keeping a changed silence", "err", err)
		}
	}
	w.WriteHeader(answer.code)
	_, _ = w.Write(answer.body.Bytes()) // a client that went away has no use for an error
}
