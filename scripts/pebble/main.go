// Command pebble is an authority for tests: Let's Encrypt's own test server,
// with a DNS server that knows every name to be this machine's loopback, in one
// process on loopback.
//
//	pebble ROOT-FILE PORT
//
// It asks PORT for the answers to its challenges, writes the root of its own
// https to ROOT-FILE, then prints two lines: the URL of its directory, and that
// of the root that its certificates end in. It ends with its standard input.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: pebble ROOT-FILE PORT")
	}
	port, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = run(os.Args[1], port)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(rootFile string, port int) error {
	dns, err := serveDNS()
	if err != nil {
		return err
	}
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_AUTHZREUSE", "0")
	logger := log.New(os.Stderr, "pebble: ", 0)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default"}})
	validation := va.New(logger, port, 0, false, dns, store)
	front := wfe.New(logger, store, validation, authority, []string{"pebble.example"}, false, false, 1, 1)
	directory, err := serve(cert, front.Handler())
	if err != nil {
		return err
	}
	management, err := serve(cert, front.ManagementHandler())
	if err != nil {
		return err
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	if err := os.WriteFile(rootFile, root, 0o644); err != nil {
		return err
	}
	fmt.Println(directory + wfe.DirectoryPath)
	fmt.Println(management + wfe.RootCertPath + "0")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serveDNS answers for every name with 127.0.0.1.
func serveDNS() (addr string, err error) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = l.LocalAddr().String()
	if err := l.Close(); err != nil {
		return "", err
	}
	srv, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{addr}, Log: log.New(io.Discard, "", 0)})
	if err != nil {
		return "", err
	}
	srv.SetDefaultDNSIPv4("127.0.0.1")
	srv.SetDefaultDNSIPv6("")
	go srv.Run()
	return addr, nil
}

// serve answers with TLS on a port of loopback.
func serve(cert tls.Certificate, h http.Handler) (url string, err error) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		return "", err
	}
	go func() {
		server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
		log.Fatal(server.Serve(l))
	}()
	return "https://" + l.Addr().String(), nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
