package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Class is a group of routes that may be open to those who did not sign in.
type Class string

// The classes. Operate is reloading, profiles, and what http.admin_api serves.
const (
	ClassRead    Class = "read"
	ClassIngest  Class = "ingest"
	ClassSilence Class = "silence"
	ClassProbe   Class = "probe"
	ClassOperate Class = "operate"
)

// Classes are all classes, in the order in which they are shown.
func Classes() []Class {
	return []Class{ClassRead, ClassIngest, ClassSilence, ClassProbe, ClassOperate}
}

// Config says who may do what without signing in, and how signing in works.
type Config struct {
	// Anonymous lists the classes that are open without signing in. Nil: all of
	// them on loopback addresses and for whom web_config lets in, none elsewhere.
	Anonymous []Class `yaml:"anonymous,omitempty"`
	// SessionIdle ends a session that was not used for so long.
	SessionIdle model.Duration `yaml:"session_idle,omitempty"`
	// SessionMax ends a session that old.
	SessionMax model.Duration `yaml:"session_max,omitempty"`
	// OIDC signs people in who have an account elsewhere.
	OIDC OIDC `yaml:"oidc,omitempty"`
}

// Default keeps a session for a working day without use, and for a week at most.
func Default() Config {
	return Config{SessionIdle: model.Duration(12 * time.Hour), SessionMax: model.Duration(7 * 24 * time.Hour), OIDC: defaultOIDC()}
}

// Validate names every field that breaks its rule, with the section's name before it.
func (c Config) Validate() error {
	var errs []error
	for i, class := range c.Anonymous {
		if !slices.Contains(Classes(), class) {
			errs = append(errs, fmt.Errorf("http.anonymous[%d]: %q: must be one of %v", i, string(class), Classes()))
		}
	}
	if c.SessionIdle < model.Duration(time.Minute) {
		errs = append(errs, fmt.Errorf("http.session_idle: %v: must be at least 1m, the default is 12h", c.SessionIdle))
	}
	if c.SessionMax < c.SessionIdle {
		errs = append(errs, fmt.Errorf("http.session_max: %v: must be at least http.session_idle, which is %v", c.SessionMax, c.SessionIdle))
	}
	return errors.Join(append(errs, c.OIDC.validate())...)
}

// open reports whether a class is open to nobody in particular.
func (c Config) open(class Class, z Zone) bool {
	if class == "" {
		return false
	}
	if z.Authenticated {
		return true
	}
	if c.Anonymous == nil {
		return z.Loopback
	}
	return slices.Contains(c.Anonymous, class)
}

// openClasses are all that are open, for the page to know what it need not offer.
func (c Config) openClasses(z Zone) []Class {
	out := []Class{}
	for _, class := range Classes() {
		if c.open(class, z) {
			out = append(out, class)
		}
	}
	return out
}

func quoted(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }
