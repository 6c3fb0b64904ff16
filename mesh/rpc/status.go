package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/atoll-mesh/atoll/flow"
)

// maxText bounds an error's text on the wire, in bytes.
const maxText = 2 << 10

// Error is what a call to another island ended with. errors.Is finds in it
// flow.ErrUnavailable where a later call may succeed, flow.ErrOverLimit where
// the same call never will, and the errors of package context.
type Error struct {
	// Peer is the other island's name, Method the full name of what was called.
	Peer, Method string
	Code         codes.Code
	// Text is what the other island said, or what happened on the way to it.
	Text string
	// Answered is set where the error is the other island's answer; otherwise
	// the call may or may not have been carried out.
	Answered bool
	// RetryAfter is how long the other island asks to wait, 0 where it did not say.
	RetryAfter time.Duration
	// Version of the other island's protocol, 0 where it did not say.
	Version uint32

	st *status.Status
}

// Error tells what was called, where, and what came of it.
func (e *Error) Error() string { return fmt.Sprintf("call %s of %s: %s", e.Method, e.Peer, e.Text) }

// GRPCStatus lets package status read the code and the details.
func (e *Error) GRPCStatus() *status.Status {
	p := e.st.Proto()
	p.Message = e.Error()
	return status.FromProto(p)
}

// Is maps the code to the errors that the callers of this project know.
func (e *Error) Is(target error) bool {
	switch target {
	case flow.ErrUnavailable:
		return e.Code == codes.Unavailable || e.Code == codes.ResourceExhausted && e.RetryAfter > 0
	case flow.ErrOverLimit:
		return e.Code == codes.ResourceExhausted && e.RetryAfter == 0
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	case context.Canceled:
		return e.Code == codes.Canceled
	}
	return false
}

// statusOf maps a handler's error to what goes over the wire, and so is the
// counterpart of Error.Is. ctx is the call's.
func statusOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var wraps interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &wraps):
		st, _ := status.FromError(err)
		p := st.Proto()
		if st.Code() == codes.OK { // an error is never a success
			p.Code = int32(codes.Unknown)
		}
		p.Message = clip(p.Message, maxText)
		return status.ErrorProto(p)
	case errors.Is(err, flow.ErrUnavailable):
		return status.Error(codes.Unavailable, clip(err.Error(), maxText))
	case errors.Is(err, flow.ErrOverLimit):
		return status.Error(codes.ResourceExhausted, clip(err.Error(), maxText))
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, clip(err.Error(), maxText))
	case errors.Is(err, context.Canceled):
		// A handler's own cancellation is not the caller's.
		if ctx.Err() == nil {
			return status.Error(codes.Unavailable, clip(err.Error(), maxText))
		}
		return status.Error(codes.Canceled, clip(err.Error(), maxText))
	}
	return status.Error(codes.Unknown, clip(err.Error(), maxText))
}

// retryLater is a refusal that a later call gets past.
func retryLater(code codes.Code, wait time.Duration, text string) error {
	wait = max(wait.Round(time.Millisecond), time.Millisecond)
	st := status.New(code, fmt.Sprintf("%s: try again in %s", text, wait))
	if with, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		st = with
	}
	return st.Err()
}

// newError reads what grpc returned for a call. said is what came from the peer.
func newError(peer, method string, err error, said answer) *Error {
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	e := &Error{Peer: peer, Method: method, Code: st.Code(), Text: clip(st.Message(), maxText), Answered: said.heard, Version: said.version, st: st}
	for _, d := range st.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok && r.GetRetryDelay().IsValid() {
			e.RetryAfter = max(0, r.GetRetryDelay().AsDuration())
		}
	}
	return e
}

// clip shortens s to at most n bytes, between characters, and makes it valid UTF-8.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
