package rpc

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Limits bounds what calls may take, from others and of others.
type Limits struct {
	Urgent ClassLimits `yaml:"urgent"`
	Normal ClassLimits `yaml:"normal"`
	Bulk   ClassLimits `yaml:"bulk"`
	// PeerRate and PeerBurst are the token bucket of one peer over all classes,
	// in calls a second and calls.
	PeerRate  float64 `yaml:"peer_rate"`
	PeerBurst int     `yaml:"peer_burst"`
	// Standing is how many streams that stay open are served at once; a quarter
	// of them, but at least one, to one peer.
	Standing int `yaml:"standing"`
	// MessageBytes is the largest message, sent or received, after decompression.
	MessageBytes flow.Bytes `yaml:"message_bytes"`
	// StreamsPerConnection is how many calls one HTTP/2 connection carries at once.
	StreamsPerConnection uint32 `yaml:"streams_per_connection"`
	// ConnectionsPerPeer is how many connections one peer may hold open here.
	ConnectionsPerPeer int `yaml:"connections_per_peer"`
	// Handshake is the time a new connection has until HTTP/2 is spoken on it.
	Handshake model.Duration `yaml:"handshake"`
	// Idle is how long a connection without calls is kept; an urgent one up to nine times
	// as long, where calls come at such intervals.
	Idle model.Duration `yaml:"idle"`
	// Drain is how long open calls may go on when the server stops.
	Drain model.Duration `yaml:"drain"`
	// StallAfter is the silence, while an answer is owed, after which the mesh is told.
	StallAfter model.Duration `yaml:"stall_after"`
	// Breaker pauses calls to a peer that does not answer.
	Breaker BreakerLimits `yaml:"breaker"`
}

// ClassLimits bounds one class of calls.
type ClassLimits struct {
	// Slots is how many calls are handled at once, PeerSlots how many of one peer.
	Slots     int `yaml:"slots"`
	PeerSlots int `yaml:"peer_slots"`
	// Queue is how many calls may wait for a slot, half of it by one peer.
	Queue int `yaml:"queue"`
	// Rate and Burst are the token bucket of one peer, in calls a second and calls.
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
	// Timeout is the deadline of calls that have none; MaxTimeout caps it.
	Timeout    model.Duration `yaml:"timeout"`
	MaxTimeout model.Duration `yaml:"max_timeout"`
}

// BreakerLimits says when calls to a peer are paused.
type BreakerLimits struct {
	// Failures in a row that open the breaker.
	Failures uint `yaml:"failures"`
	// Pause is how long it stays open at first; each failed trial doubles it up to MaxPause.
	Pause    model.Duration `yaml:"pause"`
	MaxPause model.Duration `yaml:"max_pause"`
}

// Default returns what holds where the file says nothing.
func Default() Limits {
	sec := func(n int) model.Duration { return model.Duration(time.Duration(n) * time.Second) }
	return Limits{
		Urgent:               ClassLimits{Slots: 64, PeerSlots: 32, Queue: 256, Rate: 200, Burst: 400, Timeout: sec(10), MaxTimeout: sec(120)},
		Normal:               ClassLimits{Slots: 32, PeerSlots: 8, Queue: 256, Rate: 100, Burst: 200, Timeout: sec(15), MaxTimeout: sec(300)},
		Bulk:                 ClassLimits{Slots: 8, PeerSlots: 2, Queue: 64, Rate: 50, Burst: 100, Timeout: sec(300), MaxTimeout: sec(3600)},
		PeerRate:             300,
		PeerBurst:            600,
		Standing:             1024,
		MessageBytes:         16 << 20,
		StreamsPerConnection: 256,
		ConnectionsPerPeer:   12,
		Handshake:            sec(10),
		Idle:                 sec(10), // links are made anew in a round trip, and cost 100 KiB at each end
		Drain:                sec(5),
		StallAfter:           sec(2),
		Breaker:              BreakerLimits{Failures: 5, Pause: sec(5), MaxPause: sec(60)},
	}
}

// of returns the limits of a class.
func (l Limits) of(c Class) ClassLimits {
	switch c {
	case Urgent:
		return l.Urgent
	case Bulk:
		return l.Bulk
	}
	return l.Normal
}

// Validate returns every fault joined into one error.
func (l Limits) Validate() error {
	var errs []error
	for _, c := range Classes() {
		if err := l.of(c).validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c, err))
		}
	}
	if !positive(l.PeerRate) || l.PeerBurst < 1 {
		errs = append(errs, fmt.Errorf("peer_rate, peer_burst: %v and %d must be above 0", l.PeerRate, l.PeerBurst))
	}
	if l.MessageBytes < 1<<10 || l.MessageBytes > 1<<30 {
		errs = append(errs, fmt.Errorf("message_bytes: %s must be from 1KiB to 1GiB", l.MessageBytes))
	}
	if l.StreamsPerConnection < 1 || l.ConnectionsPerPeer < 1 || l.Standing < 1 {
		errs = append(errs, fmt.Errorf("streams_per_connection, connections_per_peer, standing: %d, %d and %d must be above 0",
			l.StreamsPerConnection, l.ConnectionsPerPeer, l.Standing))
	}
	for _, d := range []struct {
		field string
		value model.Duration
	}{
		{"handshake", l.Handshake}, {"idle", l.Idle}, {"drain", l.Drain}, {"stall_after", l.StallAfter}, {"breaker.pause", l.Breaker.Pause},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s: %s must be above 0, like 5s", d.field, d.value))
		}
	}
	if l.Breaker.Failures < 1 || l.Breaker.MaxPause < l.Breaker.Pause {
		errs = append(errs, fmt.Errorf("breaker: %d failures must be above 0, and max_pause %s not below pause %s",
			l.Breaker.Failures, l.Breaker.MaxPause, l.Breaker.Pause))
	}
	return errors.Join(errs...)
}

func (c ClassLimits) validate() error {
	var errs []error
	if c.Slots < 1 || c.PeerSlots < 1 || c.PeerSlots > c.Slots {
		errs = append(errs, fmt.Errorf("slots, peer_slots: %d and %d must be above 0, and the second not above the first", c.Slots, c.PeerSlots))
	}
	if c.Queue < 0 {
		errs = append(errs, fmt.Errorf("queue: %d must not be negative", c.Queue))
	}
	if !positive(c.Rate) || c.Burst < 1 {
		errs = append(errs, fmt.Errorf("rate, burst: %v and %d must be above 0", c.Rate, c.Burst))
	}
	if c.Timeout <= 0 || c.MaxTimeout < c.Timeout {
		errs = append(errs, fmt.Errorf("timeout, max_timeout: %s and %s must be above 0, and the second not below the first", c.Timeout, c.MaxTimeout))
	}
	return errors.Join(errs...)
}

func positive(f float64) bool { return f > 0 && !math.IsInf(f, 0) }
