package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/secure-io/sio-go"
	"golang.org/x/crypto/argon2"
)

// errNoAccounts says that the server is no MinIO.
var errNoAccounts = errors.New("the server has no accounts for programs that we know of")

const maxAdmin = 1 << 20

// accounts makes the accounts of programs, and those anew whose secret does not
// work or who may do something else than they should.
func (c *Client) accounts(ctx context.Context, all []Account) (did []string, err error) {
	for _, a := range all {
		policy := policyOf("Allow", "", []string{"s3:*"}, resources(a.Buckets))
		is, err := c.account(ctx, a.Key)
		if err != nil {
			return did, err
		}
		if is != nil && samePolicy(is.Policy, policy) && c.works(ctx, a) {
			continue
		}
		if is != nil {
			if _, err := c.admin(ctx, http.MethodDelete, "delete-service-account", url.Values{"accessKey": {a.Key}}, nil); err != nil {
				return did, fmt.Errorf("removing the old account %s: %w", a.Key, err)
			}
		}
		made := map[string]any{"accessKey": a.Key, "secretKey": a.Secret, "policy": json.RawMessage(policy), "name": a.Key, "description": "made by Arasul"}
		if _, err := c.admin(ctx, http.MethodPut, "add-service-account", nil, made); err != nil {
			return did, fmt.Errorf("making the account %s: %w", a.Key, err)
		}
		did = append(did, "account "+a.Key)
	}
	return did, nil
}

// described is what the server says about an account.
type described struct {
	Policy string `json:"policy"`
}

// account returns what the server knows of an account; nil: there is none.
func (c *Client) account(ctx context.Context, key string) (*described, error) {
	data, err := c.admin(ctx, http.MethodGet, "info-service-account", url.Values{"accessKey": {key}}, nil)
	var no *adminError
	switch {
	case errors.As(err, &no) && no.code == "XMinioInvalidIAMCredentials", errors.As(err, &no) && no.code == "XMinioAdminServiceAccountNotFound":
		return nil, nil
	case errors.As(err, &no) && no.code == "": // no error of MinIO's
		return nil, errNoAccounts
	case err != nil:
		return nil, fmt.Errorf("asking for the account %s: %w", key, err)
	}
	var d described
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("reading the account %s: %w", key, err)
	}
	return &d, nil
}

// samePolicy compares texts that are written in different ways.
func samePolicy(a, b string) bool {
	normal := func(text string) string {
		var p struct {
			Version   string
			Statement []struct {
				Effect           string
				Action, Resource []string
			}
		}
		if json.Unmarshal([]byte(text), &p) != nil {
			return text
		}
		for _, s := range p.Statement {
			slices.Sort(s.Action)
			slices.Sort(s.Resource)
		}
		out, _ := json.Marshal(p)
		return string(out)
	}
	return normal(a) == normal(b)
}

// works says whether an account gets in with its secret.
func (c *Client) works(ctx context.Context, a Account) bool {
	s3, err := c.as(a.Key, a.Secret)
	if err != nil || len(a.Buckets) == 0 {
		return false
	}
	_, err = s3.StatObject(ctx, a.Buckets[0], ".arasul", minio.StatObjectOptions{})
	code := minio.ToErrorResponse(err).Code
	return err == nil || code == "NoSuchKey" || code == "NoSuchBucket"
}

// adminError is what the server says is wrong.
type adminError struct {
	status int
	code   string
	text   string
}

func (e *adminError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("the server answers with status %d", e.status)
	}
	return e.code + ": " + e.text
}

// admin makes one of MinIO's own calls. A body is sealed with our secret key, as is
// what comes back.
func (c *Client) admin(ctx context.Context, method, verb string, query url.Values, in any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var body []byte
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		if body, err = seal(c.o.Password, text); err != nil {
			return nil, err
		}
	}
	scheme := "http"
	if c.tls {
		scheme = "https"
	}
	u := url.URL{Scheme: scheme, Host: c.host, Path: "/minio/admin/v3/" + verb, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	r = signer.SignV4(*r, c.o.User, c.o.Password, "", c.o.Region)
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAdmin))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		var said struct{ Code, Message string }
		_ = json.Unmarshal(data, &said)
		return nil, &adminError{answer.StatusCode, said.Code, said.Message}
	}
	if len(data) == 0 || data[0] == '{' {
		return data, nil
	}
	return unseal(c.o.Password, data)
}

// The envelope of MinIO's admin API: 32 bytes of salt, a byte that names the
// cipher, 8 bytes of nonce, and the sealed text.
const (
	saltBytes  = 32
	nonceBytes = 8
	argonAES   = 0x00
	argonCha   = 0x01
)

func keyOf(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, 1, 64*1024, 4, 32)
}

func seal(password string, text []byte) ([]byte, error) {
	head := make([]byte, saltBytes+1+nonceBytes)
	_, _ = rand.Read(head) // never fails
	head[saltBytes] = argonAES
	stream, err := sio.AES_256_GCM.Stream(keyOf(password, head[:saltBytes]))
	if err != nil {
		return nil, fmt.Errorf("sealing request: %w", err)
	}
	out := bytes.NewBuffer(head)
	w := stream.EncryptWriter(out, head[saltBytes+1:], nil)
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("sealing request: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("sealing request: %w", err)
	}
	return out.Bytes(), nil
}

func unseal(password string, data []byte) ([]byte, error) {
	if len(data) < saltBytes+1+nonceBytes {
		return nil, errors.New("the answer is too short")
	}
	algorithm := sio.AES_256_GCM
	switch data[saltBytes] {
	case argonAES:
	case argonCha:
		algorithm = sio.ChaCha20Poly1305
	default:
		return nil, fmt.Errorf("the answer is sealed in a way that is not known: %d", data[saltBytes])
	}
	stream, err := algorithm.Stream(keyOf(password, data[:saltBytes]))
	if err != nil {
		return nil, err
	}
	nonce := data[saltBytes+1 : saltBytes+1+nonceBytes]
	return io.ReadAll(io.LimitReader(stream.DecryptReader(bytes.NewReader(data[saltBytes+1+nonceBytes:]), nonce, nil), maxAdmin))
}
