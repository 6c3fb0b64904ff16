package plane

import "encoding/binary"

// Cursor reads numbers and bytes off a column. After the first that is not there
// it is Bad, and all that follow are zero.
type Cursor struct {
	Left []byte
	Bad  bool
}

// Uvarint reads an unsigned number in base 128.
func (c *Cursor) Uvarint() uint64 {
	v, n := binary.Uvarint(c.Left)
	if n <= 0 {
		c.Left, c.Bad = nil, true
		return 0
	}
	c.Left = c.Left[n:]
	return v
}

// Varint reads a signed number: zigzag, in base 128.
func (c *Cursor) Varint() int64 { return unzigzag(c.Uvarint()) }

// Take reads n bytes. They alias the column.
func (c *Cursor) Take(n uint64) []byte {
	if n > uint64(len(c.Left)) {
		c.Left, c.Bad = nil, true
		return nil
	}
	out := c.Left[:n:n]
	c.Left = c.Left[n:]
	return out
}

// Text reads the length of a string, at most so many bytes, and the string.
func (c *Cursor) Text(most int) string {
	n := c.Uvarint()
	if n > uint64(most) {
		c.Left, c.Bad = nil, true
		return ""
	}
	return string(c.Take(n))
}
