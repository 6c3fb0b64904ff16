package access

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Documents are those of the network that the island belongs to.
type Documents interface {
	// Get returns nil where there is none.
	Get(key string) ([]byte, error)
	// List returns the values of all whose key begins with prefix, by key.
	List(prefix string) map[string][]byte
	// Put writes, and Delete removes, a document of every island. An *Error says no.
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
}

// Place is where a user or a token is kept.
type Place string

// The places: this island's own file, or a document that all islands of the
// network hold.
const (
	Here    Place = "island"
	Network Place = "network"
)

// shelf finds records in both places. What is this island's own goes first: a
// network that is joined takes nobody's account over.
type shelf struct {
	file    *file
	network func() Documents
}

// record is a *user or a *token.
type record interface {
	check() error
}

// find fills into from where it is kept; place is "" where there is none.
func (s *shelf) find(kind, key string, into record) (Place, error) {
	text, err := s.file.get(kind, key)
	if err != nil {
		return "", err
	}
	place := Here
	if len(text) == 0 {
		docs := s.network()
		if docs == nil {
			return "", nil
		}
		place = Network
		if text, err = docs.Get(kind + "/" + key); err != nil {
			return "", err
		}
		if len(text) == 0 {
			return "", nil
		}
	}
	if err := decode(text, into); err != nil {
		return "", fmt.Errorf("read %s/%s: %w", kind, key, err)
	}
	return place, nil
}

func (s *shelf) user(name string) (*user, Place, error) {
	if !userName.MatchString(name) {
		return nil, "", nil
	}
	u := &user{}
	place, err := s.find(KindUsers, name, u)
	if err != nil || place == "" || u.Name != name {
		return nil, "", err
	}
	return u, place, nil
}

func (s *shelf) token(id string) (*token, Place, error) {
	t := &token{}
	place, err := s.find(KindTokens, id, t)
	if err != nil || place == "" || t.ID != id {
		return nil, "", err
	}
	return t, place, nil
}

// keys are those of both places, sorted, each once.
func (s *shelf) keys(kind string) ([]string, error) {
	var keys []string
	err := s.file.each(kind, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if docs := s.network(); docs != nil {
		for key := range docs.List(kind + "/") {
			keys = append(keys, strings.TrimPrefix(key, kind+"/"))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// defaultPlace is where new records go unless somebody says otherwise.
func (s *shelf) defaultPlace() Place {
	if s.network() != nil {
		return Network
	}
	return Here
}

func (s *shelf) put(ctx context.Context, place Place, kind, key string, value record) error {
	if place == Here {
		return s.file.write(kind, map[string]any{key: value})
	}
	docs := s.network()
	if docs == nil {
		return errNoNetwork
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return docs.Put(ctx, kind+"/"+key, text)
}

func (s *shelf) remove(ctx context.Context, place Place, kind, key string) error {
	if place == Here {
		return s.file.write(kind, map[string]any{key: nil})
	}
	docs := s.network()
	if docs == nil {
		return errNoNetwork
	}
	return docs.Delete(ctx, kind+"/"+key)
}

var errNoNetwork = &Error{
	Status: 409, Code: "not-joined", Field: "place", Message: "this island belongs to no network",
	Remedy: "leave place out, or say \"island\"",
}
