package enrol

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/atoll-mesh/atoll/trust"
)

// crockford leaves out I, L, O and U: what is left is hard to misread.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	seedBytes     = 32
	checksumBytes = 3 // a mistyped text passes once in 16 million times
	groupLetters  = 4
	recoveryText  = (seedBytes + checksumBytes) * 8 / 5 // 56 letters, no padding
)

func recoveryEncoding() *base32.Encoding {
	return base32.NewEncoding(crockford).WithPadding(base32.NoPadding)
}

func recoveryChecksum(seed []byte) []byte {
	sum := sha256.Sum256(append([]byte("atoll recovery key\n"), seed...))
	return sum[:checksumBytes]
}

// FormatRecovery writes a recovery key as 14 groups of four letters and digits
// that a person can put on paper and type in again.
func FormatRecovery(k trust.PrivateKey) string {
	seed := k.Seed()
	text := recoveryEncoding().EncodeToString(append(seed[:seedBytes:seedBytes], recoveryChecksum(seed)...))
	groups := make([]string, 0, len(text)/groupLetters)
	for i := 0; i < len(text); i += groupLetters {
		groups = append(groups, text[i:i+groupLetters])
	}
	return strings.Join(groups, "-")
}

// ParseRecovery reads what FormatRecovery wrote, in upper or lower case, with or
// without separators, and with O for 0 and I or L for 1.
func ParseRecovery(text string) (trust.PrivateKey, error) {
	letters := make([]byte, 0, recoveryText)
	for _, r := range strings.ToUpper(text) {
		switch r {
		case '-', ' ', '\t', '\n', '\r':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if !strings.ContainsRune(crockford, r) {
			return trust.PrivateKey{}, fmt.Errorf("read recovery key: group %d has the character %q, which is never used; look at it again",
				len(letters)/groupLetters+1, r)
		}
		if len(letters) == recoveryText {
			return trust.PrivateKey{}, fmt.Errorf("read recovery key: more than %d letters and digits; a group was typed twice", recoveryText)
		}
		letters = append(letters, byte(r))
	}
	if len(letters) != recoveryText {
		return trust.PrivateKey{}, fmt.Errorf("read recovery key: %d letters and digits, must be %d (%d groups of %d); something is missing",
			len(letters), recoveryText, recoveryText/groupLetters, groupLetters)
	}
	raw, err := recoveryEncoding().DecodeString(string(letters))
	if err != nil {
		return trust.PrivateKey{}, fmt.Errorf("read recovery key: %w", err)
	}
	seed := raw[:seedBytes]
	if string(raw[seedBytes:]) != string(recoveryChecksum(seed)) {
		return trust.PrivateKey{}, fmt.Errorf("read recovery key: the check at its end does not fit; a letter is mistyped, compare it group by group")
	}
	return trust.FromSeed(seed)
}
