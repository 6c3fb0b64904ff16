package web

import (
	"io"
	"net/http"
	"testing"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

func TestHTTP(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		_, _ = io.WriteString(w, "hello")
	})
	req := request(t, s.URL, "")
	req.Keep = protocol.Keep{Header: true, Body: 3, Hash: true}
	r := run(t, HTTP, req)
	wantUp(t, r)
	wantValue(t, r, 200, "probe_http_status_code")
	wantValue(t, r, 5, "probe_http_content_length")
	wantValue(t, r, 1.1, "probe_http_version")
	if r.Response == nil || string(r.Response.Body) != "hel" || r.Response.Size != 5 || len(r.Response.Header) < 3 {
		t.Errorf("response is %+v", r.Response)
	}
}
