package replica

import (
	"errors"
	"fmt"
)

// What a call can end with, for errors.Is.
var (
	ErrNotFound = errors.New("no such document")
	ErrConflict = errors.New("the document changed meanwhile")
	ErrInvalid  = errors.New("not a document")
	ErrRefused  = errors.New("the author has no right to write this document")
	ErrFull     = errors.New("the replica is full")
	ErrOutdated = errors.New("a newer version is held")
	ErrDeferred = errors.New("the document is of the future")
	ErrStorage  = errors.New("the replica's file cannot be written")
	ErrClosed   = errors.New("the replica is closed")
	ErrBusy     = errors.New("a comparison is under way")
	ErrForeign  = errors.New("it belongs to another network")
)

// Error is what people get to read: over HTTP as JSON.
type Error struct {
	// Code is stable, in lower case with underscores.
	Code string `json:"code"`
	// Message says what was attempted, the value got and the rule.
	Message string `json:"message"`
	// Field names the part of the request at fault, or is empty.
	Field string `json:"field,omitempty"`
	// Remedy says what to do about it.
	Remedy string `json:"remedy,omitempty"`
	// Is is one of the errors above.
	Is error `json:"-"`
	// Cause is what a layer below said, or nil.
	Cause error `json:"-"`
}

// Error returns message and remedy.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + "; " + e.Remedy
}

// Unwrap makes errors.Is find the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Is}
	}
	return []error{e.Is, e.Cause}
}

func notFound(key string) error {
	return &Error{Code: "not_found", Field: "key", Is: ErrNotFound,
		Message: fmt.Sprintf("document %q: there is none", key), Remedy: "list those that exist with their prefix"}
}

func invalid(field string, cause error) error {
	return &Error{Code: "invalid", Field: field, Is: ErrInvalid, Cause: cause, Message: cause.Error()}
}

func conflict(key string, expect, got uint64) error {
	found := fmt.Sprintf("it is at %d", got)
	if got == 0 {
		found = "there is none"
	}
	wanted := fmt.Sprintf("version %d was expected", expect)
	if expect == Absent {
		wanted = "none was expected"
	}
	return &Error{Code: "conflict", Field: "expect", Is: ErrConflict,
		Message: fmt.Sprintf("document %q: %s, %s", key, wanted, found), Remedy: "read it again, then repeat the change"}
}

func refused(key string, cause error) error {
	return &Error{Code: "forbidden", Field: "key", Is: ErrRefused, Cause: cause,
		Message: fmt.Sprintf("document %q: %s", key, cause)}
}

func full(key, field string, limit any) error {
	return &Error{Code: "full", Field: field, Is: ErrFull,
		Message: fmt.Sprintf("document %q: the limit %s of %v is reached", key, field, limit),
		Remedy:  "delete documents, or raise replica." + field + " on every island"}
}

func outdated(key string, got, held uint64) error {
	return &Error{Code: "outdated", Field: "time", Is: ErrOutdated,
		Message: fmt.Sprintf("document %q: version %d is older than version %d, which is held", key, got, held),
		Remedy:  "take the time of a new version from Now"}
}

func deferred(key string) error {
	return &Error{Code: "deferred", Field: "time", Is: ErrDeferred,
		Message: fmt.Sprintf("document %q: its time is more than %s ahead of this island's clock", key, maxAhead),
		Remedy:  "set the clocks of both islands; it is taken up once its time comes nearer"}
}

func storage(cause error) error {
	return &Error{Code: "storage", Is: ErrStorage, Cause: cause,
		Message: fmt.Sprintf("store documents: %v", cause),
		Remedy:  "free space on the file system of the data directory, or repair it; writing goes on by itself"}
}
