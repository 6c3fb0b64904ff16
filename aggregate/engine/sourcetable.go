package engine

const sourceChunkSize = 256

// sourceTable numbers sources from 1 on. Those that came together lie together, so
// that chunks go when they have gone; freed places are taken again lowest first.
type sourceTable struct {
	chunks []*sourceChunk
	roomy  int // no chunk before this one has a free place
}

type sourceChunk struct {
	all  [sourceChunkSize]source
	live int
	bump uint32 // places from here on were never used
	free uint32 // list of freed places through round, plus 1
}

func newSourceTable() sourceTable {
	return sourceTable{chunks: []*sourceChunk{{live: 1, bump: 1}}} // nobody is number 0
}

// at returns nil where the chunk is gone.
func (t *sourceTable) at(n uint32) *source {
	if c := n / sourceChunkSize; int(c) < len(t.chunks) && t.chunks[c] != nil {
		return &t.chunks[c].all[n%sourceChunkSize]
	}
	return nil
}

// end is above any number in use: the last chunk is always there.
func (t *sourceTable) end() uint32 {
	last := len(t.chunks) - 1
	return uint32(last)*sourceChunkSize + t.chunks[last].bump
}

func (t *sourceTable) add(src source) uint32 {
	for ; t.roomy < len(t.chunks); t.roomy++ {
		if c := t.chunks[t.roomy]; c == nil || c.live < sourceChunkSize {
			break
		}
	}
	if t.roomy == len(t.chunks) {
		t.chunks = append(t.chunks, nil)
	}
	c := t.chunks[t.roomy]
	if c == nil {
		c = &sourceChunk{}
		t.chunks[t.roomy] = c
	}
	i := c.bump
	if c.free != 0 {
		i = c.free - 1
		c.free = uint32(c.all[i].round)
	} else {
		c.bump++
	}
	c.live++
	c.all[i] = src
	return uint32(t.roomy)*sourceChunkSize + i
}

// drop frees a number that is in use.
func (t *sourceTable) drop(n uint32) {
	k, i := int(n/sourceChunkSize), n%sourceChunkSize
	c := t.chunks[k]
	c.all[i] = source{round: int32(c.free)}
	c.free = i + 1
	t.roomy = min(t.roomy, k)
	if c.live--; c.live > 0 {
		return
	}
	t.chunks[k] = nil
	for n := len(t.chunks); n > 0 && t.chunks[n-1] == nil; n-- {
		t.chunks = t.chunks[:n-1]
	}
	t.roomy = min(t.roomy, len(t.chunks))
}

func (t *sourceTable) bytes() (n int) {
	for _, c := range t.chunks {
		if c != nil {
			n += sourceChunkSize * 40
		}
	}
	return n
}
