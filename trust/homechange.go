package trust

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
)

// Enrol makes the island a member of a network, wholly or not at all. If it
// returns an error the island is in no network, unless the error is of the last
// sync: then Enrolled tells.
func (h *Home) Enrol(e Enrolment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.id != nil {
		return fmt.Errorf("enrol in network %s: this island is in network %s: leave that first (atoll leave)", e.Network.Short(), h.id.network.Short())
	}
	err := h.enrol(e)
	if err == nil {
		h.id = &identity{network: e.Network, node: e.Node, certificate: e.Certificate, signer: e.Signer, root: e.Root}
		return nil
	}
	// Only the directory counts, not how far we think we came.
	return fmt.Errorf("enrol in network %s: %w", e.Network.Short(), errors.Join(err, h.recover()))
}

func (h *Home) enrol(e Enrolment) error {
	files, err := e.files()
	if err != nil {
		return err
	}
	fresh := filepath.Join(h.dir, identityNew)
	if err := h.disk.remove(fresh); err != nil {
		return err
	}
	if err := h.disk.mkdir(fresh); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := h.disk.write(filepath.Join(fresh, name), files[name]); err != nil {
			return err
		}
	}
	// The names in fresh must be on disk before fresh gets its name.
	if err := h.disk.syncDir(fresh); err != nil {
		return err
	}
	return h.disk.rename(fresh, filepath.Join(h.dir, identityDir))
}

// Forget removes all keys: the island is in no network then.
func (h *Home) Forget() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.id == nil {
		return nil
	}
	gone := filepath.Join(h.dir, identityGone)
	err := h.disk.remove(gone)
	if err == nil {
		err = h.disk.rename(filepath.Join(h.dir, identityDir), gone)
	}
	if err != nil {
		return fmt.Errorf("forget keys: %w", errors.Join(err, h.recover()))
	}
	h.id = nil
	if err := errors.Join(h.disk.remove(gone), h.disk.syncDir(h.dir)); err != nil {
		return fmt.Errorf("forget keys: %w: the island has left, but remove %s by hand", err, gone)
	}
	return nil
}

// change runs do on a copy of the identity and keeps the copy if all went well.
func (h *Home) change(what string, do func(id *identity) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.id == nil {
		return fmt.Errorf("%s: %w", what, ErrNotEnrolled)
	}
	id := *h.id
	if err := do(&id); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	h.id = &id
	return nil
}

func (h *Home) writeKey(name string, k PrivateKey) error {
	b, err := encodeKey(k)
	if err != nil {
		return err
	}
	return h.disk.replace(h.path(name), b)
}

// SetCertificate keeps a newer certificate of the node key.
func (h *Home) SetCertificate(c *Certificate) error {
	return h.change("keep certificate", func(id *identity) error {
		b, err := h.certificateFor(id, c, id.node)
		if err != nil {
			return err
		}
		if err := h.disk.replace(h.path(certificateFile), b); err != nil {
			return err
		}
		id.certificate = c
		return nil
	})
}

func (h *Home) certificateFor(id *identity, c *Certificate, k PrivateKey) ([]byte, error) {
	b, err := encodeCertificate(c)
	if err != nil {
		return nil, err
	}
	if c.Network != id.network || c.Key != k.Public() {
		return nil, fmt.Errorf("certificate: is for %s in network %s, not for %s in %s", c.Key, c.Network.Short(), k.Public(), id.network.Short())
	}
	return b, nil
}

// SetSigner keeps a key to admit others with, in place of the one there was.
func (h *Home) SetSigner(k PrivateKey) error {
	return h.change("keep signer key", func(id *identity) error {
		id.signer = &k
		return h.writeKey(signerFile, k)
	})
}

// DropSigner removes the signer key.
func (h *Home) DropSigner() error {
	return h.change("drop signer key", func(id *identity) error {
		id.signer = nil
		return h.drop(signerFile)
	})
}

// SetRoot keeps a root key, in place of the one there was.
func (h *Home) SetRoot(k PrivateKey) error {
	return h.change("keep root key", func(id *identity) error {
		id.root = &k
		return h.writeKey(rootFile, k)
	})
}

// DropRoot removes the root key: it is kept elsewhere from now on.
func (h *Home) DropRoot() error {
	return h.change("drop root key", func(id *identity) error {
		id.root = nil
		return h.drop(rootFile)
	})
}

func (h *Home) drop(name string) error {
	if err := h.disk.remove(h.path(name)); err != nil {
		return err
	}
	return h.disk.syncDir(filepath.Join(h.dir, identityDir))
}

// StageNode keeps the node key that is to take over, until PromoteNode.
func (h *Home) StageNode(k PrivateKey) error {
	return h.change("stage node key", func(id *identity) error {
		id.next = &k
		return h.writeKey(nextFile, k)
	})
}

// DropNextNode forgets a staged node key.
func (h *Home) DropNextNode() error {
	return h.change("drop staged node key", func(id *identity) error {
		id.next = nil
		return h.drop(nextFile)
	})
}

// PromoteNode makes the staged key the node key, with its certificate. The
// certificate's file decides: once it is the staged key's, OpenHome finishes
// what may be missing.
func (h *Home) PromoteNode(c *Certificate) error {
	return h.change("promote node key", func(id *identity) error {
		if id.next == nil {
			return errors.New("no key is staged: StageNode comes first")
		}
		b, err := h.certificateFor(id, c, *id.next)
		if err != nil {
			return err
		}
		if err := h.disk.replace(h.path(certificateFile), b); err != nil {
			return err
		}
		if err := h.disk.rename(h.path(nextFile), h.path(nodeFile)); err != nil {
			return err
		}
		id.node, id.next, id.certificate = *id.next, nil, c
		return nil
	})
}
