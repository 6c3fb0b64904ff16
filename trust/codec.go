package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxTrustValue bounds the value of a trust document other than the policy.
const maxTrustValue = 128 << 10

// encodeValue writes YAML with the fields in the order of their struct and maps
// sorted by key: equal values have equal bytes.
func encodeValue(what string, v interface{ check() error }) ([]byte, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("write %s: %w", what, err)
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(v), enc.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", what, err)
	}
	if buf.Len() > maxTrustValue {
		return nil, fmt.Errorf("write %s: %d bytes: at most %d", what, buf.Len(), maxTrustValue)
	}
	return buf.Bytes(), nil
}

// decodeValue reads one YAML text into v, a pointer, and checks it. Unknown and
// repeated fields are refused: what is signed is understood as a whole or not at all.
func decodeValue(what string, text []byte, v interface{ check() error }) error {
	if len(text) > maxTrustValue {
		return fmt.Errorf("read %s: %d bytes: at most %d", what, len(text), maxTrustValue)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: more than one YAML document", what)
	}
	if err := v.check(); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

func unmarshalScalar(n *yaml.Node, text func([]byte) error) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: must be one word of text", n.Line)
	}
	if n.Tag == "!!null" {
		return text(nil)
	}
	if err := text([]byte(n.Value)); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}

// wholeMillisecond is t as documents hold it.
func wholeMillisecond(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// earliest and latest bound what a document may take for a time: they fit a
// hybrid logical clock and every calendar.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

func checkTime(field string, t time.Time) error {
	if t.Before(earliest) || t.After(latest) {
		return fmt.Errorf("%s: %s: must be a time between 2000 and 2200", field, t.Format(time.RFC3339))
	}
	return nil
}
