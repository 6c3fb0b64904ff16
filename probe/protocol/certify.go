package protocol

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// Certify asks of a chain what the module asks of it beside being valid: how long it
// lasts, which key it is of, and whether it was revoked. It adds what it learns to
// chain and to the samples. chain may be nil: then nothing was found to ask about.
func Certify(ctx context.Context, req *Request, want *definition.Certificate, chain *Chain, r *Result) {
	if chain == nil || len(chain.Sent) == 0 {
		return
	}
	leaf := chain.Sent[0]
	if len(want.Fingerprints) > 0 {
		sum := sha256.Sum256(leaf.Raw)
		got := hex.EncodeToString(sum[:])
		if !listed(want.Fingerprints, got) {
			r.Fail(TLSUntrusted, TLS, "the certificate's SHA-256 is %s, which is none of the %d that are fine", got, len(want.Fingerprints))
		}
	}
	if least := time.Duration(want.ExpiresAfter); least > 0 {
		for _, c := range shortest(chain) {
			if left := time.Until(c.NotAfter); left < least {
				r.Fail(TLSExpired, TLS, "the certificate %q expires in %s, on %s; want %s left",
					title(c), span(max(left, 0)), c.NotAfter.UTC().Format("2006-01-02 15:04 MST"), span(least))
				break
			}
		}
	}
	if want.Revocation != "" {
		revoked(ctx, req, want.Revocation, chain, r)
	}
}

// listed allows for colons and capitals in a fingerprint.
func listed(prints []string, got string) bool {
	for _, p := range prints {
		if strings.EqualFold(strings.ReplaceAll(p, ":", ""), got) {
			return true
		}
	}
	return false
}

// shortest are the certificates that are needed: those of the valid chain that lasts
// longest, or all that were sent where none is valid.
func shortest(chain *Chain) [](certificate) {
	best := chain.Sent
	var last time.Time
	for _, v := range chain.Verified {
		if t := earliest(v); t.After(last) {
			best, last = v, t
		}
	}
	return best
}

// revoked asks about the leaf and what is above it, save the root.
func revoked(ctx context.Context, req *Request, how string, chain *Chain, r *Result) {
	ctx, cancel := context.WithTimeout(ctx, revocationWait)
	defer cancel()
	path := chain.Sent
	if len(chain.Verified) > 0 {
		path = chain.Verified[0]
	}
	chain.Revocation = make([]string, len(chain.Sent))
	for i := 0; i+1 < len(path) && i < maxAsked; i++ {
		var staple []byte
		if i == 0 {
			staple = chain.Staple
		}
		answer := askRevocation(ctx, req, how, path[i], path[i+1], staple)
		for at, c := range chain.Sent {
			if c.Equal(path[i]) {
				chain.Revocation[at] = answer.words
			}
		}
		switch {
		case answer.revoked:
			r.Add("probe_tls_certificate_revoked", 1, "position", strconv.Itoa(i))
			r.Fail(TLSRevoked, TLS, "the certificate %q was %s", title(path[i]), answer.words)
		case answer.known:
			r.Add("probe_tls_certificate_revoked", 0, "position", strconv.Itoa(i))
		}
	}
}
