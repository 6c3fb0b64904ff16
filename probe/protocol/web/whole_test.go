package web

import (
	"crypto/sha256"
	"testing"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// TestWhole: whether what was kept of a body is of all of it.
func TestWhole(t *testing.T) {
	for name, c := range map[string]struct {
		text, module, body string
		whole              bool
	}{
		"to its end":         {okay + "Content-Length: 3\r\n\r\nabc", "", "abc", true},
		"of a failure":       {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\noops", "", "oops", true},
		"nothing":            {okay + "Content-Length: 0\r\n\r\n", "", "", true},
		"of a redirect":      {"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nno", "http: {follow_redirects: false}", "no", true},
		"cut off":            {okay + "Content-Length: 10\r\n\r\nabc", "", "abc", false},
		"more than is taken": {okay + "Content-Length: 10\r\n\r\n0123456789", "http: {body_size_limit: 4B}", "0123", false},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, raw(t, says(c.text)), c.module)
			req.Keep = protocol.Keep{Header: true, Hash: true}
			got := runIn(t, patience, HTTP, req).Response
			if got == nil || got.Whole != c.whole || got.Size != int64(len(c.body)) || got.SHA256 != sha256.Sum256([]byte(c.body)) || len(got.Body) != 0 {
				t.Errorf("kept: %+v", got)
			}
		})
	}
}
