package access

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/policy"
)

// CSRFHeader carries, with what a signed-in page changes, the value that it got
// from GET /api/atoll/v1/session.
const CSRFHeader = "X-Atoll-CSRF"

// Guard lets through to next what may pass; zone says where a request came in.
func (a *Access) Guard(next http.Handler, zone func(*http.Request) Zone) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z := zone(r)
		rule, what, ok := a.rules.find(r)
		if !ok && !changes(r.Method) {
			rule, ok = Rules()["GET /api/"], true
		}
		p, err := a.identify(r, z)
		if ok && rule.Public {
			a.pass(Rule{}, what, p, next, w, r, z)
			return
		}
		if err == nil && (!ok || encodedSlash(r)) {
			err = errUnknownRoute
		}
		if err == nil {
			err = a.judge(r, rule, what, p, z)
		}
		if err != nil {
			a.deny(w, r, p, err)
			return
		}
		a.pass(rule, what, p, next, w, r, z)
	})
}

// pass hands the request on with who asks in its context.
func (a *Access) pass(rule Rule, what policy.Resource, p Principal, next http.Handler, w http.ResponseWriter, r *http.Request, z Zone) {
	inner := r.WithContext(withZone(With(r.Context(), p), z))
	// The metrics outside of here go by the pattern that the mux notes.
	defer func() { r.Pattern = inner.Pattern }()
	a.audited(rule, what, p, next, w, inner)
}

var errUnknownRoute = &Error{
	Status: http.StatusForbidden, Code: "forbidden", Message: "nothing is known of this route, and what changes something must be known",
	Remedy: "compare method and path with the API's description",
}

// encodedSlash finds a request that changes something by a path of which two
// handlers could think differently.
func encodedSlash(r *http.Request) bool {
	if !changes(r.Method) {
		return false
	}
	raw := strings.ToLower(r.URL.EscapedPath())
	return strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") || strings.Contains(raw, "%2e")
}

func (a *Access) judge(r *http.Request, rule Rule, what policy.Resource, p Principal, z Zone) error {
	open := p.Source != Token && a.config.open(rule.Class, z)
	if p.session != "" && changes(r.Method) && rule.Action != policy.Read && !sameCSRF(p.session, r.Header.Get(CSRFHeader)) {
		return errCSRF
	}
	if open {
		return nil
	}
	if rule.Signed {
		if !p.Known() {
			return errSignIn
		}
		return nil
	}
	return a.Permits(p, rule.Action, what)
}

var errCSRF = &Error{
	Status: http.StatusForbidden, Code: "csrf", Field: CSRFHeader,
	Message: "the header " + CSRFHeader + " is missing or is not this session's",
	Remedy:  "send the value of csrf from GET " + apiPrefix + "session",
}

// deny refuses, counts, and writes down who was denied a change.
func (a *Access) deny(w http.ResponseWriter, r *http.Request, p Principal, err error) {
	code := "internal"
	if e, ok := errors.AsType[*Error](err); ok {
		code = e.Code
	}
	a.metrics.refusals.WithLabelValues(code).Inc()
	if changes(r.Method) {
		a.logRefusal(Entry{Actor: p.Actor(), Action: "denied", Subject: r.Method + " " + clip(r.URL.Path), Detail: clip(err.Error()) + from(p)})
	}
	a.refuse(w, err)
}

// logRefusal writes down what strangers can cause, which must not fill the disk.
func (a *Access) logRefusal(e Entry) {
	if !a.dropped.take() {
		a.metrics.auditDropped.Inc()
		return
	}
	if err := a.options.Log.Append(e); err != nil {
		a.log.Error("write the audit log", "error", err)
	}
}

// dropper lets 60 entries through at once and then one every five seconds.
type dropper struct {
	mu     sync.Mutex
	bucket *bucket
}

func (d *dropper) take() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.bucket == nil {
		d.bucket = &bucket{rate: rate{60, 5 * time.Second}, left: 60, at: now}
	}
	d.bucket.fill(now)
	if d.bucket.left < 1 {
		return false
	}
	d.bucket.left--
	return true
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "..."
	}
	return s
}

func from(p Principal) string { return " (from " + p.addr + ")" }

// audited writes down a change before it is made, and again if it was refused;
// where that cannot be written nothing changes.
func (a *Access) audited(rule Rule, what policy.Resource, p Principal, next http.Handler, w http.ResponseWriter, r *http.Request) {
	if rule.Audit == "" || !changes(r.Method) {
		next.ServeHTTP(w, r)
		return
	}
	subject := what.Name
	if what.Kind == policy.Service {
		subject = clip(r.URL.Path)
	}
	entry := Entry{Actor: p.Actor(), Action: rule.Audit, Subject: subject, Detail: strings.TrimSpace(from(p))}
	if err := a.options.Log.Append(entry); err != nil {
		a.refuse(w, errNoAudit(err))
		return
	}
	answer := &answered{ResponseWriter: w, code: http.StatusOK}
	if next.ServeHTTP(answer, r); answer.code >= http.StatusBadRequest {
		entry.Action += "-refused"
		entry.Detail = fmt.Sprintf("answered %d%s", answer.code, from(p))
		if err := a.options.Log.Append(entry); err != nil {
			a.log.Error("write the audit log", "error", err)
		}
	}
}

func errNoAudit(err error) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "no-audit",
		Message: "nothing was changed because the audit log cannot be written: " + err.Error(),
		Remedy:  "free space on the file system of the data directory, or repair it",
	}
}

// answered remembers the code of an answer.
type answered struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *answered) WriteHeader(code int) {
	if code >= 200 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach what is below.
func (s *answered) Unwrap() http.ResponseWriter { return s.ResponseWriter }
