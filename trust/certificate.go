package trust

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/trustpb"
)

const (
	certificateContext = "atoll certificate 1"
	maxCertificate     = 16 << 10
	// maxCertificateLife bounds what a slip of configuration can do.
	maxCertificateLife = 366 * 24 * time.Hour
)

// ClockTolerance is by how much two islands' clocks may differ before a
// certificate counts as not yet valid or as expired.
const ClockTolerance = 15 * time.Minute

var (
	// ErrExpired is of a certificate that proved its holder once but not now:
	// out of its time, or of a signer who is trusted no more. Its holder may
	// renew it, and nothing else.
	ErrExpired = errors.New("certificate is not in force")
	// ErrRefused is of everything that is not allowed.
	ErrRefused = errors.New("refused")
)

// Certificate says that Signer knew the holder of Key as a member in good
// standing between NotBefore and NotAfter.
type Certificate struct {
	Network NetworkID
	Key     Key
	Name    string
	Role    string
	Labels  map[string]string
	// Serial is unique per signer.
	Serial              uint64
	NotBefore, NotAfter time.Time
	Signer              Key

	message *trustpb.Certificate
}

// Message is the certificate as it was signed, for sending; nil unless it came
// from OpenCertificate, and for no certificate: a connection may begin while the
// island leaves its network. It must not be changed.
func (c *Certificate) Message() *trustpb.Certificate {
	if c == nil {
		return nil
	}
	return c.message
}

// RenewAt is half of the certificate's life.
func (c *Certificate) RenewAt() time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

// Issue signs a certificate. c.Signer is not looked at: it is who signs.
func Issue(signer PrivateKey, c Certificate) *trustpb.Certificate {
	body := &trustpb.CertificateBody{
		Network: c.Network.Bytes(), Key: c.Key.Bytes(),
		Name: strings.ToValidUTF8(c.Name, "?"), Role: strings.ToValidUTF8(c.Role, "?"),
		Labels: make(map[string]string, len(c.Labels)), Serial: c.Serial,
		NotBeforeMs: c.NotBefore.UnixMilli(), NotAfterMs: c.NotAfter.UnixMilli(),
	}
	for k, v := range c.Labels {
		body.Labels[strings.ToValidUTF8(k, "?")] = strings.ToValidUTF8(v, "?")
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		panic("BUG: certificate of valid text cannot be encoded: " + err.Error())
	}
	return &trustpb.Certificate{
		Body: b, Signer: signer.Public().Bytes(),
		Signature: signer.Sign(certificateContext, c.Network, b),
	}
}

// OpenCertificate checks shape, bounds and signature. Whether the signer may
// sign and the holder is still welcome is State.CheckCertificate's to say.
func OpenCertificate(m *trustpb.Certificate) (*Certificate, error) {
	c, err := openCertificate(m)
	if err != nil {
		return nil, fmt.Errorf("open certificate: %w", err)
	}
	return c, nil
}

func openCertificate(m *trustpb.Certificate) (*Certificate, error) {
	if len(m.GetBody()) == 0 || len(m.GetBody()) > maxCertificate {
		return nil, fmt.Errorf("body of %d bytes: must be 1 to %d", len(m.GetBody()), maxCertificate)
	}
	signer, err := KeyOf(m.GetSigner())
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	var body trustpb.CertificateBody
	if err := proto.Unmarshal(m.GetBody(), &body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	network, err := NetworkFromBytes(body.GetNetwork())
	if err != nil {
		return nil, err
	}
	if !signer.Verify(certificateContext, network, m.GetBody(), m.GetSignature()) {
		return nil, fmt.Errorf("signature is not %s's for network %s", signer, network.Short())
	}
	key, err := KeyOf(body.GetKey())
	if err != nil {
		return nil, err
	}
	c := &Certificate{
		Network: network, Key: key, Name: body.GetName(), Role: body.GetRole(), Labels: body.GetLabels(), Serial: body.GetSerial(),
		NotBefore: time.UnixMilli(body.GetNotBeforeMs()).UTC(), NotAfter: time.UnixMilli(body.GetNotAfterMs()).UTC(),
		Signer:  signer,
		message: &trustpb.Certificate{Body: m.GetBody(), Signer: m.GetSigner(), Signature: m.GetSignature()},
	}
	return c, c.check()
}

func (c *Certificate) check() error {
	err := errors.Join(
		CheckName(c.Name), CheckRole(c.Role), CheckLabels(c.Labels),
		checkTime("not_before", c.NotBefore), checkTime("not_after", c.NotAfter),
	)
	if life := c.NotAfter.Sub(c.NotBefore); err == nil && (life <= 0 || life > maxCertificateLife) {
		err = fmt.Errorf("life of %s: must be more than none and at most %s", life, maxCertificateLife)
	}
	return err
}
