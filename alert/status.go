package alert

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// alertmanagerVersion is that of the packages embedded here, as in go.mod. It
// is what API clients compare their own with; the island's would only make
// amtool warn of a difference at every command.
const alertmanagerVersion = "0.34.2"

// serveStatus answers GET status as upstream does, with the right version.
func serveStatus(next http.Handler, w http.ResponseWriter, r *http.Request) {
	buf := &bufferedResponse{header: w.Header(), code: http.StatusOK}
	next.ServeHTTP(buf, r)
	body := buf.body.Bytes()
	var status map[string]any
	if buf.code == http.StatusOK && json.Unmarshal(body, &status) == nil {
		if info, ok := status["versionInfo"].(map[string]any); ok {
			info["version"] = alertmanagerVersion
			if b, err := json.Marshal(status); err == nil {
				b = append(b, '\n')
				body = b
			}
		}
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(buf.code)
	_, _ = w.Write(body) // a client that went away has no use for an error
}

type bufferedResponse struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (b *bufferedResponse) Header() http.Header { return b.header }

// WriteHeader implements http.ResponseWriter.
func (b *bufferedResponse) WriteHeader(code int) { b.code = code }

// Write implements http.ResponseWriter.
func (b *bufferedResponse) Write(p []byte) (int, error) { return b.body.Write(p) }
