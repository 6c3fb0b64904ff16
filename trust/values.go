package trust

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"
)

// Roles of a member.
const (
	// RoleAdmin holds a signer key and admits others.
	RoleAdmin = "admin"
	// RoleIsland is what most are.
	RoleIsland = "island"
	// RoleVantage probes for others and reads nothing of their data.
	RoleVantage = "vantage"
	// RoleObserver only reads.
	RoleObserver = "observer"
)

// Roles lists all of them.
func Roles() []string { return []string{RoleAdmin, RoleIsland, RoleVantage, RoleObserver} }

// Bounds of what a trust document may hold.
const (
	MaxLabels     = 32
	MaxAddresses  = 16
	MaxUses       = 1000
	maxKeys       = 16
	maxName       = 63
	maxLabelName  = 64
	maxLabelValue = 256
	maxAddress    = 256
	maxReason     = 1024
)

// MemberValue is the value of member/<peer ID of the current node key>.
type MemberValue struct {
	Name   string            `yaml:"name"`
	Role   string            `yaml:"role"`
	Labels map[string]string `yaml:"labels,omitempty"`
	// Keys are the current node key, then the ones before it. The current one
	// is also the document's name; a document whose key is another member's
	// previous one counts no more.
	Keys   []MemberKey `yaml:"keys"`
	Joined time.Time   `yaml:"joined"`
	// Invite is the guest key that the member was admitted by, if any.
	Invite Key `yaml:"invite,omitempty"`
	// Addresses are multiaddrs under which the member can be dialled, if known.
	Addresses []string `yaml:"addresses,omitempty"`
}

// MemberKey is a node key; Until ends the time of a previous one.
type MemberKey struct {
	Key   Key       `yaml:"key"`
	Until time.Time `yaml:"until,omitempty"`
}

// SignerValue is the value of signer/<peer ID of the signer key>.
type SignerValue struct {
	// Name is of the island that holds the key.
	Name  string    `yaml:"name"`
	Since time.Time `yaml:"since"`
}

// RevokedValue is the value of revoked/<peer ID>.
type RevokedValue struct {
	Name   string    `yaml:"name,omitempty"`
	Reason string    `yaml:"reason,omitempty"`
	At     time.Time `yaml:"at"`
}

// LeftValue is the value of left/<peer ID>.
type LeftValue struct {
	At time.Time `yaml:"at"`
}

// InviteValue is the value of invite/<peer ID of the guest key>.
type InviteValue struct {
	Role   string            `yaml:"role"`
	Labels map[string]string `yaml:"labels,omitempty"`
	// Name is given to who comes; empty leaves it to them.
	Name string `yaml:"name,omitempty"`
	Uses int    `yaml:"uses"`
	// UsedBy are the node keys that came in by it.
	UsedBy  []Key     `yaml:"used_by,omitempty"`
	Expires time.Time `yaml:"expires"`
	Issuer  Key       `yaml:"issuer"`
	Created time.Time `yaml:"created"`
}

// EncodeMember writes a member's value; equal values have equal bytes.
func EncodeMember(v MemberValue) ([]byte, error) { return encodeValue(KindMember, v) }

// DecodeMember reads what EncodeMember wrote, or a person.
func DecodeMember(text []byte) (MemberValue, error) {
	var v MemberValue
	return v, decodeValue(KindMember, text, &v)
}

// EncodeSigner writes a signer's value.
func EncodeSigner(v SignerValue) ([]byte, error) { return encodeValue(KindSigner, v) }

// DecodeSigner reads a signer's value.
func DecodeSigner(text []byte) (SignerValue, error) {
	var v SignerValue
	return v, decodeValue(KindSigner, text, &v)
}

// EncodeRevoked writes a revocation's value.
func EncodeRevoked(v RevokedValue) ([]byte, error) { return encodeValue(KindRevoked, v) }

// DecodeRevoked reads a revocation's value.
func DecodeRevoked(text []byte) (RevokedValue, error) {
	var v RevokedValue
	return v, decodeValue(KindRevoked, text, &v)
}

// EncodeLeft writes a good-bye.
func EncodeLeft(v LeftValue) ([]byte, error) { return encodeValue(KindLeft, v) }

// DecodeLeft reads a good-bye.
func DecodeLeft(text []byte) (LeftValue, error) {
	var v LeftValue
	return v, decodeValue(KindLeft, text, &v)
}

// EncodeInvite writes an invitation's value.
func EncodeInvite(v InviteValue) ([]byte, error) { return encodeValue(KindInvite, v) }

// DecodeInvite reads an invitation's value.
func DecodeInvite(text []byte) (InviteValue, error) {
	var v InviteValue
	return v, decodeValue(KindInvite, text, &v)
}

func (v MemberValue) check() error {
	return errors.Join(
		CheckName(v.Name), CheckRole(v.Role), CheckLabels(v.Labels),
		checkMemberKeys(v.Keys), checkTime("joined", v.Joined), checkAddresses(v.Addresses),
	)
}

func checkMemberKeys(keys []MemberKey) error {
	if len(keys) == 0 || len(keys) > maxKeys {
		return fmt.Errorf("keys: %d of them: must be 1 to %d, the current one first", len(keys), maxKeys)
	}
	for i, k := range keys {
		field := fmt.Sprintf("keys[%d]", i)
		switch {
		case k.Key.IsZero():
			return fmt.Errorf("%s.key: is missing", field)
		case slices.ContainsFunc(keys[:i], func(o MemberKey) bool { return o.Key == k.Key }):
			return fmt.Errorf("%s.key: %s is listed twice", field, k.Key)
		case i == 0 && !k.Until.IsZero():
			return fmt.Errorf("%s.until: the current key has no end", field)
		case i > 0:
			if err := checkTime(field+".until", k.Until); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkAddresses(addresses []string) error {
	if len(addresses) > MaxAddresses {
		return fmt.Errorf("addresses: %d of them: at most %d", len(addresses), MaxAddresses)
	}
	for _, a := range addresses {
		if len(a) > maxAddress || !plain(a) || a == "" || a[0] != '/' {
			return fmt.Errorf("addresses: %.80q: must be a multiaddr of at most %d bytes, as /ip4/192.0.2.1/tcp/59443", a, maxAddress)
		}
	}
	return nil
}

func (v SignerValue) check() error {
	return errors.Join(CheckName(v.Name), checkTime("since", v.Since))
}

func (v RevokedValue) check() error {
	var err error
	if v.Name != "" {
		err = CheckName(v.Name)
	}
	if len(v.Reason) > maxReason || !plain(v.Reason) {
		err = errors.Join(err, fmt.Errorf("reason: %.80q: must be one line of at most %d bytes", v.Reason, maxReason))
	}
	return errors.Join(err, checkTime("at", v.At))
}

func (v LeftValue) check() error { return checkTime("at", v.At) }

func (v InviteValue) check() error {
	var errs []error
	if v.Name != "" {
		errs = append(errs, CheckName(v.Name))
	}
	if v.Uses < 1 || v.Uses > MaxUses {
		errs = append(errs, fmt.Errorf("uses: %d: must be 1 to %d", v.Uses, MaxUses))
	}
	if len(v.UsedBy) > MaxUses || slices.ContainsFunc(v.UsedBy, Key.IsZero) {
		errs = append(errs, fmt.Errorf("used_by: %d of them: must be at most %d peer IDs", len(v.UsedBy), MaxUses))
	}
	if v.Issuer.IsZero() {
		errs = append(errs, errors.New("issuer: is missing"))
	}
	errs = append(errs, CheckRole(v.Role), CheckLabels(v.Labels), checkTime("expires", v.Expires), checkTime("created", v.Created))
	return errors.Join(errs...)
}

// CheckName says what is wrong with a member's name.
func CheckName(name string) error {
	if !consistsOf(name, maxName, func(c byte) bool { return isNameChar(c) && c != '~' }) ||
		!isAlphanumeric(name[0]) || !isAlphanumeric(name[len(name)-1]) {
		return fmt.Errorf("name %.80q: must be 1 to %d letters, digits, '.', '_' or '-', with a letter or digit at both ends", name, maxName)
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return isNameChar(c) && c != '.' && c != '_' && c != '-' && c != '~'
}

// CheckRole says what is wrong with a role.
func CheckRole(role string) error {
	if !slices.Contains(Roles(), role) {
		return fmt.Errorf("role %.40q: must be one of %v", role, Roles())
	}
	return nil
}

// CheckLabels says what is wrong with a member's labels.
func CheckLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("labels: %d of them: at most %d", len(labels), MaxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !consistsOf(name, maxLabelName, func(c byte) bool { return isAlphanumeric(c) || c == '_' }) || '0' <= name[0] && name[0] <= '9' {
			return fmt.Errorf("labels: name %.80q: must be 1 to %d letters, digits or '_', not beginning with a digit", name, maxLabelName)
		}
		if value := labels[name]; len(value) > maxLabelValue || !plain(value) {
			return fmt.Errorf("labels: %s: %.80q: must be one line of at most %d bytes", name, value, maxLabelValue)
		}
	}
	return nil
}

// plain reports whether s is one line of UTF-8 that leaves a terminal alone.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	return true
}
