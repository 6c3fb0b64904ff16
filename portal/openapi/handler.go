package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Handler serves the document. It is put together when it is first asked for:
// most islands never are.
func Handler() http.Handler {
	packed := sync.OnceValues(pack)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := packed()
		if err != nil {
			refuse(w, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-cache")
		h.Set("Vary", "Accept-Encoding")
		body := p.plain
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = p.gzip
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client went away
	})
}

type packedDocument struct{ plain, gzip []byte }

func pack() (packedDocument, error) {
	plain, err := Document()
	if err != nil {
		return packedDocument{}, err
	}
	var small bytes.Buffer
	zip := gzip.NewWriter(&small)
	if _, err := zip.Write(plain); err != nil {
		return packedDocument{}, fmt.Errorf("compress the document: %w", err)
	}
	if err := zip.Close(); err != nil {
		return packedDocument{}, fmt.Errorf("compress the document: %w", err)
	}
	return packedDocument{plain, small.Bytes()}, nil
}

func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	_ = json.NewEncoder(w).Encode(map[string]string{ // the client went away
		"code": "internal", "message": err.Error(), "remedy": "the fault is in this build; use a released one",
	})
}
