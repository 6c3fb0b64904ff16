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
	// Dir keeps the island's files when given; otherwise a temporary directory
	// is made and removed.
	Dir string
	// BurstEvery is the time from the begin of one error burst to the next, 4 min
	// by default. The first one comes after a quarter of it.
	BurstEvery time.Duration
	// BurstFor is how long a burst lasts, 60 s by default.
	BurstFor time.Duration
	// Out is where people read, standard output by default. A terminal gets a
	// progress line.
	Out io.Writer
	// Logger gets what the island and the shop log; by default a file in the
	// demo's directory does.
	Logger *slog.Logger
	// Version is what the island says it is.
	Version string
	// Start runs an island from the configuration file at configPath, with its
	// data under dir, until ctx ends. By default this program's own islands run; one
	// given here runs alone.
	Start func(ctx context.Context, dir, configPath string) error

	pace pace
}

// pace holds what a test shortens.
type pace struct {
	Scrape, Evaluate, Window, For time.Duration // rules look back over Window
	GroupWait, GroupInterval      time.Duration
	Day                           time.Duration // one turn of the traffic's daily shape
	Poll                          time.Duration // of the progress line
}

func defaultPace() pace {
	return pace{
		Scrape: 5 * time.Second, Evaluate: 5 * time.Second, Window: 30 * time.Second, For: 15 * time.Second,
		GroupWait: 2 * time.Second, GroupInterval: 10 * time.Second,
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
