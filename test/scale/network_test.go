package scale

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// network is one roster and what signs it.
type network struct {
	t      testing.TB
	dir    string
	id     trust.NetworkID
	signer trust.PrivateKey
	keys   []trust.PrivateKey
	others []trust.Bootstrap // all
	docs   []*replicapb.Document
	clock  uint64
	judge  judge
}

// newNetwork founds a network and admits n islands of five regions.
func newNetwork(t testing.TB, n int) *network {
	w := &network{t: t, dir: onMemory(t)}
	home, err := trust.OpenHome(filepath.Join(w.dir, "founder"))
	must(t, err)
	founded := time.Now().Add(-time.Hour)
	f, err := enrol.Init(t.Context(), enrol.InitOptions{
		Home: home, Network: "archipelago", Island: "founder", Labels: map[string]string{"region": region(0)},
		Now: func() time.Time { return founded },
	})
	must(t, err)
	signer, ok := home.Signer()
	if !ok {
		t.Fatal("the founder has no signer key")
	}
	w.id, w.signer, w.docs = f.Network, signer, f.Documents
	w.clock = trust.TimeOfDocument(founded.Add(time.Minute))
	w.judge = judge{known: map[[sha256.Size]byte]*trust.State{}, eval: trust.NewEvaluator(w.id)}
	w.keys = append(w.keys, home.Node())
	for i := 1; i < n; i++ {
		k, err := trust.NewKey()
		must(t, err)
		w.keys = append(w.keys, k)
		value, err := trust.EncodeMember(trust.MemberValue{
			Name: name(i), Role: trust.RoleIsland, Labels: map[string]string{"region": region(i)},
			Keys: []trust.MemberKey{{Key: k.Public()}}, Joined: founded.Add(time.Duration(i) * time.Second).UTC().Truncate(time.Millisecond),
		})
		must(t, err)
		w.docs = append(w.docs, w.sign(trust.MemberDocument(k.Public()), value))
	}
	for i, k := range w.keys {
		w.others = append(w.others, trust.Bootstrap{Key: k.Public(), Addresses: address(i)})
	}
	w.template()
	return w
}

// onMemory is a directory that costs no disk: a thousand files are flushed at once.
func onMemory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "atoll-scale-")
	if err != nil {
		t.Logf("no /dev/shm (%v): files are on disk", err)
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func name(i int) string {
	if i == 0 {
		return "founder"
	}
	return fmt.Sprintf("isle%04d", i)
}

func region(i int) string { return fmt.Sprintf("region%d", i%5) }

func (w *network) sign(key string, value []byte) *replicapb.Document {
	w.clock++
	return trust.NewDocument(w.id, w.signer, key, value, w.clock, false)
}

func (w *network) certificate(i int) *trustpb.Certificate {
	role := trust.RoleIsland
	if i == 0 {
		role = trust.RoleAdmin
	}
	now := time.Now()
	return trust.Issue(w.signer, trust.Certificate{
		Network: w.id, Key: w.keys[i].Public(), Name: name(i), Role: role, Labels: map[string]string{"region": region(i)},
		Serial: uint64(now.UnixNano()), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(72 * time.Hour),
	})
}

// template writes the file that every island begins with: what it would have had
// from a former life. Each asks about every document again when it opens it;
// signatures are verified here once, and by islands for what comes from others.
func (w *network) template() {
	i := &isle{w: w, key: w.keys[0]}
	r, err := replica.New(replica.Options{
		Config: replica.Default(), Path: w.templatePath(), Network: w.id, Rights: i,
		Author: func() trust.PrivateKey { return i.key },
	})
	must(w.t, err)
	must(w.t, r.Put(w.t.Context(), w.docs...))
	must(w.t, r.Close())
}

func (w *network) templatePath() string { return filepath.Join(w.dir, "template.db") }

// copyTemplate puts the documents in place for one island.
func (w *network) copyTemplate(to string) error {
	in, err := os.Open(w.templatePath())
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// acquainted picks whose addresses an island knows at the start, at most n.
func (w *network) acquainted(i, n int) []trust.Bootstrap {
	var out []trust.Bootstrap
	for _, j := range rand.New(rand.NewPCG(1, uint64(i))).Perm(len(w.keys)) {
		if j != i && len(out) < n {
			out = append(out, w.others[j])
		}
	}
	return out
}

// judge shares what a set of documents of trust amounts to between the islands
// that hold the same set: it is a function of the set. Whether a document, a peer
// or a certificate is good by it, each island asks for itself.
type judge struct {
	mu    sync.Mutex
	eval  *trust.Evaluator
	known map[[sha256.Size]byte]*trust.State
	order [][sha256.Size]byte
}

// remembered sets: islands differ by few changes at a time.
const remembered = 8

func (j *judge) state(docs []*replicapb.Document) *trust.State {
	h := sha256.New()
	for _, d := range docs {
		h.Write([]byte(d.GetKey()))
		h.Write(d.GetSignature())
	}
	set := [sha256.Size]byte(h.Sum(nil))
	j.mu.Lock()
	defer j.mu.Unlock()
	if s := j.known[set]; s != nil {
		return s
	}
	s, _ := j.eval.Evaluate(docs)
	j.known[set], j.order = s, append(j.order, set)
	if len(j.order) > remembered {
		delete(j.known, j.order[0])
		j.order = j.order[1:]
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
