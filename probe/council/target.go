package council

import (
	"net/netip"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Target is what votes are about: the same thing for all vantages.
type Target struct {
	// Definition and Instance are the labels job and instance. Address is set where each
	// address of a name is a target.
	Definition, Instance, Address string
	// Labels are the target's own, as Pack made them.
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
