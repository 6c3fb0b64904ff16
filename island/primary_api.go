package island

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/prometheus/prometheus/rules"

	common "github.com/atoll-mesh/atoll/alert/global"
)

// common is nil while the island belongs to no network.
func (i *Island) common() *common.Evaluator {
	if m := i.membership.Load(); m != nil {
		return m.run.common
	}
	return nil
}

// commonGroups are the network's rule groups as seen from here.
func (i *Island) commonGroups() []*rules.Group {
	e := i.common()
	if e == nil {
		return nil
	}
	return e.RuleGroups(i.getRooms().query.Parser())
}

// rulesRoute answers as the rules API, with what is known of the network's groups
// beyond what upstream can say: owner, what is missing and receipts, as the field
// "global" beside "data".
func (i *Island) rulesRoute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := i.common()
		var known []common.GroupStatus
		if e != nil {
			known = e.Status()
		}
		if len(known) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		answer := &wholeAnswer{header: w.Header(), code: http.StatusOK}
		next.ServeHTTP(answer, plain)
		body := bytes.TrimSpace(answer.body.Bytes())
		if text, err := json.Marshal(known); err == nil && answer.code == http.StatusOK && bytes.HasSuffix(body, []byte("}")) {
			body = append(append(append(body[:len(body)-1:len(body)-1], `,"global":`...), text...), '}')
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.code)
		_, _ = w.Write(body) // the client went away
	})
}

// wholeAnswer holds an answer back.
type wholeAnswer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *wholeAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *wholeAnswer) WriteHeader(code int) { a.code = code }

// Write implements http.ResponseWriter.
func (a *wholeAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }
