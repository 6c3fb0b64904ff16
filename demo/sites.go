package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/icmp"
)

// sites are what is probed beside the shop: a page with a certificate that somebody
// forgot, and a name server.
type sites struct {
	secure *server
	// authority is the certificate, in PEM, by which secure's is judged.
	authority []byte
	names     *dns.Server
	asked     chan struct{} // closed when names has ended
}

const (
	// certificateLeft is how long the site's certificate is good for.
	certificateLeft = 5 * 24 * time.Hour
	// shopName is the name that the name server knows.
	shopName = "shop.acme.example."
)

func openSites(log *slog.Logger) (*sites, error) {
	s := &sites{}
	cert, authority, err := certify(time.Now())
	if err != nil {
		return nil, fmt.Errorf("make the demo's certificate: %w", err)
	}
	s.authority = authority
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "orders are safe here") })
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	s.secure = serveOn(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), page, log)
	if err := s.openNames(log); err != nil {
		s.secure.close()
		return nil, err
	}
	return s, nil
}

func (s *sites) openNames(log *slog.Logger) error {
	c, err := net.ListenPacket("udp", anyPort)
	if err != nil {
		return fmt.Errorf("listen for the demo's name server: %w", err)
	}
	ready := make(chan struct{})
	s.asked = make(chan struct{})
	s.names = &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(answerName), NotifyStartedFunc: func() { close(ready) }}
	go func() {
		defer close(s.asked)
		if err := s.names.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Error("the demo's name server ended", "err", err)
		}
	}()
	select {
	case <-ready:
	case <-s.asked:
		return errors.New("the demo's name server did not start; see its log")
	}
	return nil
}

func answerName(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if len(q.Question) == 1 && q.Question[0].Name == shopName && q.Question[0].Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: shopName, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(127, 0, 0, 1)}}
	} else {
		m.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(m) // who got no answer asks again
}

// namesAddr is where the name server is asked.
func (s *sites) namesAddr() string { return s.names.PacketConn.LocalAddr().String() }

func (s *sites) close() {
	s.secure.close()
	_ = s.names.Shutdown()
	<-s.asked
}

// certify makes an authority and a certificate for 127.0.0.1 that ends soon.
func certify(now time.Time) (tls.Certificate, []byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Atoll demo authority"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "orders.acme.example"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLeft),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"orders.acme.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}

// mayPing reports whether this user may send echo requests.
func mayPing() bool {
	for _, network := range []string{"udp4", "ip4:icmp"} {
		if c, err := icmp.ListenPacket(network, "127.0.0.1"); err == nil {
			_ = c.Close()
			return true
		}
	}
	return false
}
