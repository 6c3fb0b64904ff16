package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Error is a refusal, as people and programs get to read it.
type Error struct {
	Status int `json:"-"`
	// Code is stable: unauthenticated, forbidden, csrf, limited, invalid and others.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Field names the part of the request at fault.
	Field  string `json:"field,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// RetryAfter is when trying again makes sense; zero: now.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + "; " + e.Remedy
}

func invalid(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: "invalid", Field: field, Message: fmt.Sprintf(format, args...)}
}

func missing(what, name string) *Error {
	return &Error{Status: http.StatusNotFound, Code: "not-found", Message: fmt.Sprintf("%s %q: there is none", what, name)}
}

func forbidden(message, remedy string) *Error {
	return &Error{Status: http.StatusForbidden, Code: "forbidden", Message: message, Remedy: remedy}
}

// refuse answers with an error, whatever it is.
func (a *Access) refuse(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		a.log.Error("answer a request", "error", err)
		e = &Error{Status: http.StatusInternalServerError, Code: "internal", Message: err.Error(), Remedy: "see the island's log"}
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())+1))
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="atoll"`)
	}
	writeJSON(w, e.Status, e)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// maxBody bounds the body of a request to this package's own routes.
const maxBody = 16 << 10

// read decodes a JSON body. Only JSON is taken, which no form of another site can
// send without asking first.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return &Error{Status: http.StatusBadRequest, Code: "invalid", Message: "read the request: " + err.Error(), Remedy: "send one JSON object with the fields that the API's description names"}
	}
	return nil
}
