package objects

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatIsSealedIsReadAgainWithTheSameKeyOnly(t *testing.T) {
	text := bytes.Repeat([]byte("secret "), 10_000)
	sealed, err := seal("password", text)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unseal("password", sealed); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := unseal("Password", sealed); err == nil {
		t.Error("read with another key")
	}
	for _, i := range []int{0, saltBytes, saltBytes + 3, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		if _, err := unseal("password", bad); err == nil {
			t.Errorf("byte %d was changed, and nobody noticed", i)
		}
	}
	if _, err := unseal("password", sealed[:20]); err == nil {
		t.Error("a piece was read")
	}
}

// Proves BOOT-7: an account is for its own buckets.
func TestPoliciesNameBuckets(t *testing.T) {
	got := policyOf("Allow", "", []string{"s3:*"}, resources([]string{"b", "a"}))
	want := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"],
		"Resource": ["arn:aws:s3:::a", "arn:aws:s3:::a/*", "arn:aws:s3:::b", "arn:aws:s3:::b/*"]}]}`
	if !samePolicy(got, want) {
		t.Errorf("got %s", got)
	}
	if samePolicy(got, strings.Replace(want, "s3:*", "s3:GetObject", 1)) {
		t.Error("another policy is the same")
	}
}

// Proves N8N-3: a server that is no MinIO has no accounts, and that is no error.
func TestAServerWithoutAccountsIsTold(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	c, err := New(Options{Endpoint: s.URL, Region: "us-east-1", User: "u", Password: "password"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.account(t.Context(), "x"); err != errNoAccounts { //nolint:errorlint // itself
		t.Errorf("%v", err)
	}
}

func TestABadEndpointIsRefused(t *testing.T) {
	for _, bad := range []string{"", "minio", "://", "http://"} {
		if _, err := New(Options{Endpoint: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
