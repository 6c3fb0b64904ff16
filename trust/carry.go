package trust

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Bounds of a file that carries documents of trust by hand.
const (
	MaxCarried          = 64 << 20 // bytes of the file
	MaxCarriedDocuments = 100_000
)

// carriedHeader and carriedEnd frame the file: "atoll trust 1 NETWORK", a line of
// base64 for each document, "end COUNT". It is text, to be sent by any means.
const (
	carriedHeader = "atoll trust 1 "
	carriedEnd    = "end "
)

// WriteCarried writes signed documents of trust as a file to be carried by hand.
func WriteCarried(w io.Writer, network NetworkID, docs []*replicapb.Document) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s%s\n", carriedHeader, network)
	for _, d := range docs {
		raw, err := proto.Marshal(d)
		if err != nil {
			return fmt.Errorf("write document %s: %w", d.GetKey(), err)
		}
		fmt.Fprintln(b, base64.StdEncoding.EncodeToString(raw))
	}
	fmt.Fprintf(b, "%s%d\n", carriedEnd, len(docs))
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write documents of trust: %w", err)
	}
	return nil
}

// ReadCarried reads what WriteCarried wrote. Nothing in it is verified but that it
// was not cut short: that is for who takes the documents over.
func ReadCarried(r io.Reader) (NetworkID, []*replicapb.Document, error) {
	network, docs, err := readCarried(r)
	if err != nil {
		return NetworkID{}, nil, fmt.Errorf("read documents of trust: %w", err)
	}
	return network, docs, nil
}

func readCarried(r io.Reader) (network NetworkID, docs []*replicapb.Document, err error) {
	limited := &io.LimitedReader{R: r, N: MaxCarried + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, base64.StdEncoding.EncodedLen(MaxDocumentValue+4096))
	next := func() (string, error) {
		if lines.Scan() {
			return strings.TrimSuffix(lines.Text(), "\r"), nil
		}
		switch err := lines.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			return "", fmt.Errorf("line %d: longer than any document", len(docs)+2)
		case err != nil:
			return "", err
		case limited.N <= 0:
			return "", fmt.Errorf("more than %d bytes", MaxCarried)
		}
		return "", errors.New("it is cut short: carry it again")
	}
	line, err := next()
	if err != nil {
		return network, nil, err
	}
	id, ok := strings.CutPrefix(line, carriedHeader)
	if !ok {
		return network, nil, fmt.Errorf("it does not begin with %q: it is no file of `atoll trust export`, or of a newer one", strings.TrimSpace(carriedHeader))
	}
	if network, err = ParseNetwork(id); err != nil {
		return network, nil, err
	}
	for {
		if line, err = next(); err != nil {
			return network, nil, err
		}
		if count, ok := strings.CutPrefix(line, carriedEnd); ok {
			if count != strconv.Itoa(len(docs)) {
				return network, nil, fmt.Errorf("it should hold %.20q documents and holds %d: carry it again", count, len(docs))
			}
			return network, docs, nil
		}
		d, err := parseCarried(line)
		if err != nil {
			return network, nil, fmt.Errorf("line %d: %w", len(docs)+2, err)
		}
		if docs = append(docs, d); len(docs) > MaxCarriedDocuments {
			return network, nil, fmt.Errorf("more than %d documents", MaxCarriedDocuments)
		}
	}
}

func parseCarried(line string) (*replicapb.Document, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("is not as it was written: %w", err)
	}
	var d replicapb.Document
	if err := proto.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("is not as it was written: %w", err)
	}
	return &d, nil
}
