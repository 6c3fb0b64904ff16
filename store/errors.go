package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/flow"
)

var (
	// ErrNotReady is what every call returns until Ready closes, and during the
	// seconds in which the store reopens itself. It wraps tsdb.ErrNotReady and
	// flow.ErrUnavailable.
	ErrNotReady = fmt.Errorf("the store is still opening: %w: %w", tsdb.ErrNotReady, flow.ErrUnavailable)
	// ErrClosed is what every call returns once Run is on its way out. It wraps
	// the same two.
	ErrClosed = fmt.Errorf("the store is closed: %w: %w", tsdb.ErrNotReady, flow.ErrUnavailable)
	// ErrDiskFull refuses a transaction for want of space; queries go on. It
	// wraps flow.ErrUnavailable.
	ErrDiskFull = fmt.Errorf("disk full: %w", flow.ErrUnavailable)
	// ErrWriteLog refuses a transaction because the write-ahead log failed for
	// another reason than space; queries go on. It wraps flow.ErrUnavailable.
	ErrWriteLog = fmt.Errorf("write-ahead log failed: %w", flow.ErrUnavailable)

	// errUncertain is a commit that went through while another one's log record
	// was left half written: a replay may stop before this one.
	errUncertain = errors.New("another transaction left the log incomplete")
	errNoRoom    = errors.New("not enough free space to compact")
)

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, ErrDiskFull) || errors.Is(err, errNoRoom)
}
