package flow

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/alecthomas/units"
)

var (
	// ErrUnavailable is wrapped by every refusal that a later attempt may get
	// past: the store is still opening, the disk is full, the process is
	// stopping. Nothing of the transaction is promised to have been kept. A
	// receiver answers 503 with Retry-After; a puller counts the samples as lost.
	ErrUnavailable = errors.New("try again later")

	// ErrOverLimit is wrapped by every refusal that a retry will not get past
	// because a budget says no: the sample was dropped on purpose and counted.
	// The rest of the transaction may still be committed. A receiver answers
	// 4xx (partial), so that the sender does not repeat it.
	ErrOverLimit = errors.New("over a limit")
)

// Bytes is a size in bytes that people write as 512MB, 1GiB or 1048576. Units
// count by 1024 with and without the i, as in Prometheus' own configuration.
type Bytes int64

// ParseBytes reads a size; it refuses a negative one and one of 8 EiB or more.
func ParseBytes(s string) (Bytes, error) {
	t := strings.TrimSpace(s)
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		var b units.Base2Bytes
		b, err = units.ParseBase2Bytes(t)
		n = int64(b)
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("size %q: must be a number of bytes or one with a unit (KB, MB, GB, TB, KiB, MiB, GiB, TiB), like 512MB", s)
	case n < 0 && t[0] != '-': // 2^63 passes the library's float64 check and wraps
		return 0, fmt.Errorf("size %q: must be below 8EiB", s)
	case n < 0:
		return 0, fmt.Errorf("size %q: must not be negative", s)
	}
	return Bytes(n), nil
}

// String gives the exact size in mixed binary units, "1GiB512MiB".
func (b Bytes) String() string {
	if b >= 1<<53 { // units are parsed in float64, which would round it
		return strconv.FormatInt(int64(b), 10)
	}
	return units.Base2Bytes(b).String()
}

// MarshalText writes the exact size for YAML and JSON.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads what ParseBytes reads; YAML hands plain numbers over too.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := ParseBytes(string(text))
	if err != nil {
		return err
	}
	*b = n
	return nil
}

// Short rounds the size for people to read: "93.4 MiB".
func (b Bytes) Short() string {
	f, unit := float64(b), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	return strconv.FormatFloat(f, 'f', precision(f, unit), 64) + " " + unit
}

func precision(f float64, unit string) int {
	if unit == "B" || f >= 100 || f == float64(int64(f)) {
		return 0
	}
	return 1
}

type strictKey struct{}

// Strict asks appenders made with the returned context to answer a sample that a
// budget drops with an error wrapping ErrOverLimit. Without it such a sample is
// dropped and counted in silence, so that a scrape does not fail as a whole.
func Strict(ctx context.Context) context.Context {
	return context.WithValue(ctx, strictKey{}, true)
}

// IsStrict reports whether Strict was applied to ctx.
func IsStrict(ctx context.Context) bool {
	strict, _ := ctx.Value(strictKey{}).(bool)
	return strict
}
