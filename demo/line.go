package demo

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// parcel is bytes on their way.
type parcel struct {
	due  time.Time
	data []byte
}

const (
	// chunk is the most that one parcel of a stream holds, inTransit how many are on
	// their way at once: 4 MiB, 35 MB/s over the longest cable.
	chunk     = 16 << 10
	inTransit = 256
)

// carry copies from src to dst, each byte late by delay, until one of them ends; what
// came before src ended is delivered.
func carry(dst io.Writer, src io.Reader, delay time.Duration) {
	way := make(chan parcel, inTransit)
	lost := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(way)
		for {
			data := make([]byte, chunk)
			n, err := src.Read(data)
			if n > 0 {
				select {
				case way <- parcel{time.Now().Add(delay), data[:n]}:
				case <-lost:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := dst.Write(p.data); err != nil {
			break
		}
	}
	close(lost)
	if c, ok := src.(io.Closer); ok {
		_ = c.Close() // who still reads from it, stops
	}
	wg.Wait()
}

// splice carries both ways between two connections, over a cable, and closes both when
// one of them ends.
func splice(a, b net.Conn, trip time.Duration) {
	var wg sync.WaitGroup
	both := func() { _, _ = a.Close(), b.Close() }
	wg.Go(func() { defer both(); carry(a, b, trip/2) })
	wg.Go(func() { defer both(); carry(b, a, trip/2) })
	wg.Wait()
}

// dialFar connects to an address at the other end of a cable. The kernel takes a
// connection on loopback at once; the handshake's round trip is waited for here.
func dialFar(ctx context.Context, address string, trip time.Duration) (net.Conn, error) {
	if !pause(ctx, trip) {
		return nil, ctx.Err()
	}
	var d net.Dialer
	far, err := d.DialContext(ctx, "tcp", address)
	if err != nil || trip == 0 {
		return far, err
	}
	near, end := net.Pipe()
	go splice(end, far, trip) // ends with either of them
	return near, nil
}
