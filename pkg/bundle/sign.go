package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
)

// What is signed begins with what it is, so that a signature for one thing is
// none for another.
const (
	manifestType = "application/vnd.arasul.update-manifest.v1+json"
	rootType     = "application/vnd.arasul.update-root.v1+json"
)

// Algorithms. Each fits one kind of key.
const (
	Ed25519   = "ed25519"
	ECDSAP256 = "ecdsa-p256-sha256"
	RSAPSS    = "rsa-pss-sha256" // salt of any length
	RSAPKCS1  = "rsa-pkcs1v15-sha256"
)

const (
	minRSA        = 3072 // bits
	maxRSA        = 8192
	maxSignature  = 2048 // bytes of one
	maxSigners    = 16
	maxPEM        = 64 << 10
	signatureHint = "It was not signed by a key that this machine trusts. Ask where you have it from, and do not install it."
)

// Signature is one, and who it claims to be of.
type Signature struct {
	KeyID     string `json:"keyid"`
	Algorithm string `json:"alg"`
	Value     Base64 `json:"sig"`
}

// Base64 is bytes that have one form in JSON only.
type Base64 []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *Base64) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	data, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return err
	}
	if base64.StdEncoding.EncodeToString(data) != s {
		return errors.New("base64 with something in between")
	}
	*b = data
	return nil
}

// MarshalJSON implements json.Marshaler.
func (b Base64) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// Key is a public key.
type Key struct {
	ID     string // SHA-256 of its SubjectPublicKeyInfo, in hexadecimal
	DER    []byte // that
	public crypto.PublicKey
}

// ParseKey reads a public key of one PEM block "PUBLIC KEY", as openssl writes it.
func ParseKey(text []byte) (Key, error) {
	if len(text) > maxPEM {
		return Key{}, errors.New("the file is too large for a key")
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return Key{}, errors.New("there is no PEM block PUBLIC KEY in it")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return Key{}, errors.New("something stands behind the key: each key has a file of its own")
	}
	return parseDER(block.Bytes)
}

func parseDER(der []byte) (Key, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("reading the key: %w", err)
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return Key{}, errors.New("of elliptic curves only P-256 is allowed")
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return Key{}, fmt.Errorf("an RSA key has %d to %d bits, this one has %d", minRSA, maxRSA, bits)
		}
	default:
		return Key{}, fmt.Errorf("keys of the kind %T are not allowed", public)
	}
	// Whatever form it came in, its ID is of one form: one key counts once.
	if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return Key{}, err
	}
	sum := sha256.Sum256(der)
	return Key{ID: hex.EncodeToString(sum[:]), DER: der, public: public}, nil
}

// ToBeSigned is what a signature of a manifest is over: the pre-authentication
// encoding of DSSE.
func ToBeSigned(manifest []byte) []byte { return pae(manifestType, manifest) }

// RootToBeSigned is what a signature of a trust root is over.
func RootToBeSigned(root []byte) []byte { return pae(rootType, root) }

func pae(kind string, body []byte) []byte {
	out := []byte("DSSEv1 " + strconv.Itoa(len(kind)) + " " + kind + " " + strconv.Itoa(len(body)) + " ")
	return append(out, body...)
}

// verify says whether s is a signature of this key over message.
func (k Key) verify(s Signature, message []byte) bool {
	sum := sha256.Sum256(message)
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return s.Algorithm == Ed25519 && ed25519.Verify(public, message, s.Value)
	case *ecdsa.PublicKey:
		return s.Algorithm == ECDSAP256 && ecdsa.VerifyASN1(public, sum[:], s.Value)
	case *rsa.PublicKey:
		switch s.Algorithm {
		case RSAPSS:
			return rsa.VerifyPSS(public, crypto.SHA256, sum[:], s.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
		case RSAPKCS1:
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], s.Value) == nil
		}
	}
	return false
}

// Sign signs a manifest with a private key, or a trust root: what ToBeSigned or
// RootToBeSigned gives.
func Sign(private crypto.Signer, message []byte) (Signature, error) {
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return Signature{}, err
	}
	key, err := parseDER(der)
	if err != nil {
		return Signature{}, err
	}
	s := Signature{KeyID: key.ID}
	sum := sha256.Sum256(message)
	switch private.Public().(type) {
	case ed25519.PublicKey:
		s.Algorithm = Ed25519
		s.Value, err = private.Sign(rand.Reader, message, crypto.Hash(0))
	case *ecdsa.PublicKey:
		s.Algorithm = ECDSAP256
		s.Value, err = private.Sign(rand.Reader, sum[:], crypto.SHA256)
	default:
		s.Algorithm = RSAPSS
		s.Value, err = private.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	return s, err
}

// ParsePrivateKey reads a private key in PEM: PKCS #8, as Keygen and openssl
// write it.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("there is no PEM block PRIVATE KEY in it (openssl pkcs8 -topk8 -nocrypt turns other forms into it)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("keys of the kind %T do not sign", key)
	}
	return signer, nil
}

// parseSignatures reads a list of signatures.
func parseSignatures(text []byte) ([]Signature, error) {
	var list []Signature
	if err := strict(text, &list); err != nil {
		return nil, malformed("the signatures: %s", err)
	}
	if len(list) > maxSigners {
		return nil, malformed("there are %d signatures, %d are allowed", len(list), maxSigners)
	}
	for _, s := range list {
		if len(s.Value) > maxSignature {
			return nil, malformed("a signature is longer than %d bytes", maxSignature)
		}
	}
	return list, nil
}

// vouched returns the keys of a role that have signed message, which have to be
// as many as the role asks for. Each key counts once, however often it signed.
func (r *Root) vouched(role Role, kind string, message, signatures []byte) ([]string, error) {
	list, err := parseSignatures(signatures)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, refuse(BadSignature, signatureHint, "the file is not signed")
	}
	message = pae(kind, message)
	var good []string
	revoked := 0
	for _, key := range role.keys {
		for _, s := range list {
			// The ID is a hint: a wrong one costs nothing but the look.
			if s.KeyID != key.ID || !key.verify(s, message) {
				continue
			}
			if r.revokedKey(key.ID) {
				revoked++
			} else {
				good = append(good, key.ID)
			}
			break
		}
	}
	switch {
	case role.Threshold < 1:
		return nil, refuse(BadSignature, "Put the public key of who makes your releases into /etc/arasul/update-keys.", "this machine trusts no key to sign releases")
	case len(good) >= role.Threshold:
		return good, nil
	case revoked > 0:
		return nil, refuse(Revoked, signatureHint, "the key that signed it was revoked")
	case len(good) > 0:
		return nil, refuse(BadSignature, signatureHint, "%d of the %d signatures that are needed are good", len(good), role.Threshold)
	}
	return nil, refuse(BadSignature, signatureHint, "no signature in the file is one of a key that this machine trusts")
}

// EncodeSignatures is the form of signatures in a file.
func EncodeSignatures(list []Signature) ([]byte, error) {
	if len(list) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal(list)
}

// PublicKey is a key as it is in memory.
func PublicKey(public crypto.PublicKey) (Key, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, err
	}
	return parseDER(der)
}

// Recognize finds out which of the key's algorithms value is a signature of
// message by.
func (k Key) Recognize(message, value []byte) (Signature, bool) {
	for _, algorithm := range []string{Ed25519, ECDSAP256, RSAPSS, RSAPKCS1} {
		s := Signature{KeyID: k.ID, Algorithm: algorithm, Value: value}
		if k.verify(s, message) {
			return s, true
		}
	}
	return Signature{}, false
}
