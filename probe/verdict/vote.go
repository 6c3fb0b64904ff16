package verdict

import (
	"fmt"
	"time"
)

// Vantage is who votes, and where it stands.
type Vantage struct {
	Name, Region, Country, ISP string
}

// Vote is what one vantage says of one target.
type Vote struct {
	Vantage Vantage
	State   State
	// Since is when the vantage came to think so, At its last probe.
	Since, At time.Time
	// Code and Words are why, of the newest probe that says so.
	Code, Words string
	// Bad of Of last probes were not as they should be.
	Bad, Of int
	// Took is how long a probe that says so lasted, Phases its parts in the order of
	// package protocol, Measured when it was: of late, or when they were much the same.
	Took     time.Duration
	Phases   []time.Duration
	Measured time.Time
	// Turns are how the vantage changed its mind of late, as View.Turns has them.
	Turns []Turn
	// Failure is the ID of the evidence of why it is not up, "" if there is none.
	Failure string
	// Uplink is why the vantage's own way out is bad, "" if it is not. Then State says
	// nothing about the target.
	Uplink string
}

// Uplink tells the trouble of a vantage from that of its targets, by all that the
// vantage probes: most targets of different names do not fail by themselves at one
// time.
type Uplink struct {
	// Hosts and Failing count the host names that the vantage probes, and those of
	// which nothing answers it.
	Hosts, Failing int
	// Healthy counts those of Failing that other vantages reach: without any it may as
	// well be that all these targets are down. Negative where nobody was asked.
	Healthy int
}

// enoughHosts are so many that it is no accident if most of them fail.
const enoughHosts = 4

// Bad reports whether the vantage's own way out is to blame.
func (u Uplink) Bad() bool {
	return u.Hosts >= enoughHosts && u.Failing*4 >= u.Hosts*3 && u.Healthy != 0
}

// Words are why the way out is to blame.
func (u Uplink) Words() string {
	if u.Healthy < 0 {
		return fmt.Sprintf("%d of %d hosts do not answer it, and no other vantage can be asked", u.Failing, u.Hosts)
	}
	return fmt.Sprintf("%d of %d hosts do not answer it, others reach %d of them", u.Failing, u.Hosts, u.Healthy)
}
