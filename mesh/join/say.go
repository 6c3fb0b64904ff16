package join

import (
	"context"
	"errors"
	"fmt"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// errSilent: nobody at the addresses of a peer heard the word.
var errSilent = errors.New("nobody there heard it")

// maxSayTargets bounds the dials that one word sets off.
const maxSayTargets = 6

// Say brings a word to a peer under one's own key, past the swarm and its gates: all
// its direct addresses are dialled at once, and who answers first is believed.
func Say(ctx context.Context, self trust.PrivateKey, to trust.Key, addrs []ma.Multiaddr, w *meshpb.Word) (*meshpb.Word, error) {
	var targets []attempt
	for _, a := range addrs {
		if dialable(a) && len(targets) < maxSayTargets {
			targets = append(targets, attempt{peer: ident.Peer(to), addr: a})
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("bring a word to %s: no direct address of it is known", to.Short())
	}
	g, err := newGuest(self)
	if err != nil {
		return nil, err
	}
	defer g.close()
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	dialled := make(chan attempt, len(targets))
	for _, t := range targets {
		g.wg.Go(func() {
			t.conn, t.err = g.dial(ctx, t.addr, t.peer)
			dialled <- t
		})
	}
	errs := []error{errSilent}
	var answer *meshpb.Word
	for range targets {
		t := <-dialled
		if t.err != nil {
			errs = append(errs, t.err)
			continue
		}
		if answer == nil {
			if answer, err = say(ctx, t, w); err != nil {
				errs = append(errs, err)
			} else {
				cancel() // the other dials
			}
		}
		_ = t.conn.Close()
	}
	if answer == nil {
		return nil, fmt.Errorf("bring a word to %s: %w", to.Short(), errors.Join(errs...))
	}
	return answer, nil
}

func say(ctx context.Context, a attempt, w *meshpb.Word) (*meshpb.Word, error) {
	defer context.AfterFunc(ctx, func() { _ = a.conn.Close() })()
	s, err := a.conn.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	_ = s.SetDeadline(time.Now().Add(patienceForWord))
	rw := mss.NewMSSelect(s, WordProtocol)
	if err := frame.Write(rw, MaxWord, w); err != nil {
		return nil, err
	}
	var answer meshpb.Word
	if err := frame.Read(rw, MaxWord, &answer); err != nil {
		return nil, err
	}
	_ = s.Close()
	return &answer, nil
}
