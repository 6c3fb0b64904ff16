package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

var update = flag.Bool("update", false, "write the golden vectors in wire/testdata anew")

// when is the time in all vectors.
var when = time.Date(2026, 11, 22, 8, 30, 0, 123_000_000, time.UTC)

func seed(name string) [32]byte { return sha256.Sum256([]byte("atoll vector " + name)) }

func key(t testing.TB, name string) trust.PrivateKey {
	t.Helper()
	s := seed(name)
	k, err := trust.FromSeed(s[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// bin is hexadecimal in JSON.
type bin []byte

func (b bin) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

type keyVector struct {
	Name   string `json:"name"`
	Seed   bin    `json:"seed"`
	Public bin    `json:"public"`
	Text   string `json:"text"`
}

type networkVector struct {
	Root  bin    `json:"root"`
	ID    bin    `json:"id"`
	Text  string `json:"text"`
	Short string `json:"short"`
	RPC   string `json:"rpc_protocol"`
	Topic string `json:"gossip_topic"`
}

type signatureVector struct {
	Context   string `json:"context"`
	Network   bin    `json:"network"`
	Message   bin    `json:"message"`
	Public    bin    `json:"public"`
	Signature bin    `json:"signature"`
}

// documentVector is of the network of the others.
type documentVector struct {
	Key       string `json:"key"`
	Value     string `json:"value"`
	Time      uint64 `json:"time,string"`
	Deleted   bool   `json:"deleted"`
	Author    bin    `json:"author"`
	Signature bin    `json:"signature"`
}

type certificateVector struct {
	Network     bin               `json:"network"`
	Body        bin               `json:"body"`
	Signer      bin               `json:"signer"`
	Signature   bin               `json:"signature"`
	Key         bin               `json:"key"`
	Name        string            `json:"name"`
	Role        string            `json:"role"`
	Labels      map[string]string `json:"labels"`
	Serial      uint64            `json:"serial,string"`
	NotBeforeMs int64             `json:"not_before_ms,string"`
	NotAfterMs  int64             `json:"not_after_ms,string"`
}

type tokenVector struct {
	Line      string         `json:"line"`
	Network   bin            `json:"network"`
	GuestSeed bin            `json:"guest_seed"`
	Role      string         `json:"role"`
	ExpiresMs int64          `json:"expires_ms,string"`
	Islands   []islandVector `json:"islands"`
}

type islandVector struct {
	Key       bin   `json:"key"`
	Addresses []bin `json:"addresses"`
}

type joinVector struct {
	Network    bin               `json:"network"`
	GuestSeed  bin               `json:"guest_seed"`
	NodeSeed   bin               `json:"node_seed"`
	SignerSeed bin               `json:"signer_seed"`
	Name       string            `json:"name"`
	Labels     map[string]string `json:"labels"`
	Version    uint32            `json:"version"`
	Proof      bin               `json:"proof"`
	Request    bin               `json:"request"`
}

type chainVector struct {
	Network  bin      `json:"network"`
	Document string   `json:"document"`
	Roots    []string `json:"roots"`
	Recovery string   `json:"recovery"`
}

type digestVector struct {
	// Count of the documents, from the first on, that Root is of: the digest of
	// documents of trust, of which there are none, then that of all others.
	Count int `json:"count"`
	Root  bin `json:"root"`
}

// TestVectors holds what is signed to the bytes that were published. The foreign
// peer checks the same files with code of its own.
func TestVectors(t *testing.T) {
	documents := documentVectors(t)
	for name, v := range map[string]any{
		"keys":         keyVectors(t),
		"networks":     networkVectors(t),
		"signatures":   signatureVectors(t),
		"chains":       chainVectors(t),
		"documents":    documents,
		"digests":      digestVectors(t, documents),
		"certificates": certificateVectors(t),
		"tokens":       tokenVectors(t),
		"joins":        joinVectors(t),
	} {
		golden(t, filepath.Join("../../wire/testdata", name+".json"), v)
	}
}

func golden(t *testing.T, path string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: other implementations go by these bytes; what is made now differs:\n%s", path, got)
	}
}

// TestForeignVectors has the foreign peer check the vectors.
func TestForeignVectors(t *testing.T) {
	needNode(t)
	peer := start(t, "vectors.mjs")
	for _, name := range []string{"keys", "networks", "signatures", "chains", "documents", "digests", "certificates", "tokens", "joins"} {
		var checked struct{ Good, Forged int }
		peer.next(name, &checked)
		if checked.Good == 0 || checked.Forged != 0 {
			t.Errorf("%s: %d vectors hold, %d forged ones do too", name, checked.Good, checked.Forged)
		}
	}
	peer.end()
}

func network(t *testing.T) trust.NetworkID { return trust.NetworkOf(key(t, "root").Public()) }

func keyVectors(t *testing.T) (out []keyVector) {
	for _, name := range []string{"root", "recovery", "signer", "node", "guest"} {
		k := key(t, name)
		out = append(out, keyVector{name, k.Seed(), k.Public().Bytes(), k.Public().String()})
	}
	return out
}

func networkVectors(t *testing.T) []networkVector {
	id := network(t)
	return []networkVector{{key(t, "root").Public().Bytes(), id.Bytes(), id.String(), id.Short(),
		"/atoll/" + id.Short() + "/rpc/1", "/atoll/" + id.Short() + "/changes/1"}}
}

func signatureVectors(t *testing.T) (out []signatureVector) {
	k := key(t, "node")
	for _, v := range []struct{ context, message string }{{"atoll document 1", "a message"}, {"atoll certificate 1", "a message"}, {"atoll rekey", ""}} {
		out = append(out, signatureVector{v.context, network(t).Bytes(), bin(v.message), k.Public().Bytes(), k.Sign(v.context, network(t), []byte(v.message))})
	}
	return out
}

func chainVectors(t *testing.T) (out []chainVector) {
	add := func(v trust.NetworkValue, err error) trust.NetworkValue {
		if err != nil {
			t.Fatal(err)
		}
		text, err := trust.EncodeNetwork(v)
		if err != nil {
			t.Fatal(err)
		}
		c := chainVector{Network: v.ID.Bytes(), Document: string(text)}
		for _, r := range v.Roots() {
			c.Roots = append(c.Roots, r.String())
		}
		if r := v.Recovery(); !r.IsZero() {
			c.Recovery = r.String()
		}
		out = append(out, c)
		return v
	}
	add(trust.NewNetwork("reef", key(t, "root"), trust.Key{}, when))
	v := add(trust.NewNetwork("reef", key(t, "root"), key(t, "recovery").Public(), when))
	v = add(trust.ExtendChain(v, []trust.Key{key(t, "root").Public(), key(t, "next root").Public()}, trust.Key{}, key(t, "root"), when.Add(time.Hour)))
	add(trust.ExtendChain(v, []trust.Key{key(t, "last root").Public()}, trust.Key{}, key(t, "recovery"), when.Add(2*time.Hour)))
	return out
}

// documentVectors are enough for a tree of digests that is divided twice.
func documentVectors(t *testing.T) (out []documentVector) {
	add := func(author, name, value string, counter uint64, deleted bool) {
		d := trust.NewDocument(network(t), key(t, author), name, []byte(value), trust.TimeOfDocument(when)+counter, deleted)
		out = append(out, documentVector{d.GetKey(), string(d.GetValue()), d.GetTime(), d.GetDeleted(), d.GetAuthor(), d.GetSignature()})
	}
	add("node", "rules/disk", "groups: []\n", 0, false)
	add("node", "dashboard/A.b_c~d-9", "title: Überblick\n", 1, false)
	add("node", "silence/old", "", 65535, true)
	for n := range 120 {
		add("node", fmt.Sprintf("owner/team-%d", n), fmt.Sprintf("mail: %d@example.org\n", n), uint64(n), false)
	}
	return out
}

// anybody permits all.
type anybody struct{}

func (anybody) Permit(*replicapb.Document) error { return nil }
func (anybody) Learn([]*replicapb.Document)      {}

func (v documentVector) message() *replicapb.Document {
	return &replicapb.Document{Key: v.Key, Value: []byte(v.Value), Time: v.Time, Deleted: v.Deleted, Author: v.Author, Signature: v.Signature}
}

func digestVectors(t *testing.T, documents []documentVector) (out []digestVector) {
	r, err := replica.New(replica.Options{
		Config: replica.Default(), Path: filepath.Join(t.TempDir(), "documents.db"), Network: network(t),
		Author: func() trust.PrivateKey { return key(t, "node") }, Rights: anybody{},
	})
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, digestVector{0, r.Root()})
	put := 0
	for _, count := range []int{1, 3, 8, 9, 60, len(documents)} {
		for ; put < count; put++ {
			if err := r.Put(t.Context(), documents[put].message()); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, digestVector{count, r.Root()})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func certificateVectors(t *testing.T) (out []certificateVector) {
	for _, labels := range []map[string]string{nil, {"region": "eu-west", "site": "Kraków"}} {
		c := trust.Certificate{Network: network(t), Key: key(t, "node").Public(), Name: "atoll-1", Role: trust.RoleIsland, Labels: labels,
			Serial: trust.TimeOfDocument(when), NotBefore: when, NotAfter: when.Add(72 * time.Hour)}
		m := trust.Issue(key(t, "signer"), c)
		if _, err := trust.OpenCertificate(m); err != nil {
			t.Fatal(err)
		}
		out = append(out, certificateVector{c.Network.Bytes(), m.GetBody(), m.GetSigner(), m.GetSignature(), c.Key.Bytes(),
			c.Name, c.Role, c.Labels, c.Serial, c.NotBefore.UnixMilli(), c.NotAfter.UnixMilli()})
	}
	return out
}

// loopback is /ip4/127.0.0.1/tcp/59443 and /ip4/127.0.0.1/udp/59443/quic-v1.
var loopback = [][]byte{
	{4, 127, 0, 0, 1, 6, 0xe8, 0x33},
	{4, 127, 0, 0, 1, 0x91, 0x02, 0xe8, 0x33, 0xcd, 0x03},
}

func token(t *testing.T, role string) trust.Token {
	return trust.Token{Network: network(t), GuestSeed: seed("guest"), Expires: when.Add(24 * time.Hour), Role: role,
		Bootstrap: []trust.Bootstrap{{Key: key(t, "node").Public(), Addresses: loopback}}}
}

func tokenVectors(t *testing.T) (out []tokenVector) {
	for _, role := range []string{trust.RoleIsland, trust.RoleAdmin} {
		k := token(t, role)
		if _, err := trust.ParseToken(k.Line()); err != nil {
			t.Fatal(err)
		}
		v := tokenVector{Line: k.Line(), Network: k.Network[:], GuestSeed: k.GuestSeed[:], Role: k.Role, ExpiresMs: k.Expires.UnixMilli()}
		for _, b := range k.Bootstrap {
			island := islandVector{Key: b.Key[:]}
			for _, a := range b.Addresses {
				island.Addresses = append(island.Addresses, a)
			}
			v.Islands = append(v.Islands, island)
		}
		out = append(out, v)
	}
	return out
}

func joinVectors(t *testing.T) (out []joinVector) {
	for _, v := range []joinVector{
		{Name: "", Labels: map[string]string{}},
		{Name: "atoll-2", Labels: map[string]string{"region": "eu-west", "site": "Kraków", "Z": "first in bytes"}, SignerSeed: key(t, "new signer").Seed()},
	} {
		k := token(t, trust.RoleIsland)
		home := newHome(t)
		keys := map[string]trust.PrivateKey{"node": key(t, "new node")}
		if v.SignerSeed != nil {
			k.Role, keys["signer"] = trust.RoleAdmin, key(t, "new signer")
		}
		// An applicant goes on with keys that an earlier attempt left.
		for what, private := range keys {
			if err := trust.SaveKey(filepath.Join(home.Dir(), "joining-"+k.Network.Short()+"-"+what+".pem"), private); err != nil {
				t.Fatal(err)
			}
		}
		applicant, err := enrol.NewApplicant(enrol.ApplicantOptions{Home: home, Token: k, Name: v.Name, Labels: v.Labels,
			Seed: func(context.Context, trust.NetworkID, []*replicapb.Document, []trust.Bootstrap) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		request := applicant.Request()
		if !bytes.Equal(request.GetNodeKey(), keys["node"].Public().Bytes()) {
			t.Fatal("the applicant did not take the keys that were left for it")
		}
		v.Network, v.GuestSeed, v.NodeSeed, v.Version = k.Network[:], k.GuestSeed[:], keys["node"].Seed(), request.GetVersion()
		v.Proof = request.GetProof()
		if v.Request, err = (proto.MarshalOptions{Deterministic: true}).Marshal(request); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}
