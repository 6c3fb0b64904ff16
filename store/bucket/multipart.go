package bucket

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/minio/minio-go/v7"
)

// partSize makes a file of 512 MiB, the largest that a TSDB writes except for an
// index, sixteen parts: what a cut costs at most. S3 allows 10,000 of them.
const partSize = 32 << 20

type part struct {
	number       int
	offset, size int64
	md5          [md5.Size]byte
	sha256       [sha256.Size]byte
}

func partsOf(size int64) []part {
	var out []part
	for at := int64(0); at < size; at += partSize {
		out = append(out, part{number: len(out) + 1, offset: at, size: min(partSize, size-at)})
	}
	return out
}

func (p *part) digest(from io.ReaderAt) error {
	md, sha := md5.New(), sha256.New()
	if _, err := io.Copy(io.MultiWriter(md, sha), io.NewSectionReader(from, p.offset, p.size)); err != nil {
		return err
	}
	md.Sum(p.md5[:0])
	sha.Sum(p.sha256[:0])
	return nil
}

// putParts sends a file in parts, of which those that an earlier attempt sent are
// kept.
func (s *s3) putParts(ctx context.Context, key string, f *file, from io.ReaderAt) error {
	id, there, err := s.resume(ctx, key)
	if err != nil {
		return err
	}
	if id == "" {
		id, err = s.core.NewMultipartUpload(ctx, s.bucket, s.key(key), minio.PutObjectOptions{})
		if err != nil {
			return explain("begin "+key, err)
		}
	}
	var done []minio.CompletePart
	for _, p := range partsOf(f.size) {
		if err := p.digest(from); err != nil {
			return fmt.Errorf("read %s: %w", f.rel, err)
		}
		tag := hex.EncodeToString(p.md5[:])
		if old, ok := there[p.number]; !ok || old.size != p.size || old.tag != tag {
			sent, err := s.putPart(ctx, key, id, p, from)
			if err != nil {
				return err
			}
			tag = strings.Trim(sent.ETag, `"`)
		}
		done = append(done, minio.CompletePart{PartNumber: p.number, ETag: tag})
	}
	ctx, cancel := budgeted(ctx, s.silence*attempts, 0, 0)
	defer cancel()
	_, err = s.core.CompleteMultipartUpload(ctx, s.bucket, s.key(key), id, done, minio.PutObjectOptions{})
	return explain("complete "+key, err)
}

func (s *s3) putPart(ctx context.Context, key, id string, p part, from io.ReaderAt) (minio.ObjectPart, error) {
	ctx, cancel := budgeted(ctx, s.silence*attempts, p.size*attempts, s.rate)
	defer cancel()
	// The hash is known: the body need not be signed piece by piece.
	o := minio.PutObjectPartOptions{
		DisableContentSha256: true,
		Md5Base64:            base64.StdEncoding.EncodeToString(p.md5[:]), Sha256Hex: hex.EncodeToString(p.sha256[:]),
	}
	var sent minio.ObjectPart
	err := try(ctx, func() (err error) {
		sent, err = s.core.PutObjectPart(ctx, s.bucket, s.key(key), id, p.number, s.body(ctx, from, p.offset, p.size), p.size, o)
		return err
	})
	return sent, explain(fmt.Sprintf("put part %d of %s", p.number, key), err)
}

type sentPart struct {
	size int64
	tag  string
}

// resume finds an upload that was begun and its parts; "" if there is none.
func (s *s3) resume(ctx context.Context, key string) (id string, there map[int]sentPart, err error) {
	begun, err := s.uploads(ctx, key)
	if err != nil {
		return "", nil, err
	}
	for _, u := range begun {
		if u.Key == s.key(key) {
			id = u.UploadID // the newest is the last
		}
	}
	if id == "" {
		return "", nil, nil
	}
	there = map[int]sentPart{}
	for marker := 0; ; {
		res, err := s.core.ListObjectParts(ctx, s.bucket, s.key(key), id, marker, 1000)
		if err = explain("list the parts of "+key, err); errors.Is(err, errAbsent) {
			return "", nil, nil
		}
		if err != nil {
			return "", nil, err
		}
		for _, p := range res.ObjectParts {
			there[p.PartNumber] = sentPart{p.Size, strings.Trim(p.ETag, `"`)}
		}
		if !res.IsTruncated || res.NextPartNumberMarker <= marker {
			return id, there, nil
		}
		marker = res.NextPartNumberMarker
	}
}

// maxUploads is how many unfinished uploads of one block are looked at.
const maxUploads = 1000

// uploads are the unfinished uploads below a prefix.
func (s *s3) uploads(ctx context.Context, prefix string) ([]minio.ObjectMultipartInfo, error) {
	ctx, cancel := budgeted(ctx, s.silence*attempts, 0, 0)
	defer cancel()
	res, err := s.core.ListMultipartUploads(ctx, s.bucket, s.key(prefix), "", "", "", maxUploads)
	switch {
	case err == nil:
		return res.Uploads, nil
	case minio.ToErrorResponse(err).Code == minio.NotImplemented:
		return nil, nil // then nothing can be resumed
	}
	err = explain("list the unfinished uploads of "+prefix, err)
	if errors.Is(err, errAbsent) {
		return nil, nil // none ever was, to some services
	}
	return nil, err
}

func (s *s3) abortUploads(ctx context.Context, key string) error {
	begun, err := s.uploads(ctx, key)
	if err != nil {
		return err
	}
	for _, u := range begun {
		if u.Key != s.key(key) {
			continue
		}
		err := explain("abort the upload of "+key, s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID))
		if err != nil && !errors.Is(err, errAbsent) {
			return err
		}
	}
	return nil
}

// partsTag is the entity tag that S3 gives to an object made of these parts.
func partsTag(f *file) (string, error) {
	from, closer, err := f.open()
	if err != nil {
		return "", err
	}
	defer closer.Close()
	all, parts := md5.New(), partsOf(f.size)
	for _, p := range parts {
		if err := p.digest(from); err != nil {
			return "", fmt.Errorf("read %s: %w", f.rel, err)
		}
		all.Write(p.md5[:])
	}
	return fmt.Sprintf("%s-%d", hex.EncodeToString(all.Sum(nil)), len(parts)), nil
}
