package araupdate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/arasul/arasul/pkg/bundle"
)

type keygenCmd struct {
	File string `arg:"" help:"Where the private key goes." placeholder:"FILE"`
	Kind string `help:"ed25519, ecdsa (P-256) or rsa (4096 bits)." enum:"ed25519,ecdsa,rsa" default:"ed25519"`
}

func (k *keygenCmd) Run(c *commands, env *Env) error {
	private, err := generate(k.Kind)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	key, err := bundle.ParseKey(public)
	if err != nil {
		return err
	}
	if err := create(k.File, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	if err := create(k.File+".pub", public, 0o644); err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(map[string]string{"private": k.File, "public": k.File + ".pub", "key_id": key.ID})
	}
	fmt.Fprintf(env.Stdout, "%s is secret, %s.pub is for machines: /etc/arasul/update-keys/NAME.pem\nkey ID  %s\n", k.File, k.File, key.ID)
	return nil
}

func generate(kind string) (crypto.Signer, error) {
	switch kind {
	case "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return private, err
}

// create makes a file that is not there: a key is never written over.
func create(path string, text []byte, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// maxSmall bounds files that are read whole: keys, signatures, trust roots, notes.
const maxSmall = 1 << 20

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSmall {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSmall)
	}
	return os.ReadFile(path)
}

func readPublic(paths []string) (keys []bundle.Key, err error) {
	for _, path := range paths {
		text, err := readSmall(path)
		if err != nil {
			return nil, err
		}
		key, err := bundle.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func readPrivate(path string) (crypto.Signer, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	key, err := bundle.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
