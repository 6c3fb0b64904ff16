package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// ErrDenied is what a Dialer answers for an address that may not be probed.
var ErrDenied = errors.New("the target may not be probed")

// Code is why a probe failed, for machines: the label value of
// probe_failure_info{reason}. It never holds anything that a server sent.
type Code string

// The codes. A prober takes the closest and says the rest in words.
const (
	Denied            Code = "denied"             // policy or guard: nothing was sent
	BadTarget         Code = "bad_target"         // the target is none of this protocol
	ResolveFailed     Code = "resolve_failed"     // the name server said no, or was not understood
	ResolveTimeout    Code = "resolve_timeout"    // no name server answered in time
	NoAddress         Code = "no_address"         // the name has no address of the family that was asked for
	ConnectTimeout    Code = "connect_timeout"    //
	ConnectionRefused Code = "connection_refused" //
	ConnectionReset   Code = "connection_reset"   // closed by the other side in the middle
	Unreachable       Code = "unreachable"        // a router or the own host knows no way
	TLSHandshake      Code = "tls_handshake"      // neither timeout nor certificate
	TLSTimeout        Code = "tls_timeout"        //
	TLSExpired        Code = "tls_expired"        // also: not valid yet
	TLSName           Code = "tls_name"           // the certificate is of another name
	TLSUntrusted      Code = "tls_untrusted"      // no way to a root that is trusted here
	TLSRevoked        Code = "tls_revoked"        // OCSP or CRL
	TLSMissing        Code = "tls_missing"        // plain where TLS was expected; TLSUnexpected the other way
	TLSUnexpected     Code = "tls_unexpected"     //
	RequestTimeout    Code = "request_timeout"    // connected, and then no answer in time
	TransferTimeout   Code = "transfer_timeout"   // the answer began, and did not end in time
	Malformed         Code = "malformed"          // the answer breaks the protocol
	TooLarge          Code = "too_large"          // the answer is longer than the module allows
	Redirects         Code = "redirects"          // too many, or in a circle
	Status            Code = "status"             // the protocol's own no: HTTP status, rcode, SMTP code, gRPC status
	Version           Code = "version"            // an HTTP version that is not wanted
	Header            Code = "header"             //
	Body              Code = "body"               //
	Content           Code = "content"            // hash or size differ from what they must be
	Answer            Code = "answer"             // any other assertion: records, banner, query/response
	Slow              Code = "slow"               // answered, later than an assertion allows
	Loss              Code = "loss"               // too few echoes came back
	Login             Code = "login"              // credentials were refused
	Unsupported       Code = "unsupported"        // not on this machine: no browser, no permission
	Internal          Code = "internal"           // a mistake of ours
)

// Reason is why a probe failed.
type Reason struct {
	Code Code
	// Phase is where it happened.
	Phase Phase
	// Words say what was expected and what was found, for people: "status 503, want
	// 200". Of what the server sent at most a hundred bytes, quoted.
	Words string
}

// String is the words with the code before them, "" if there is no reason.
func (r Reason) String() string {
	if r.Code == "" {
		return ""
	}
	return string(r.Code) + ": " + r.Words
}

// Fail marks the probe as failed, unless it already is: the first reason counts.
func (r *Result) Fail(code Code, phase Phase, format string, args ...any) *Result {
	r.Up = false
	if r.Reason.Code == "" {
		r.Reason = Reason{Code: code, Phase: phase, Words: fmt.Sprintf(format, args...)}
	}
	return r
}

// FailError marks the probe as failed by an error of the network in the given
// phase, with the code that follows from both. Errors of TLS have their own way,
// Handshake.
func (r *Result) FailError(phase Phase, what string, err error) *Result {
	return r.Fail(codeOf(phase, err), phase, "%s: %v", what, plain(err))
}

var timeoutCodes = [Phases]Code{ResolveTimeout, ConnectTimeout, TLSTimeout, RequestTimeout, RequestTimeout, TransferTimeout}

func codeOf(phase Phase, err error) Code {
	var dns *net.DNSError
	switch {
	case errors.Is(err, ErrDenied):
		return Denied
	case isTimeout(err):
		return timeoutCodes[phase]
	case errors.As(err, &dns):
		return ResolveFailed
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectionRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return Unreachable
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ConnectionReset
	}
	return byPhase[phase]
}

// byPhase is for errors that say nothing by themselves.
var byPhase = [Phases]Code{ResolveFailed, Unreachable, TLSHandshake, ConnectionReset, ConnectionReset, ConnectionReset}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// plain takes from an error of the standard library what the words around it say
// already: "dial tcp 192.0.2.1:443: connect: connection refused".
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	if isTimeout(err) {
		return errors.New("timeout")
	}
	return err
}
