package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// requestsPerAddress is after how many requests a client of the load becomes
// another: one address may ask 3000 times a minute, and that limit stays on.
const requestsPerAddress = 2500

// crowd is clients that ask as fast as they are answered.
type crowd struct {
	address string // of the proxy
	clients int
	lasts   time.Duration
	cookie  func() string
	from    func() net.IP // the next address of loopback to come from
}

// run returns how long each answer took.
func (c crowd) run(ctx context.Context) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, c.lasts)
	defer cancel()
	var mu sync.Mutex
	var all []time.Duration
	var failure error
	var clients sync.WaitGroup
	for range c.clients {
		clients.Go(func() {
			took, err := c.client(ctx)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				failure = err
			}
		})
	}
	clients.Wait()
	return all, failure
}

// client asks over one connection at a time. It writes the request itself and
// reads with the standard library's parser: a whole http.Client would cost more
// than some of those that it measures.
func (c crowd) client(ctx context.Context) (took []time.Duration, err error) {
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		if n%requestsPerAddress == 0 {
			if conn != nil {
				_ = conn.Close()
			}
			plain, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: c.from()}, Timeout: 10 * time.Second}).Dial("tcp", c.address)
			if err != nil {
				return took, err
			}
			secure := tls.Client(plain, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
			if err := secure.HandshakeContext(ctx); err != nil {
				_ = plain.Close()
				return took, unlessOver(ctx, err)
			}
			conn, in = secure, bufio.NewReader(secure)
		}
		begin := time.Now()
		_ = conn.SetDeadline(begin.Add(30 * time.Second))
		if _, err := fmt.Fprintf(conn, "GET /n8n/rest/x HTTP/1.1\r\nHost: localhost\r\nCookie: __Host-arasul=%s\r\n\r\n", c.cookie()); err != nil {
			return took, err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return took, err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err == nil && (resp.StatusCode != http.StatusOK || n != answerBytes) {
			err = fmt.Errorf("%s answers %s with %d bytes", c.address, resp.Status, n)
		}
		if err != nil {
			return took, err
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
