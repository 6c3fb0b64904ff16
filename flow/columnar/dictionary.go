package columnar

import (
	"fmt"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// drop reads the series that leave.
func (d *Decoder) drop(b []byte, f *Frame) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	d.left = d.left[:0]
	c := plane.Cursor{Left: column}
	for last := int64(-1); len(c.Left) > 0; {
		last += c.Varint() + 1
		if c.Bad || last < 0 || last >= int64(len(d.series)) || d.series[last].group == none {
			return nil, errUnknown
		}
		s := &d.series[last]
		d.groups[s.group].leave(s.place)
		d.left = append(d.left, s.group)
		d.states -= s.buckets.Cells()
		*s = series{group: none}
		f.Drop = append(f.Drop, Ref(last))
	}
	for _, at := range d.left {
		g := &d.groups[at]
		switch {
		case g.live == 0:
			*g = group{}
		case g.tidy():
			for place, ref := range g.members {
				d.series[ref].place = uint32(place)
			}
		}
	}
	return b, nil
}

// enter reads the series that are new.
func (d *Decoder) enter(b []byte, f *Frame) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	if b, err = d.unpacker.Labels(b, &d.names, plane.LabelLimits{Labels: d.limits.Labels, Bytes: d.limits.LabelBytes, Total: d.limits.ColumnBytes}); err != nil {
		return nil, err
	}
	c := plane.Cursor{Left: column}
	at := int64(0)
	for ref := int64(-1); len(c.Left) > 0; {
		ref += c.Varint() + 1
		at += c.Varint()
		if most := int64(d.limits.Series); c.Bad || ref < 0 || ref >= most || at < 0 || at >= most {
			return nil, errUnknown
		}
		for int64(len(d.series)) <= ref {
			d.series = append(d.series, series{group: none})
		}
		for int64(len(d.groups)) <= at {
			d.groups = append(d.groups, group{})
		}
		s := &d.series[ref]
		if s.group != none {
			return nil, fmt.Errorf("series %d is in the dictionary already", ref)
		}
		ls, err := d.names.Next()
		if err != nil {
			return nil, err
		}
		*s = series{state: plane.NewState(), group: uint32(at), place: d.groups[at].join(uint32(ref))}
		f.New = append(f.New, Named{Ref(ref), ls})
	}
	return b, d.names.Spent()
}
