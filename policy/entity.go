package policy

import (
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// entities are the two that a question is about: who asks, and what for.
type entities [2]cedar.Entity

// Get finds an entity by its UID. Where an island asks about itself, what is
// known of the asker holds.
func (e entities) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	for _, x := range e {
		if x.UID == uid {
			return x, true
		}
	}
	return cedar.Entity{}, false
}

func islandEntity(id, name, role string, labels map[string]string) cedar.Entity {
	e := memberEntity("Island", id, name, role, labels)
	if role != "" {
		e.Parents = cedar.NewEntityUIDSet(cedar.NewEntityUID("Role", cedar.String(role)))
	}
	return e
}

// memberEntity has the attributes that islands and users have, and no role yet.
func memberEntity(kind cedar.EntityType, id, name, role string, labels map[string]string) cedar.Entity {
	attrs := make(cedar.RecordMap, len(labels))
	for k, v := range labels {
		attrs[cedar.String(k)] = cedar.String(v)
	}
	return cedar.Entity{
		UID: cedar.NewEntityUID(kind, cedar.String(id)),
		Attributes: cedar.NewRecord(cedar.RecordMap{
			"id":     cedar.String(id),
			"name":   cedar.String(name),
			"role":   cedar.String(role),
			"labels": cedar.NewRecord(attrs),
		}),
	}
}

func entityOf(r Resource) (cedar.Entity, error) {
	switch r.Kind {
	case Document:
		kind, name, ok := strings.Cut(r.Name, "/")
		if !ok {
			return cedar.Entity{}, fmt.Errorf("document %q: must be named kind/name", r.Name)
		}
		return cedar.Entity{
			UID: cedar.NewEntityUID("Document", cedar.String(r.Name)),
			Attributes: cedar.NewRecord(cedar.RecordMap{
				"kind": cedar.String(kind),
				"name": cedar.String(name),
			}),
		}, nil
	case Island:
		labels := map[string]string{}
		for k, v := range r.Attributes {
			if label, ok := strings.CutPrefix(k, "labels."); ok {
				labels[label] = v
			}
		}
		return islandEntity(r.Name, r.Attributes["name"], r.Attributes["role"], labels), nil
	case Service:
		return cedar.Entity{
			UID:        cedar.NewEntityUID("Service", cedar.String(r.Name)),
			Attributes: cedar.NewRecord(cedar.RecordMap{"name": cedar.String(r.Name)}),
		}, nil
	}
	return cedar.Entity{}, fmt.Errorf("resource %q: unknown kind %q; one of document, island, service", r.Name, r.Kind)
}
