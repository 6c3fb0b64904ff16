package protocol

import "crypto/x509"

// Chain is how a server proved who it is.
type Chain struct {
	// Sent are the certificates as the server sent them, the leaf first.
	Sent []*x509.Certificate
	// Verified are the ways from the leaf to a trusted root; none if it is not valid.
	Verified [][]*x509.Certificate
	// Problem is why the chain is not valid, in words; "" if it is.
	Problem string
	// Revocation is what OCSP or a CRL said of each of Sent: "good", "revoked …",
	// "unknown …", "" where it was not asked.
	Revocation []string
	// Version and Cipher are as crypto/tls names them.
	Version, Cipher string
	// Protocol is what ALPN agreed on, "" for none.
	Protocol string
	// Staple is the OCSP response that came with the handshake, nil for none.
	Staple []byte
}
