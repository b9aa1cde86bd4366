// Package objects is our hand on a server of S3: the buckets that the appliance
// keeps, who may do what with them, and whether it does its work.
//
// Buckets and what the public may read are S3, which every server speaks. Accounts
// of their own for programs are not: a MinIO, or a fork of it, has calls for them
// that it feels for; on any other server all use the root key, and that is said.
//
// It moves no data but its own little test, sets no quota, and starts no server.
package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

// The buckets of the appliance.
const (
	Documents  = "documents"
	Workflows  = "workflow-data"
	LLMCache   = "llm-cache"
	EmbedCache = "embeddings-cache"
)

// Buckets are all of them.
var Buckets = []string{Documents, Workflows, LLMCache, EmbedCache}

const (
	callWithin = 20 * time.Second
	cacheDays  = 30
)

// Options says which server, and who we are there.
type Options struct {
	Endpoint string // http or https URL
	Region   string
	User     string // access key of the root
	Password string // its secret key
}

// Client speaks to one server. It is safe for use by several goroutines.
type Client struct {
	o    Options
	host string
	tls  bool
	s3   *minio.Client
	http http.Client
}

// New returns a client. It does not connect.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a server of S3", o.Endpoint)
	}
	c := &Client{o: o, host: u.Host, tls: u.Scheme == "https", http: http.Client{Timeout: callWithin}}
	c.s3, err = c.as(o.User, o.Password)
	return c, err
}

// as is a client of the same server that is somebody else.
func (c *Client) as(user, password string) (*minio.Client, error) {
	return minio.New(c.host, &minio.Options{
		Creds: credentials.NewStaticV4(user, password, ""), Secure: c.tls, Region: c.o.Region,
		BucketLookup: minio.BucketLookupPath, MaxRetries: 3,
	})
}

// Wait returns once the server answers, for as long as ctx allows.
func (c *Client) Wait(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_, err := c.list(ctx)
		if err == nil || denied(err) {
			return explain(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the object store: %w", explain(err))
		case <-tick.C:
		}
	}
}

// denied says whether the server answered, and does not know us.
func denied(err error) bool {
	code := minio.ToErrorResponse(err).Code
	return slices.Contains([]string{"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"}, code)
}

// explain adds what a person can do.
func explain(err error) error {
	switch code := minio.ToErrorResponse(err).Code; {
	case err == nil:
		return nil
	case code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch":
		return fmt.Errorf("the object store does not take our key (%s): it was started with another one. "+
			"The key is in /var/lib/arasul/secrets, minio-root-user and minio-root-password; systemctl restart arasul-minio takes it over", code)
	case code == "XMinioStorageFull":
		return fmt.Errorf("the object store has no room left: %w", err)
	}
	return err
}

// List returns the names of all buckets.
func (c *Client) List(ctx context.Context) ([]string, error) {
	names, err := c.list(ctx)
	return names, explain(err)
}

func (c *Client) list(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	all, err := c.s3.ListBuckets(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	return names, nil
}

// Account is a program that may use some buckets.
type Account struct {
	Key, Secret string
	Buckets     []string
}

// Provision is what the server is to have.
type Provision struct {
	Public   bool // anybody may read documents
	Accounts []Account
}

// Bring makes what is missing and says what it did, a line each; nothing when there
// was nothing to do. Notes are what this server cannot do.
func (c *Client) Bring(ctx context.Context, p Provision) (did, notes []string, err error) {
	if err := c.Wait(ctx); err != nil {
		return nil, nil, err
	}
	there, err := c.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range Buckets {
		if slices.Contains(there, name) {
			continue
		}
		if err := c.s3.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: c.o.Region}); err != nil {
			return did, notes, fmt.Errorf("making bucket %s: %w", name, explain(err))
		}
		did = append(did, "bucket "+name)
	}
	changed, err := c.publish(ctx, p.Public)
	if err != nil {
		return did, notes, err
	}
	did = append(did, changed...)
	for _, name := range []string{LLMCache, EmbedCache} {
		set, err := c.expire(ctx, name)
		if err != nil {
			notes = append(notes, "what is in "+name+" does not go away by itself: this server has no lifecycles")
		}
		did = append(did, set...)
	}
	more, err := c.accounts(ctx, p.Accounts)
	if errors.Is(err, errNoAccounts) {
		return did, append(notes, "programs use the root key: this server has no accounts for them that we know of"), nil
	}
	return append(did, more...), notes, err
}

// publish lets everybody read documents, or nobody.
func (c *Client) publish(ctx context.Context, public bool) (did []string, err error) {
	want := ""
	if public {
		want = policyOf("Allow", `{"AWS": ["*"]}`, []string{"s3:GetObject"}, []string{"arn:aws:s3:::" + Documents + "/*"})
	}
	is, err := c.s3.GetBucketPolicy(ctx, Documents)
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchBucketPolicy" {
		return nil, fmt.Errorf("reading who may read %s: %w", Documents, explain(err))
	}
	if (is == "") == (want == "") {
		return nil, nil
	}
	if err := c.s3.SetBucketPolicy(ctx, Documents, want); err != nil {
		return nil, fmt.Errorf("setting who may read %s: %w", Documents, explain(err))
	}
	if public {
		return []string{"everybody may read " + Documents}, nil
	}
	return []string{"nobody may read " + Documents + " without a key any more"}, nil
}

// policyOf is the text of a policy of one statement.
func policyOf(effect, principal string, actions, resources []string) string {
	statement := map[string]any{"Effect": effect, "Action": actions, "Resource": resources}
	if principal != "" {
		statement["Principal"] = json.RawMessage(principal)
	}
	text, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{statement}})
	return string(text)
}

// expire lets what is in a cache go after thirty days.
func (c *Client) expire(ctx context.Context, bucket string) (did []string, err error) {
	is, err := c.s3.GetBucketLifecycle(ctx, bucket)
	if err == nil && len(is.Rules) > 0 {
		return nil, nil
	}
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{{ID: "arasul", Status: "Enabled", Expiration: lifecycle.Expiration{Days: cacheDays}}}
	if err := c.s3.SetBucketLifecycle(ctx, bucket, rules); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("what is in %s goes after %d days", bucket, cacheDays)}, nil
}

// Check writes a small object, reads it back, compares and removes it.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	want := make([]byte, 64<<10)
	_, _ = rand.Read(want) // never fails
	name := ".arasul-check/" + rand.Text()
	if _, err := c.s3.PutObject(ctx, LLMCache, name, bytes.NewReader(want), int64(len(want)), minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("writing a test object: %w", explain(err))
	}
	defer func() { _ = c.s3.RemoveObject(context.WithoutCancel(ctx), LLMCache, name, minio.RemoveObjectOptions{}) }()
	object, err := c.s3.GetObject(ctx, LLMCache, name, minio.GetObjectOptions{})
	if err != nil {
		return fmt.Errorf("reading a test object: %w", explain(err))
	}
	defer object.Close()
	got, err := io.ReadAll(io.LimitReader(object, int64(len(want))+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading a test object: %w", explain(err))
	case !bytes.Equal(got, want):
		return errors.New("a test object came back with other bytes than were written: the disk or the object store is damaged")
	}
	return nil
}

// resources are those of buckets, and of what is in them.
func resources(buckets []string) []string {
	var all []string
	for _, b := range buckets {
		all = append(all, "arn:aws:s3:::"+b, "arn:aws:s3:::"+b+"/*")
	}
	slices.SortFunc(all, strings.Compare)
	return all
}
