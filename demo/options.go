package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"
)

// Options says how the demo runs. The zero value is the demo as documented.
type Options struct {
	// Listen is host:port of the first island, or the first of the ports to try; the
	// others take the next free ones. Empty: 127.0.0.1:59080. Port 0 takes any.
	Listen string
	// Dir keeps the islands' files when given; otherwise a temporary directory
	// is made and removed.
	Dir string
	// BurstEvery is the time from the begin of one error burst to the next, 4 min
	// by default. The first one comes at once.
	BurstEvery time.Duration
	// BurstFor is how long a burst lasts, 60 s by default.
	BurstFor time.Duration
	// Out is where people read, standard output by default. A terminal gets a
	// progress line.
	Out io.Writer
	// Logger gets what the shop and the ways between cities log; by default a file in
	// the demo's directory does. Islands log to a file in their own directories.
	Logger *slog.Logger
	// NoDistance has the islands reach each other as fast as the machine is.
	NoDistance bool
	// Open shows the first island in a browser.
	Open bool

	// start runs an island from the configuration file at configPath, with its data
	// under dir, until ctx ends. By default islands are processes of this program; one
	// that a test gives here runs alone.
	start func(ctx context.Context, dir, configPath string) error
	pace  pace
}

// pace holds what a test shortens.
type pace struct {
	Scrape, Evaluate, Window, For time.Duration // rules look back over Window
	Host, Probe, Aggregate        time.Duration // intervals
	GroupWait, GroupInterval      time.Duration
	Calm                          time.Duration // before the first burst, at most
	Day                           time.Duration // one turn of the traffic's daily shape
	Poll                          time.Duration // of the progress line
}

func defaultPace() pace {
	return pace{
		Scrape: 2 * time.Second, Evaluate: 2 * time.Second, Window: 10 * time.Second, For: 4 * time.Second,
		Host: 5 * time.Second, Probe: 3 * time.Second, Aggregate: 5 * time.Second,
		GroupWait: time.Second, GroupInterval: 5 * time.Second, Calm: 2 * time.Second,
		Day: 6 * time.Minute, Poll: 2 * time.Second,
	}
}

func (o Options) withDefaults() Options {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:59080"
	}
	if o.BurstEvery == 0 {
		o.BurstEvery = 4 * time.Minute
	}
	if o.BurstFor == 0 {
		o.BurstFor = time.Minute
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.pace == (pace{}) {
		o.pace = defaultPace()
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		errs = append(errs, fmt.Errorf(`listen address %q: %w; write it like "127.0.0.1:59080"`, o.Listen, err))
	}
	if o.BurstEvery < 0 || o.BurstFor < 0 {
		errs = append(errs, fmt.Errorf("bursts every %s for %s: must not be negative", o.BurstEvery, o.BurstFor))
	} else if o.BurstFor >= o.BurstEvery {
		errs = append(errs, fmt.Errorf("bursts every %s for %s: a burst must end before the next begins; make it shorter", o.BurstEvery, o.BurstFor))
	}
	return errors.Join(errs...)
}

// trips are the distances between the islands, nil without any.
func (d *Demo) trips() roundTrips {
	if d.opts.NoDistance || d.opts.start != nil {
		return nil
	}
	return cables()
}
