package council

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Target is what votes are about: the same thing for all vantages.
type Target struct {
	// Definition and Instance are the labels job and instance. Address is set where each
	// address of a name is a target.
	Definition, Instance, Address string
	// Labels are the target's own, name and value in turn, as NewTarget joins them.
	Labels string
}

// sep is in no text.
const sep = "\xff"

// NewTarget names a target; own are the labels that it has beside its definition's.
func NewTarget(definition, instance string, address netip.Addr, own labels.Labels) Target {
	t := Target{Definition: definition, Instance: instance}
	if address.IsValid() {
		t.Address = address.String()
	}
	var pairs []string
	own.Range(func(l labels.Label) { pairs = append(pairs, l.Name, l.Value) })
	t.Labels = strings.Join(pairs, sep)
	return t
}

// Pack writes the target's own labels as text, which Unpack reads.
func (t *Target) Pack() string { return strings.ReplaceAll(t.Labels, sep, "\x00") }

// Unpack names a target by its parts, labels as Pack wrote them.
func Unpack(definition, instance, address, labels string) *Target {
	return &Target{Definition: definition, Instance: instance, Address: address, Labels: strings.ReplaceAll(labels, "\x00", sep)}
}

// pairs are the target's own labels, name and value in turn.
func (t *Target) pairs() []string {
	if t.Labels == "" {
		return nil
	}
	return strings.Split(t.Labels, sep)
}

// Own are the target's own labels, nil if it has none.
func (t *Target) Own() map[string]string {
	var out map[string]string
	for pairs := t.pairs(); len(pairs) > 1; pairs = pairs[2:] {
		if out == nil {
			out = map[string]string{}
		}
		out[pairs[0]] = pairs[1]
	}
	return out
}

// server is the name that is asked for where the target is an address, "" for its own.
func (t *Target) server() string {
	for pairs := t.pairs(); len(pairs) > 1; pairs = pairs[2:] {
		if pairs[0] == definition.ServerLabel {
			return pairs[1]
		}
	}
	return ""
}

// Fit tells how well a target goes with the labels of somebody's series or alert, which
// may have lost some: the more the better, false if one is another.
func (t *Target) Fit(ls labels.Labels) (score int, ok bool) {
	for pairs := t.pairs(); len(pairs) > 1; pairs = pairs[2:] {
		switch ls.Get(pairs[0]) {
		case pairs[1]:
			score++
		case "":
			score--
		default:
			return 0, false
		}
	}
	return score, true
}

func (t *Target) compare(o *Target) int {
	return cmp.Or(cmp.Compare(t.Definition, o.Definition), cmp.Compare(t.Instance, o.Instance), cmp.Compare(t.Address, o.Address), cmp.Compare(t.Labels, o.Labels))
}

func (t *Target) message() *probepb.Target {
	return &probepb.Target{Definition: t.Definition, Instance: t.Instance, Address: t.Address, Labels: t.pairs()}
}

func targetOf(m *probepb.Target) Target {
	return Target{Definition: m.GetDefinition(), Instance: m.GetInstance(), Address: m.GetAddress(), Labels: strings.Join(m.GetLabels(), sep)}
}

// series are the labels of what is said of the target as a whole.
func (t *Target) series(d *Definition) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for name, value := range d.Labels {
		b.Set(name, value)
	}
	for pairs := t.pairs(); len(pairs) > 1; pairs = pairs[2:] {
		b.Set(pairs[0], pairs[1])
	}
	b.Set("job", t.Definition)
	b.Set("instance", t.Instance)
	b.Set("address", t.Address)
	return b.Labels()
}
