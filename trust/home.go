package trust

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// Home is the directory in which an island keeps who it is. Safe for many at once.
//
//	identity/network         the network's ID
//	identity/node.pem        the node key
//	identity/certificate     the newest certificate of the node key
//	identity/signer.pem      on islands that admit others
//	identity/root.pem        where the root key was not taken away
//	identity/next.pem        a node key that is to take over
//
// identity appears and goes by one rename, so it is all there or not at all.
type Home struct {
	dir  string
	disk disk

	mu sync.RWMutex // guards self, and the files
	id *identity    // nil while not enrolled
}

type identity struct {
	network     NetworkID
	node        PrivateKey
	certificate *Certificate
	signer      *PrivateKey
	root        *PrivateKey
	next        *PrivateKey
}

const (
	identityDir     = "identity"
	identityNew     = "identity.new"
	identityGone    = "identity.gone"
	networkFile     = "network"
	nodeFile        = "node.pem"
	certificateFile = "certificate"
	signerFile      = "signer.pem"
	rootFile        = "root.pem"
	nextFile        = "next.pem"
)

// Enrolment is what an island is given by a network.
type Enrolment struct {
	Network NetworkID
	Node    PrivateKey
	// Signer and Root are on few islands.
	Signer *PrivateKey
	Root   *PrivateKey
	// Certificate is Node's, as OpenCertificate returned it.
	Certificate *Certificate
}

// ErrNotEnrolled is of a Home that belongs to no network.
var ErrNotEnrolled = errors.New("this island is in no network: atoll init makes one, atoll join enters one")

// OpenHome opens the directory, which is made if there is none, and finishes or
// undoes what was going on when the process last ended.
func OpenHome(dir string) (*Home, error) { return openHome(dir, disk{}) }

func openHome(dir string, d disk) (*Home, error) {
	h := &Home{dir: dir, disk: d}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open home of keys: %w", err)
	}
	if err := d.syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
		return nil, fmt.Errorf("open home of keys: %w", err)
	}
	if err := h.recover(); err != nil {
		return nil, fmt.Errorf("open home of keys: %w", err)
	}
	return h, nil
}

func (h *Home) path(name string) string { return filepath.Join(h.dir, identityDir, name) }

// recover reads what is there. An enrolment that was not finished is undone, a
// leave or a promotion that was decided is finished.
func (h *Home) recover() error {
	for _, name := range []string{identityNew, identityGone} {
		if err := h.disk.remove(filepath.Join(h.dir, name)); err != nil {
			return err
		}
	}
	id, err := h.load()
	if err != nil {
		return err
	}
	if id != nil && id.next != nil && id.certificate.Key == id.next.Public() {
		if err := h.disk.rename(h.path(nextFile), h.path(nodeFile)); err != nil {
			return err
		}
		id.node, id.next = *id.next, nil
	}
	if id != nil && id.certificate.Key != id.node.Public() {
		return fmt.Errorf("%s: is for %s, but the node key is %s: put the file back that belongs to it, or leave and join again",
			h.path(certificateFile), id.certificate.Key, id.node.Public())
	}
	h.id = id
	return nil
}

func (h *Home) load() (*identity, error) {
	if _, err := os.Stat(filepath.Join(h.dir, identityDir)); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	text, err := readBounded(h.path(networkFile), maxKeyFile)
	if err != nil {
		return nil, err
	}
	id := &identity{}
	if id.network, err = ParseNetwork(strings.TrimSpace(string(text))); err != nil {
		return nil, fmt.Errorf("%s: %w", h.path(networkFile), err)
	}
	if id.node, err = loadKey(h.path(nodeFile)); err != nil {
		return nil, err
	}
	if id.certificate, err = h.loadCertificate(id.network); err != nil {
		return nil, err
	}
	for name, to := range map[string]**PrivateKey{signerFile: &id.signer, rootFile: &id.root, nextFile: &id.next} {
		k, err := loadKey(h.path(name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		*to = &k
	}
	return id, nil
}

func (h *Home) loadCertificate(network NetworkID) (*Certificate, error) {
	path := h.path(certificateFile)
	b, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	var m trustpb.Certificate
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c, err := OpenCertificate(&m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Network != network {
		return nil, fmt.Errorf("%s: is of network %s, not %s", path, c.Network.Short(), network.Short())
	}
	return c, nil
}

// Dir is the directory.
func (h *Home) Dir() string { return h.dir }

func (h *Home) current() identity {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.id == nil {
		return identity{}
	}
	return *h.id
}

// Enrolled reports whether the island belongs to a network.
func (h *Home) Enrolled() bool { return !h.current().network.IsZero() }

// Network is the island's network; zero while there is none.
func (h *Home) Network() NetworkID { return h.current().network }

// Node is the node key; none while not enrolled.
func (h *Home) Node() PrivateKey { return h.current().node }

// Certificate is the island's newest one; nil while not enrolled.
func (h *Home) Certificate() *Certificate { return h.current().certificate }

// Signer is the key to admit others with, if this island has one.
func (h *Home) Signer() (PrivateKey, bool) { return keyOrNone(h.current().signer) }

// Root is the network's root key, if it is kept here.
func (h *Home) Root() (PrivateKey, bool) { return keyOrNone(h.current().root) }

// NextNode is the staged node key, if there is one.
func (h *Home) NextNode() (PrivateKey, bool) { return keyOrNone(h.current().next) }

func keyOrNone(k *PrivateKey) (PrivateKey, bool) {
	if k == nil {
		return PrivateKey{}, false
	}
	return *k, true
}

func encodeCertificate(c *Certificate) ([]byte, error) {
	if c == nil || c.message == nil {
		return nil, errors.New("certificate: must be one that OpenCertificate returned")
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(c.message)
}

// files are what identity is made of on disk.
func (e Enrolment) files() (map[string][]byte, error) {
	if e.Network.IsZero() || e.Node.IsZero() {
		return nil, errors.New("network and node key: must be given")
	}
	certificate, err := encodeCertificate(e.Certificate)
	if err != nil {
		return nil, err
	}
	if e.Certificate.Network != e.Network || e.Certificate.Key != e.Node.Public() {
		return nil, fmt.Errorf("certificate: is for %s in network %s, not for %s in %s",
			e.Certificate.Key, e.Certificate.Network.Short(), e.Node.Public(), e.Network.Short())
	}
	files := map[string][]byte{networkFile: []byte(e.Network.String() + "\n"), certificateFile: certificate}
	for name, k := range map[string]*PrivateKey{nodeFile: &e.Node, signerFile: e.Signer, rootFile: e.Root} {
		if k == nil {
			continue
		}
		b, err := encodeKey(*k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = bytes.Clone(b)
	}
	return files, nil
}
