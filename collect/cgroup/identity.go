package cgroup

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// identity is what the path of a group says about who lives in it.
type identity struct {
	// id is the path below the root, led by a slash, valid UTF-8.
	id string
	// name is the container's id or the systemd unit's name; may be empty.
	name string
	// runtime is docker, containerd, crio, podman, lxc or systemd; may be empty.
	runtime string
	// podUID is set for containers of Kubernetes pods and for the pods' groups.
	podUID string
}

// scopes are the prefixes that runtimes give to their systemd scopes and, with
// the cgroupfs driver, some of them to plain directories.
var scopes = []struct{ prefix, runtime string }{
	{"cri-containerd-", "containerd"},
	{"nerdctl-", "containerd"},
	{"docker-", "docker"},
	{"crio-", "crio"},
	{"libpod-", "podman"},
}

// parents are directories below which a bare container id belongs to a runtime.
var parents = map[string]string{
	"docker":        "docker",
	"libpod_parent": "podman",
	"default":       "containerd",
	"k8s.io":        "containerd",
	"moby":          "docker",
}

// identify reads a path below the cgroup root. It has no errors: what is not
// recognised is a group without a name.
func identify(p string) identity {
	p = path.Clean("/" + p)
	id := identity{id: printable(p), podUID: podUID(p)}
	parent, base := path.Split(p)
	base = strings.TrimSuffix(base, ".scope")
	if name, ok := strings.CutPrefix(base, "lxc.payload."); ok && name != "" {
		id.name, id.runtime = printable(name), "lxc"
		return id
	}
	for _, s := range scopes {
		if rest, ok := strings.CutPrefix(base, s.prefix); ok && isContainerID(rest) {
			id.name, id.runtime = rest, s.runtime
			return id
		}
	}
	if isContainerID(base) {
		id.name, id.runtime = base, parents[path.Base(parent)]
		return id
	}
	if base != "" && strings.HasSuffix(parent, "/lxc/") {
		id.name, id.runtime = printable(base), "lxc"
		return id
	}
	if id.podUID == "" && isUnit(path.Base(p)) {
		id.name, id.runtime = printable(unescape(path.Base(p))), "systemd"
	}
	return id
}

// isContainerID accepts the 64 hexadecimal digits that the OCI runtimes use.
func isContainerID(s string) bool {
	if len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

func isUnit(s string) bool {
	switch path.Ext(s) {
	case ".slice", ".service", ".scope", ".mount", ".socket", ".swap":
		return len(s) > len(path.Ext(s))
	default:
		return false
	}
}

// podUID finds the kubelet's element: "pod<uid>" with the cgroupfs driver,
// "kubepods-burstable-pod<uid with underscores>.slice" with systemd's.
func podUID(p string) string {
	if !strings.Contains(p, "kubepods") {
		return ""
	}
	for elem := range strings.SplitSeq(p, "/") {
		elem = strings.TrimSuffix(elem, ".slice")
		if i := strings.LastIndex(elem, "-pod"); i >= 0 && strings.HasPrefix(elem, "kubepods") {
			elem = elem[i+1:]
		}
		uid, ok := strings.CutPrefix(elem, "pod")
		uid = strings.ReplaceAll(uid, "_", "-")
		if ok && isUID(uid) {
			return uid
		}
	}
	return ""
}

// isUID accepts a UUID, and the 32 bare digits of a static pod.
func isUID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef-") == ""
}

// unescape undoes systemd's \xNN in unit names; anything else stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4 {
			if n, err := fmt.Sscanf(s[i+2:i+4], "%02x", &c); err == nil && n == 1 {
				b.WriteByte(c)
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// printable makes a label value of any file name: bytes that are not UTF-8 are
// written \xNN, so that different names stay different.
func printable(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}
