package asset

// List returns the resources that match, by kind and name, from an offset on.
func (v *Inventory) List(q Query, offset, limit int) Page {
	segments := v.all()
	words := v.lookUp(segments, q)
	page := Page{Items: []Found{}}
	for k := range Kind(kinds) {
		for place, s := range segments {
			if q.kinds.has(k) && (words[place] != nil || q.Empty()) {
				v.listKind(s, k, words[place], offset, limit, &page)
			}
		}
	}
	if next := offset + len(page.Items); len(page.Items) > 0 && next < page.Total {
		page.NextOffset = next
	}
	return page
}

// listKind adds those of one segment: resources there are in order already.
func (v *Inventory) listKind(s *segment, kind Kind, words []looked, offset, limit int, page *Page) {
	for i, k := range s.kinds {
		if k != kind || !s.matches(i, words) {
			continue
		}
		if page.Total >= offset && len(page.Items) < limit {
			page.Items = append(page.Items, v.show(s, i, MaxShown))
		}
		page.Total++
	}
}

func (s *segment) matches(i int, words []looked) bool {
	for w := range words {
		if s.score(i, &words[w]) == 0 {
			return false
		}
	}
	return true
}

// Get returns one resource with all that is known of it.
func (v *Inventory) Get(id uint64) (Found, bool) {
	for _, s := range v.all() {
		for i, have := range s.ids {
			if have == id {
				f := v.show(s, i, maxLabels)
				f.Discovered = s.more(i)
				return f, true
			}
		}
	}
	return Found{}, false
}

// more are the labels that are not shown otherwise.
func (s *segment) more(i int) map[string]string {
	from, to := s.span(i)
	out := map[string]string{}
	for n := from + uint32(s.shown[i]); n < to; n++ {
		out[s.fieldName(s.field[n])] = s.dict.get(s.value[n])
	}
	return out
}
