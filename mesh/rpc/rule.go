package rpc

import (
	"errors"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/policy"
)

// Class says what a call may take capacity from. The zero value is Normal.
type Class int

// The classes. Each has its own connections, slots, queue and token buckets.
const (
	Normal Class = iota
	// Urgent is for alerts, queries and control.
	Urgent
	// Bulk is for what may wait. Its messages are compressed (gzip) unless the
	// call says Uncompressed, and its handlers give way to the other classes.
	Bulk
	numClasses = 3
)

// Classes lists all classes, the most pressing first.
func Classes() []Class { return []Class{Urgent, Normal, Bulk} }

// String names the class as metrics and texts do.
func (c Class) String() string {
	switch c {
	case Urgent:
		return "urgent"
	case Normal:
		return "normal"
	case Bulk:
		return "bulk"
	}
	return fmt.Sprintf("class(%d)", int(c))
}

func (c Class) valid() bool { return c >= 0 && c < numClasses }

// Rule says what holds for one method, on both sides of a call.
type Rule struct {
	// Action is what the policy is asked about the caller. It must be set unless
	// AnyMember is.
	Action policy.Action
	// AnyMember serves every member without asking the policy, as the renewal of
	// one's own certificate.
	AnyMember bool
	// Class of the call.
	Class Class
	// Quarantined serves callers whose certificate has expired too.
	Quarantined bool
	// Idempotent calls may be carried out twice: they are made once more when the
	// connection broke before an answer came.
	Idempotent bool
	// Standing marks a stream that is meant to stay open, as a watch. It takes no
	// slot of its class but one of Limits.Standing, and may last a day.
	Standing bool
	// Timeout is the deadline of a call that has none; 0 takes the class's.
	Timeout time.Duration
	// MaxTimeout caps the caller's deadline; 0 takes the class's.
	MaxTimeout time.Duration
	// MaxRequestBytes and MaxResponseBytes bound one message after decompression;
	// 0 takes Limits.MessageBytes, which is also the most allowed.
	MaxRequestBytes, MaxResponseBytes int
	// RatePerSecond and Burst bound the calls of one peer to this method beside
	// what the class allows; 0 sets no limit of its own.
	RatePerSecond float64
	Burst         int
	// MinVersion refuses callers that speak an older protocol (see wire.Version).
	MinVersion uint32
}

// Validate returns every fault joined into one error.
func (r Rule) Validate(l Limits) error {
	var errs []error
	if r.Action == "" && !r.AnyMember {
		errs = append(errs, errors.New("action: is empty; name one of the policy's, or set AnyMember"))
	}
	if r.Action != "" && r.AnyMember {
		errs = append(errs, fmt.Errorf("action: %q is never asked about where AnyMember is set; drop one", r.Action))
	}
	if !r.Class.valid() {
		errs = append(errs, fmt.Errorf("class: %d must be one of urgent, normal, bulk", int(r.Class)))
	}
	if r.Timeout < 0 || r.MaxTimeout < 0 {
		errs = append(errs, fmt.Errorf("timeouts: %s and %s must not be negative; 0 takes the class's", r.Timeout, r.MaxTimeout))
	}
	if r.MaxTimeout > 0 && r.Timeout > r.MaxTimeout {
		errs = append(errs, fmt.Errorf("timeout: %s must not be above the cap of %s", r.Timeout, r.MaxTimeout))
	}
	for _, n := range []int{r.MaxRequestBytes, r.MaxResponseBytes} {
		if n < 0 || n > int(l.MessageBytes) {
			errs = append(errs, fmt.Errorf("message size: %d must be from 0 to message_bytes (%s)", n, l.MessageBytes))
		}
	}
	if r.RatePerSecond < 0 || r.Burst < 0 || (r.RatePerSecond > 0) != (r.Burst > 0) {
		errs = append(errs, fmt.Errorf("rate: %v per second with a burst of %d: give both, or none", r.RatePerSecond, r.Burst))
	}
	return errors.Join(errs...)
}

// filled returns the rule with the class's values where it has none.
func (r Rule) filled(l Limits) Rule {
	c := l.of(r.Class)
	timeout, most := time.Duration(c.Timeout), time.Duration(c.MaxTimeout)
	if r.Standing {
		timeout, most = standingTime, standingTime
	}
	if r.MaxTimeout == 0 {
		r.MaxTimeout = max(most, r.Timeout)
	}
	if r.Timeout == 0 {
		r.Timeout = min(timeout, r.MaxTimeout)
	}
	if r.MaxRequestBytes == 0 {
		r.MaxRequestBytes = int(l.MessageBytes)
	}
	if r.MaxResponseBytes == 0 {
		r.MaxResponseBytes = int(l.MessageBytes)
	}
	return r
}

// standingTime is how long a standing stream may last before it is made anew.
const standingTime = 24 * time.Hour
