package wire

// Version is the protocol that this binary speaks: the date of the last change
// that the other side can notice, as YYYYMMDD.
const Version uint32 = 20261123

// Oldest is the oldest protocol that this binary still speaks.
const Oldest uint32 = 20261122

// Remembered is the first protocol whose questions and answers say in headers what
// they have in common with others, so that connections remember it.
const Remembered uint32 = 20261123

// Change is one entry of the protocol's history.
type Change struct {
	Version uint32
	Text    string
}

// History lists every version, the newest first.
func History() []Change {
	return []Change{
		{Remembered, "questions and answers say in headers what they have in common with others"},
		{20261122, "join, hello, membership, witness, signed documents and their anti-entropy"},
	}
}

// Negotiate returns the version to speak with an island that speaks theirs and
// nothing older than oldest, or false where no common one exists.
func Negotiate(theirs, oldest uint32) (uint32, bool) {
	common := min(Version, theirs)
	return common, common >= Oldest && common >= oldest
}
