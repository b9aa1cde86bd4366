package main

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/arasul/arasul/pkg/mdns"
	"github.com/arasul/arasul/pkg/secrets"
)

// authority is the certificate that browsers are to trust.
const authority = "/var/lib/arasul/tls/ca.crt"

// whereabouts are what the announcement of a setup code says about this machine.
type whereabouts struct{}

func (whereabouts) Addresses(only []string) (texts []string) {
	addresses, _ := mdns.Addresses(only) // without a network there are none
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	return texts
}

// Fingerprint is written the way browsers do.
func (whereabouts) Fingerprint() string {
	text, err := os.ReadFile(authority)
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	return strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(block.Bytes)), " ", ":")
}

// keys are what arasul-secrets.service makes.
type keys struct{}

func (keys) Generate() ([]string, error) { return secrets.Generate(secrets.Dir) }
