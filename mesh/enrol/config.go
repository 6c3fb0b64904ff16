package enrol

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
)

// Config holds what an island that admits others decides.
type Config struct {
	// CertificateLifetime is how long a certificate lives that this island issues.
	// It is renewed at half of it; where a revocation cannot travel, its end does
	// the work.
	CertificateLifetime model.Duration `yaml:"certificate_lifetime"`
	// RekeyOverlap is how long a replaced node key is still good, for an island
	// that dies in the middle of changing over.
	RekeyOverlap model.Duration `yaml:"rekey_overlap"`
	// InviteExpires is how long an invitation is good where nothing else is asked for.
	InviteExpires model.Duration `yaml:"invite_expires"`
}

const (
	minLifetime = time.Hour
	maxLifetime = 90 * 24 * time.Hour
	minOverlap  = time.Hour
	maxOverlap  = 30 * 24 * time.Hour
	maxInvite   = 365 * 24 * time.Hour
	minInvite   = time.Minute
)

// Default is three days for certificates and one for the rest.
func Default() Config {
	return Config{
		CertificateLifetime: model.Duration(72 * time.Hour),
		RekeyOverlap:        model.Duration(24 * time.Hour),
		InviteExpires:       model.Duration(24 * time.Hour),
	}
}

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	return errors.Join(
		within("certificate_lifetime", c.CertificateLifetime, minLifetime, maxLifetime),
		within("rekey_overlap", c.RekeyOverlap, minOverlap, maxOverlap),
		within("invite_expires", c.InviteExpires, minInvite, maxInvite),
	)
}

func within(field string, got model.Duration, least, most time.Duration) error {
	if d := time.Duration(got); d < least || d > most {
		return fmt.Errorf("%s: %s must be from %s to %s", field, got, model.Duration(least), model.Duration(most))
	}
	return nil
}
