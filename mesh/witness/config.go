package witness

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
)

// Config says how patient an island is with the others.
type Config struct {
	// Period is how often one connected island that has been silent is looked at.
	Period model.Duration `yaml:"period"`
	// WidePeriod is how often one that is not connected is looked at, which
	// needs a new connection.
	WidePeriod model.Duration `yaml:"wide_period"`
	// Fresh is how long something heard stands for a look.
	Fresh model.Duration `yaml:"fresh"`
	// LookTimeout is how long one look may take.
	LookTimeout model.Duration `yaml:"look_timeout"`
	// Failures is how many looks in a row must fail, and Silence how long an
	// island must have been failing, before others are asked about it.
	Failures int            `yaml:"failures"`
	Silence  model.Duration `yaml:"silence"`
	// Witnesses is how many others are asked at once; Regions from how many other
	// regions a loss must be confirmed, where there are as many.
	Witnesses int `yaml:"witnesses"`
	Regions   int `yaml:"regions"`
	// Grace is how long each island waits for those before it to make a statement.
	Grace model.Duration `yaml:"grace"`
	// Recovery is how long a lost island must be back before the statement is
	// withdrawn: doubled for each time it was lost within the last hour, up to 16 times.
	Recovery model.Duration `yaml:"recovery"`
	// Recheck is how often an island in trouble is looked at again.
	Recheck model.Duration `yaml:"recheck"`
	// LooksPerSecond and AsksPerSecond bound what this island sends, in the long run.
	LooksPerSecond float64 `yaml:"looks_per_second"`
	AsksPerSecond  float64 `yaml:"asks_per_second"`
	// CallerPerSecond bounds the looks made for one other island, in the long run.
	CallerPerSecond float64 `yaml:"caller_per_second"`
}

// What is allowed at once above the rates.
const (
	looksBurst  = 16
	asksBurst   = 8
	callerBurst = 8
	// panelSize is how many islands at most are looked at to learn whether it is
	// this island that is cut off, or the network parted.
	panelSize = 24
	// servedAtOnce bounds the looks under way for others.
	servedAtOnce = 32
)

// Default finds a loss in about 45 s and overlooks breaks of 20 s.
func Default() Config {
	return Config{
		Period:          seconds(5),
		WidePeriod:      seconds(30),
		Fresh:           seconds(30),
		LookTimeout:     seconds(5),
		Failures:        3,
		Silence:         seconds(15),
		Witnesses:       3,
		Regions:         2,
		Grace:           seconds(20),
		Recovery:        seconds(30),
		Recheck:         seconds(15),
		LooksPerSecond:  4,
		AsksPerSecond:   2,
		CallerPerSecond: 2,
	}
}

func seconds(n int) model.Duration { return model.Duration(time.Duration(n) * time.Second) }

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	duration := func(field string, d model.Duration) {
		if d < model.Duration(100*time.Millisecond) || d > model.Duration(time.Hour) {
			errs = append(errs, fmt.Errorf("%s: %s must be from 100ms to 1h", field, d))
		}
	}
	duration("period", c.Period)
	duration("wide_period", c.WidePeriod)
	duration("fresh", c.Fresh)
	duration("look_timeout", c.LookTimeout)
	duration("silence", c.Silence)
	duration("grace", c.Grace)
	duration("recovery", c.Recovery)
	duration("recheck", c.Recheck)
	count := func(field string, n, most int) {
		if n < 1 || n > most {
			errs = append(errs, fmt.Errorf("%s: %d must be from 1 to %d", field, n, most))
		}
	}
	count("failures", c.Failures, 20)
	count("witnesses", c.Witnesses, asksBurst-1)
	count("regions", c.Regions, asksBurst-1)
	rate := func(field string, r float64) {
		if !(r > 0 && r <= 1000) {
			errs = append(errs, fmt.Errorf("%s: %v must be above 0 and at most 1000", field, r))
		}
	}
	rate("looks_per_second", c.LooksPerSecond)
	rate("asks_per_second", c.AsksPerSecond)
	rate("caller_per_second", c.CallerPerSecond)
	if c.Regions > c.Witnesses {
		errs = append(errs, fmt.Errorf("regions: %d must not be more than witnesses (%d), or nothing is ever confirmed", c.Regions, c.Witnesses))
	}
	return errors.Join(errs...)
}
