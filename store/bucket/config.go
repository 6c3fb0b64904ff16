package bucket

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
)

// Kinds of object storage.
const (
	None       = ""
	S3         = "s3"
	Filesystem = "filesystem"
)

// Config says where blocks go. All of it can change while running.
type Config struct {
	// Type is s3, filesystem or empty for none.
	Type string `yaml:"type"`
	// Directory holds the blocks of type filesystem.
	Directory string `yaml:"directory"`
	// Endpoint is host or host:port of the S3 service.
	Endpoint string `yaml:"endpoint"`
	// Bucket must exist.
	Bucket string `yaml:"bucket"`
	// Prefix is put before each ULID, as in prefix/ULID/index.
	Prefix string `yaml:"prefix"`
	// Region may be empty where the service does not ask for one.
	Region string `yaml:"region"`
	// AccessKey is empty where the environment, ~/.aws/credentials or the machine's
	// role give the credentials.
	AccessKey string `yaml:"access_key"`
	// SecretKeyFile holds the secret key of AccessKey; it is read at each reload.
	SecretKeyFile string `yaml:"secret_key_file"`
	// PathStyle puts the bucket's name into the path instead of the host's name.
	PathStyle bool `yaml:"path_style"`
	// Insecure speaks HTTP without TLS.
	Insecure bool `yaml:"insecure"`
	// TLS is for HTTPS.
	TLS TLS `yaml:"tls"`
	// Timeout is how long one request may be silent.
	Timeout model.Duration `yaml:"timeout"`
	// Interval is how often new blocks are looked for, here and there.
	Interval model.Duration `yaml:"interval"`
	// UploadRate bounds bytes sent per second; 0 is no limit.
	UploadRate flow.Bytes `yaml:"upload_rate"`
	// Cache bounds what is held on disk to read blocks back.
	Cache flow.Bytes `yaml:"cache"`
	// AlsoRead are external labels of others, such as a Prometheus with a Thanos
	// sidecar: blocks with all the labels of one of these, and no more, are read as if
	// they were this island's own, without those labels.
	AlsoRead []map[string]string `yaml:"also_read"`
}

// TLS says how the service is recognized, and this island by it.
type TLS struct {
	CAFile             string `yaml:"ca_file"`
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	ServerName         string `yaml:"server_name"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// Default keeps blocks nowhere else.
func Default() Config {
	return Config{
		Timeout:  model.Duration(30 * time.Second),
		Interval: model.Duration(time.Minute),
		Cache:    1 << 30,
	}
}

// minCache holds the index of a block of some hundred thousand series.
const minCache = 16 << 20

// maxLabels bounds the external labels of blocks that are also read.
const maxLabels = 64

// Validate returns every fault joined into one error.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch c.Type {
	case None:
	case Filesystem:
		if c.Directory == "" {
			add("bucket.directory: must name a directory for type filesystem")
		}
	case S3:
		errs = append(errs, c.validateS3()...)
	default:
		add("bucket.type: %q must be s3, filesystem or empty", c.Type)
	}
	if c.Prefix != "" && (c.Prefix != strings.Trim(path.Clean(c.Prefix), "/") || strings.HasPrefix(c.Prefix, "..")) {
		add("bucket.prefix: %q must be a relative path without a slash at its ends, such as metrics/eu", c.Prefix)
	}
	if c.Timeout <= 0 {
		add("bucket.timeout: %s must be more than 0s, such as 30s", c.Timeout)
	}
	if c.Interval <= 0 {
		add("bucket.interval: %s must be more than 0s, such as 1m", c.Interval)
	}
	if c.UploadRate < 0 {
		add("bucket.upload_rate: %d must not be negative; 0 sets no limit", int64(c.UploadRate))
	}
	for i, labels := range c.AlsoRead {
		if len(labels) == 0 || len(labels) > maxLabels {
			add("bucket.also_read[%d]: has %d labels; give 1 to %d, all that the blocks to be read carry", i, len(labels), maxLabels)
		}
	}
	if c.Cache < minCache {
		add("bucket.cache: %s must be %s at least", c.Cache.Short(), flow.Bytes(minCache).Short())
	}
	return errors.Join(errs...)
}

func (c Config) validateS3() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if strings.ContainsAny(c.Endpoint, "/@? ") || c.Endpoint == "" {
		add("bucket.endpoint: %q must be host or host:port of the S3 service; https is spoken unless bucket.insecure is set", c.Endpoint)
	} else if _, port, err := net.SplitHostPort(c.Endpoint); err == nil && port == "" {
		add("bucket.endpoint: %q has no port behind the colon", c.Endpoint)
	}
	if c.Bucket == "" {
		add("bucket.bucket: must name a bucket that exists")
	}
	if (c.AccessKey == "") != (c.SecretKeyFile == "") {
		add("bucket.access_key: access_key and secret_key_file go together; leave both empty to use the environment, ~/.aws/credentials or the machine's role")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		add("bucket.tls.cert_file: cert_file and key_file go together")
	}
	return errs
}

// target names the place apart from how it is reached: what was uploaded to one
// has not been uploaded to another.
func (c Config) target() string {
	switch c.Type {
	case Filesystem:
		return "file:" + path.Join(c.Directory, c.Prefix)
	case S3:
		return "s3://" + c.Endpoint + "/" + path.Join(c.Bucket, c.Prefix)
	}
	return ""
}
