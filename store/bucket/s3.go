package bucket

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	commonconfig "github.com/prometheus/common/config"
	"golang.org/x/time/rate"
)

// s3 keeps objects in an S3-compatible bucket.
type s3 struct {
	core      *minio.Core
	transport *http.Transport
	bucket    string
	prefix    string // "" or with a slash at its end
	silence   time.Duration
	rate      int64
	limiter   *rate.Limiter // nil for none
}

// attempts of one request, before the round is given up and tried again later.
const attempts = 3

func newS3(c Config) (*s3, error) {
	t, err := transport(c)
	if err != nil {
		return nil, err
	}
	creds, err := secrets(c, t)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(c.Endpoint, &minio.Options{
		Creds: creds, Secure: !c.Insecure, Transport: t, Region: c.Region, BucketLookup: lookup, MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket.endpoint: %q: %w", c.Endpoint, err)
	}
	s := &s3{transport: t, core: core, bucket: c.Bucket, silence: time.Duration(c.Timeout), rate: int64(c.UploadRate)}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	if s.rate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(s.rate), max(int(s.rate), 64<<10))
	}
	return s, nil
}

func transport(c Config) (*http.Transport, error) {
	t, err := minio.DefaultTransport(!c.Insecure)
	if err != nil {
		return nil, err
	}
	t.ResponseHeaderTimeout = time.Duration(c.Timeout)
	if c.Insecure {
		return t, nil
	}
	t.TLSClientConfig, err = commonconfig.NewTLSConfig(&commonconfig.TLSConfig{
		CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
		ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket.tls: %w", err)
	}
	return t, nil
}

func secrets(c Config, t *http.Transport) (*credentials.Credentials, error) {
	if c.AccessKey == "" {
		return credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Transport: t}},
		}), nil
	}
	secret, err := os.ReadFile(c.SecretKeyFile)
	if err != nil {
		return nil, fmt.Errorf("bucket.secret_key_file: %w", err)
	}
	return credentials.NewStaticV4(c.AccessKey, strings.TrimSpace(string(secret)), ""), nil
}

func (s *s3) key(key string) string { return s.prefix + key }

// explain adds what an operator can do to the errors that only he can end.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	switch r := minio.ToErrorResponse(err); r.Code {
	case minio.NoSuchKey, "NoSuchUpload":
		return fmt.Errorf("%s: %w", what, errAbsent)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%s: %w; set this machine's clock, it differs from the service's", what, err)
	case "SignatureDoesNotMatch", "InvalidAccessKeyId", minio.AccessDenied:
		return fmt.Errorf("%s: %w; check bucket.access_key, the secret key, and that it may list, read, write and delete below the prefix", what, err)
	case minio.NoSuchBucket:
		return fmt.Errorf("%s: %w; make the bucket first", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// singlePut is up to where a file goes as one request.
const singlePut = 64 << 20

func (s *s3) put(ctx context.Context, key string, f *file) error {
	from, closer, err := f.open()
	if err != nil {
		return err
	}
	defer closer.Close()
	if f.size > singlePut {
		err = s.putParts(ctx, key, f, from)
	} else {
		err = s.putWhole(ctx, key, f, from)
	}
	if err != nil {
		return err
	}
	same, err := s.same(ctx, key, f)
	if err == nil && !same {
		err = fmt.Errorf("put %s: %w", key, errChanged)
	}
	return err
}

func (s *s3) putWhole(ctx context.Context, key string, f *file, from io.ReaderAt) error {
	ctx, cancel := budgeted(ctx, s.silence*attempts, f.size*attempts, s.rate)
	defer cancel()
	err := try(ctx, func() error {
		_, err := s.core.PutObject(ctx, s.bucket, s.key(key), s.body(ctx, from, 0, f.size), f.size,
			base64.StdEncoding.EncodeToString(f.md5[:]), hex.EncodeToString(f.sha256[:]), minio.PutObjectOptions{})
		return err
	})
	return explain("put "+key, err)
}

// body reads a part of a file no faster than the limit. It cannot be read again:
// of a request that failed early the connection may still be reading it, so each
// attempt gets one of its own.
func (s *s3) body(ctx context.Context, from io.ReaderAt, offset, n int64) io.Reader {
	return &body{ctx: ctx, r: io.NewSectionReader(from, offset, n), limiter: s.limiter}
}

type body struct {
	ctx     context.Context
	r       io.Reader
	limiter *rate.Limiter // nil for none
}

// Read implements io.Reader.
func (p *body) Read(b []byte) (int, error) {
	if p.limiter == nil {
		return p.r.Read(b)
	}
	n, err := p.r.Read(b[:min(len(b), p.limiter.Burst())])
	if n > 0 {
		if err := p.limiter.WaitN(p.ctx, n); err != nil {
			return n, err
		}
	}
	return n, err
}

// try repeats a request that has a body.
func try(ctx context.Context, f func() error) (err error) {
	for range attempts {
		if err = f(); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (s *s3) get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if length == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if length > 0 {
		if err := o.SetRange(offset, offset+length-1); err != nil {
			return nil, err
		}
	}
	// The bytes of a whole object are not known yet; who reads it bounds the time.
	ctx, cancel := budgeted(ctx, s.silence*attempts, max(length, singlePut), 0)
	r, info, _, err := s.core.GetObject(ctx, s.bucket, s.key(key), o)
	if err != nil {
		cancel()
		return nil, explain("get "+key, err)
	}
	want := length
	if length < 0 {
		want = info.Size
	}
	return &exact{r: r, left: want, cancel: cancel}, nil
}

// exact ends with an error where the connection ended before the object did.
type exact struct {
	r      io.ReadCloser
	left   int64
	cancel context.CancelFunc
}

// Read implements io.Reader.
func (e *exact) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (e *exact) Close() error {
	defer e.cancel()
	return e.r.Close()
}

// same trusts the size and the MD5 that the service took itself, and where it
// gives none (encryption by a key service, for one), reads the object back.
func (s *s3) same(ctx context.Context, key string, f *file) (bool, error) {
	stat, cancel := budgeted(ctx, s.silence*attempts, 0, 0)
	defer cancel()
	info, err := s.core.StatObject(stat, s.bucket, s.key(key), minio.StatObjectOptions{})
	switch err = explain("stat "+key, err); {
	case errors.Is(err, errAbsent):
		return false, nil
	case err != nil:
		return false, err
	case info.Size != f.size:
		return false, nil
	}
	tag := strings.Trim(info.ETag, `"`)
	if tag == hex.EncodeToString(f.md5[:]) {
		return true, nil
	}
	if strings.Contains(tag, "-") && f.size > singlePut {
		if want, err := partsTag(f); err != nil || tag == want {
			return err == nil, err
		}
	}
	return sameContent(ctx, s, key, f)
}

func (s *s3) list(ctx context.Context, prefix string, deep bool) ([]object, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the listing where the loop does
	defer cancel()
	var out []object
	if deep {
		begun, err := s.uploads(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, u := range begun {
			out = append(out, object{strings.TrimPrefix(u.Key, s.prefix), -1})
		}
	}
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.key(prefix), Recursive: deep}) {
		if o.Err != nil {
			return nil, explain("list "+path.Join(s.bucket, s.key(prefix)), o.Err)
		}
		out = append(out, object{strings.TrimPrefix(o.Key, s.prefix), o.Size})
	}
	return out, nil
}

// remove also ends what uploads of the object were left unfinished.
func (s *s3) remove(ctx context.Context, key string) error {
	ctx, cancel := budgeted(ctx, s.silence*attempts, 0, 0)
	defer cancel()
	if err := s.abortUploads(ctx, key); err != nil {
		return err
	}
	err := explain("remove "+key, s.core.RemoveObject(ctx, s.bucket, s.key(key), minio.RemoveObjectOptions{}))
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}
