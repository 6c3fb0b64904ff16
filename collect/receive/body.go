package receive

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/klauspost/compress/snappy"

	"github.com/atoll-mesh/atoll/flow"
)

// refusal is a request that is answered with an error as a whole.
type refusal struct {
	status     int
	reason     string
	retryAfter int // seconds; 0 if a retry does not help
	err        error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, reason, format string, args ...any) *refusal {
	return &refusal{status: status, reason: reason, err: fmt.Errorf(format, args...)}
}

func refuseFor(seconds int, reason string, err error) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, reason: reason, retryAfter: seconds, err: err}
}

func (r *refusal) write(w http.ResponseWriter) {
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	http.Error(w, r.Error(), r.status)
}

// How long a sender is asked to wait, in seconds.
const (
	retryBusy        = 1
	retryUnavailable = 5
)

// gate bounds what is in flight: requests, and bytes of their bodies.
type gate struct {
	limits   Limits
	requests atomic.Int64
	bytes    atomic.Int64
}

// enter admits a request or refuses it at once: the sender's queue is the better
// place to wait. 503 and not 429, which Prometheus by default does not retry.
func (g *gate) enter() (*ticket, *refusal) {
	if n := g.requests.Add(1); n > int64(g.limits.MaxInFlight) {
		g.requests.Add(-1)
		return nil, refuseFor(retryBusy, reasonBusy, fmt.Errorf("admitting the request: %d are being served already, which is the limit (max_in_flight); try again later", n-1))
	}
	return &ticket{gate: g}, nil
}

// ticket is what one request holds of its gate.
type ticket struct {
	gate  *gate
	bytes int64
}

func (t *ticket) reserve(n int64) *refusal {
	if now := t.gate.bytes.Add(n); now > int64(t.gate.limits.MaxInFlightBytes) {
		t.gate.bytes.Add(-n)
		return refuseFor(retryBusy, reasonBusy, fmt.Errorf("admitting the request: bodies of %s are being served already, %s more is over the limit of %s (max_in_flight_bytes); try again later",
			flow.Bytes(now-n).Short(), flow.Bytes(n).Short(), t.gate.limits.MaxInFlightBytes.Short()))
	}
	t.bytes += n
	return nil
}

func (t *ticket) leave() {
	t.gate.bytes.Add(-t.bytes)
	t.gate.requests.Add(-1)
}

// What is allocated before the first byte has come: at most, on the word of a
// Content-Length, and without one.
const (
	firstRead   = 1 << 20
	unknownRead = 64 << 10
)

// readBody reads the body into buf's memory as far as the limit lets it.
func (t *ticket) readBody(r *http.Request, buf []byte) ([]byte, *refusal) {
	limit := int64(t.gate.limits.MaxBodyBytes)
	tooLarge := func(got string) *refusal {
		return refuse(http.StatusRequestEntityTooLarge, reasonBodyTooLarge,
			"reading the body: it has %s, the limit is %s (max_body_bytes); send smaller batches", got, flow.Bytes(limit).Short())
	}
	if r.ContentLength > limit {
		return buf, tooLarge(flow.Bytes(r.ContentLength).Short())
	}
	buf = buf[:0]
	want := min(r.ContentLength+1, firstRead) // one more lets the last Read see the end
	if r.ContentLength < 0 {
		want = unknownRead
	}
	if int64(cap(buf)) < want {
		buf = make([]byte, 0, want)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return buf, tooLarge("more")
		}
		if full := t.reserve(int64(n)); full != nil {
			return buf, full
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, refuse(http.StatusBadRequest, reasonBody, "reading the body: %w", err)
		}
	}
}

// snappyRatio is more than a snappy block can grow: its densest element makes 64
// bytes out of 3.
const snappyRatio = 22

// unsnappy decodes body into buf's memory, after its announced size was checked.
func (t *ticket) unsnappy(body, buf []byte) ([]byte, *refusal) {
	n, err := snappy.DecodedLen(body)
	if err != nil {
		return buf, refuse(http.StatusBadRequest, reasonMalformed, "reading the size of the snappy block: %w; compress the body as one snappy block (not framed)", err)
	}
	if limit := t.gate.limits.MaxDecodedBytes; int64(n) > int64(limit) {
		return buf, refuse(http.StatusRequestEntityTooLarge, reasonDecodedTooLarge,
			"decoding the snappy block: it announces %s, the limit is %s (max_decoded_bytes); send smaller batches", flow.Bytes(n).Short(), limit.Short())
	}
	if n > snappyRatio*len(body) {
		return buf, refuse(http.StatusBadRequest, reasonMalformed, "decoding the snappy block: it announces %d bytes, which %d bytes cannot hold", n, len(body))
	}
	if full := t.reserve(int64(n)); full != nil {
		return buf, full
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	out, err := snappy.Decode(buf[:cap(buf)], body)
	if err != nil {
		return buf, refuse(http.StatusBadRequest, reasonMalformed, "decoding the snappy block: %w; compress the body as one snappy block (not framed)", err)
	}
	return out, nil
}
