package query

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/util/httputil"

	"github.com/atoll-mesh/atoll/query/global"
)

// A request says whose data it is about by these headers, or by parameters of the
// names after the prefix. What neither says is as the configuration has it.
const (
	headerPrefix   = "X-Atoll-"
	headerScope    = headerPrefix + "Scope"    // local, all
	headerPartial  = headerPrefix + "Partial"  // allow, deny
	headerDeadline = headerPrefix + "Deadline" // a duration: how long each island has
)

// scoped reads from a request whose data it is about, and puts the receipt of an
// answer about more than this island into it, as the field "receipt" beside "data".
func (q *Query) scoped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask, err := readAsk(r)
		if err != nil {
			refuse(w, err)
			return
		}
		if ask.Scope == global.ScopeDefault {
			ask.Scope = q.Config().scope()
		}
		if ask.Scope != global.ScopeAll {
			next.ServeHTTP(w, r.WithContext(global.WithAsk(r.Context(), ask)))
			return
		}
		// What is compressed has no place for a receipt: compress afterwards.
		httputil.CompressionHandler{Handler: withReceipt(next, ask)}.ServeHTTP(w, r)
	})
}

func withReceipt(next http.Handler, ask global.Ask) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		receipt := &global.Receipt{}
		ask.Receipt = receipt
		r = r.Clone(global.WithAsk(r.Context(), ask))
		r.Header.Del("Accept-Encoding")
		held := &receiptWriter{ResponseWriter: w}
		next.ServeHTTP(held, r)
		held.finish(receipt)
	})
}

func readAsk(r *http.Request) (ask global.Ask, err error) {
	get := func(header string) string {
		if v := r.Header.Get(header); v != "" {
			return v
		}
		return r.FormValue(strings.ToLower(strings.TrimPrefix(header, headerPrefix)))
	}
	switch v := get(headerScope); v {
	case "", "default":
	case "local":
		ask.Scope = global.ScopeLocal
	case "all":
		ask.Scope = global.ScopeAll
	default:
		return ask, fmt.Errorf(`scope %q: must be "local" (this island) or "all" (every island)`, v)
	}
	switch v := get(headerPartial); v {
	case "", "allow":
	case "deny":
		ask.Deny = true
	default:
		return ask, fmt.Errorf(`partial %q: must be "allow" (missing islands are a warning) or "deny" (an error)`, v)
	}
	if v := get(headerDeadline); v != "" {
		d, err := model.ParseDuration(v)
		if err != nil || d <= 0 {
			return ask, fmt.Errorf("deadline %q: must be a duration longer than 0, such as 5s", v)
		}
		ask.Deadline = time.Duration(d)
	}
	return ask, nil
}

// refuse answers as the API does.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "error", "errorType": "bad_data", "error": err.Error()}) // the client went away
}

// receiptWriter holds the last byte of a JSON object back, to put a field before it.
type receiptWriter struct {
	http.ResponseWriter
	json bool
	held bool
}

// WriteHeader implements http.ResponseWriter.
func (w *receiptWriter) WriteHeader(code int) {
	w.json = strings.HasPrefix(w.Header().Get("Content-Type"), "application/json")
	if w.json {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *receiptWriter) Write(p []byte) (int, error) {
	if !w.json || len(p) == 0 {
		return w.ResponseWriter.Write(p)
	}
	if w.held {
		w.held = false
		if _, err := w.ResponseWriter.Write([]byte{'}'}); err != nil {
			return 0, err
		}
	}
	n := len(p)
	if w.held = p[n-1] == '}'; w.held {
		p = p[:n-1]
	}
	if written, err := w.ResponseWriter.Write(p); err != nil {
		return written, err
	}
	return n, nil
}

// finish ends the object. A query that was answered or refused before islands were
// asked has an empty receipt, which is left out.
func (w *receiptWriter) finish(r *global.Receipt) {
	if !w.held {
		return
	}
	if text, err := json.Marshal(r); err == nil && r.Scope != "" {
		_, _ = w.ResponseWriter.Write(append([]byte(`,"receipt":`), text...))
	}
	_, _ = w.ResponseWriter.Write([]byte{'}'}) // the client went away
}
