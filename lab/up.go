//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Options are of a lab outside a test.
type Options struct {
	// Logger hears what a test's log would; nil is slog.Default().
	Logger *slog.Logger
	// Build adds hosts; nil builds nothing. ThreeRegions is one to use.
	Build func(*Lab)
}

// Up makes a lab for a command. It is closed, with all that runs in it, by Close
// or when ctx ends; a caller that is about to exit must call Close, which waits.
// Calls on it outside Build belong into Try.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if err := Require(); err != nil {
		return nil, fmt.Errorf("make a lab: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	k := &keeper{log: o.Logger}
	l, err := open(k)
	if err != nil {
		return nil, fmt.Errorf("make a lab: %w", err)
	}
	if o.Build != nil {
		if err := Try(func() { o.Build(l) }); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	context.AfterFunc(ctx, func() {
		if err := l.Close(); err != nil {
			o.Logger.Error("lab was not cleaned up", "err", err)
		}
	})
	return l, nil
}

// Try runs fn and returns what a lab made by Up refused in it: there is no test
// that it could end.
func Try(fn func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			err = r
		default:
			panic(r)
		}
	}()
	fn()
	return nil
}

// refusal carries a Fatalf up to Try.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// keeper stands in for a test.
type keeper struct {
	log *slog.Logger

	mu       sync.Mutex
	cleanups []func()
}

func (*keeper) Helper() {}

func (k *keeper) Cleanup(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cleanups = append(k.cleanups, fn)
}

func (k *keeper) cleanup() {
	k.mu.Lock()
	fns := k.cleanups
	k.cleanups = nil
	k.mu.Unlock()
	for _, fn := range slices.Backward(fns) {
		fn()
	}
}

func (k *keeper) Logf(format string, args ...any) {
	k.log.Info("lab", "message", fmt.Sprintf(format, args...))
}

func (k *keeper) Skipf(format string, args ...any) { k.Fatalf(format, args...) }

func (*keeper) Fatalf(format string, args ...any) { panic(refusal{fmt.Sprintf(format, args...)}) }

// Islands are the hosts that ThreeRegions made.
type Islands struct {
	WAN    *WAN
	Public []*Node
	Boxes  []*NAT
	// All six, public ones first.
	All []*Node
}

// ThreeRegions builds six hosts in three regions: eu-1 and eu-2 are public, us-1
// and us-2 behind a PortRestricted box, ap-1 and ap-2 behind a Symmetric one.
// Round trips between regions take 100 ms (eu–us), 150 ms (us–ap) and 200 ms
// (eu–ap), and within eu 4 ms.
func ThreeRegions(l *Lab) Islands {
	w := l.WAN(WANOptions{})
	const access = time.Millisecond
	w.SetDelay("eu", "us", 50*time.Millisecond-2*access)
	w.SetDelay("us", "ap", 75*time.Millisecond-2*access)
	w.SetDelay("eu", "ap", 100*time.Millisecond-2*access)
	out := Islands{WAN: w}
	for _, name := range []string{"eu-1", "eu-2"} {
		out.Public = append(out.Public, l.Public(name, LinkOptions{Region: "eu", Delay: access}))
	}
	us := l.NAT("us", PortRestricted, LinkOptions{Region: "us", Delay: access})
	ap := l.NAT("ap", Symmetric, LinkOptions{Region: "ap", Delay: access})
	out.Boxes = []*NAT{us, ap}
	out.All = append(slices.Clone(out.Public), us.Node("us-1"), us.Node("us-2"), ap.Node("ap-1"), ap.Node("ap-2"))
	return out
}
