package enrol

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// askTimeout is for one island; the others are asked after it.
const askTimeout = 10 * time.Second

// registrar finds somebody who signs for this island: itself, or any other
// island that holds a signer key, in random order so that none bears it all.
type registrar struct {
	home  *trust.Home
	trust func() *trust.State
	conns Conns
	local *Authority
}

type ask struct {
	here  func(context.Context, *Authority) (*trustpb.Certificate, error)
	there func(context.Context, meshpb.MembershipClient) (*trustpb.Certificate, error)
}

// certificate asks until one gives a certificate for key that holds.
func (r registrar) certificate(ctx context.Context, key trust.Key, q ask) (*trust.Certificate, error) {
	var errs []error
	if r.local != nil {
		if _, ok := r.home.Signer(); ok {
			m, err := q.here(ctx, r.local)
			c, err := r.check(m, key, err)
			if err == nil {
				return c, nil
			}
			errs = append(errs, fmt.Errorf("this island: %w", err))
		}
	}
	for _, m := range r.islands() {
		c, err := r.askOne(ctx, m, key, q)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		errs = append(errs, fmt.Errorf("island %s: %w", m.Name, err))
	}
	if len(errs) == 0 {
		return nil, errors.New("no island of the network can sign: none that this island knows of holds a signer key")
	}
	return nil, errors.Join(errs...)
}

func (r registrar) askOne(ctx context.Context, m *trust.Member, key trust.Key, q ask) (*trust.Certificate, error) {
	if r.conns == nil {
		return nil, errors.New("no connections to other islands")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := r.conns(ctx, m.Key)
	if err != nil {
		return nil, err
	}
	message, err := q.there(ctx, meshpb.NewMembershipClient(conn))
	if err != nil {
		err = errors.New(status.Convert(err).Message())
	}
	return r.check(message, key, err)
}

// check believes a certificate if a signer that this island trusts made it for
// key. Whether it is in its time is for who uses it.
func (r registrar) check(message *trustpb.Certificate, key trust.Key, err error) (*trust.Certificate, error) {
	if err != nil {
		return nil, err
	}
	c, err := trust.OpenCertificate(message)
	switch {
	case err != nil:
		return nil, err
	case c.Network != r.home.Network() || c.Key != key:
		return nil, fmt.Errorf("certificate: is for %s in network %s, not for %s", c.Key, c.Network.Short(), key)
	case !r.trust().IsSigner(c.Signer):
		return nil, fmt.Errorf("certificate: its signer %s is not trusted", c.Signer)
	}
	return c, nil
}

func (r registrar) islands() []*trust.Member {
	state, self := r.trust(), r.home.Node().Public()
	own, _ := state.MemberByKey(self)
	seen := map[trust.Key]bool{}
	var out []*trust.Member
	for _, s := range state.Signers() {
		if m, ok := state.Member(s.Name); ok && m != own && !seen[m.Key] {
			seen[m.Key] = true
			out = append(out, m)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
