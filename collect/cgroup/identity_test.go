package cgroup

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const cid = "3f2a9c0d5b7e4a1f8c6d2e0b9a7f5c3d1e8b6a4f2c0d9e7b5a3f1c8d6e4b2a09"

func TestIdentify(t *testing.T) {
	const uid = "0f3c2d1e-aaaa-4bbb-8ccc-0123456789ab"
	underscored := strings.ReplaceAll(uid, "-", "_")
	for _, c := range []identity{
		{id: "/"},
		{id: "/docker/" + cid, name: cid, runtime: "docker"},
		{id: "/system.slice/docker-" + cid + ".scope", name: cid, runtime: "docker"},
		{id: "/machine.slice/libpod-" + cid + ".scope", name: cid, runtime: "podman"},
		{id: "/default/" + cid, name: cid, runtime: "containerd"},
		{id: "/lxc.payload.web", name: "web", runtime: "lxc"},
		{id: "/lxc/web", name: "web", runtime: "lxc"},
		{id: "/somewhere/" + cid, name: cid},
		{id: "/kubepods/burstable/pod" + uid + "/" + cid, name: cid, podUID: uid},
		{id: "/kubepods/pod" + uid, podUID: uid},
		{
			id:   "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underscored + ".slice/cri-containerd-" + cid + ".scope",
			name: cid, runtime: "containerd", podUID: uid,
		},
		{id: "/kubepods.slice/kubepods-pod" + underscored + ".slice/crio-" + cid + ".scope", name: cid, runtime: "crio", podUID: uid},
		{id: "/kubepods.slice/kubepods-pod" + underscored + ".slice", podUID: uid},
		{id: "/system.slice/nginx.service", name: "nginx.service", runtime: "systemd"},
		{id: "/user.slice/user-0.slice", name: "user-0.slice", runtime: "systemd"},
		{id: `/system.slice/dev-disk\x2dby.swap`, name: "dev-disk-by.swap", runtime: "systemd"},
		{id: "/docker/not-an-id"},
		{id: "/.slice"},
	} {
		if d := cmp.Diff(c, identify(c.id), cmp.AllowUnexported(identity{})); d != "" {
			t.Errorf("%s:\n%s", c.id, d)
		}
	}
	if a, b := identify("/a\xff"), identify("/a\xfe"); a.id == b.id || !utf8.ValidString(a.id) {
		t.Errorf("different names became %q and %q", a.id, b.id)
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add("/docker/" + cid)
	f.Add("/kubepods.slice/kubepods-burstable-pod0f3c2d1e_aaaa_4bbb_8ccc_0123456789ab.slice")
	f.Add(`/system.slice/dev-disk\x2dby.swap`)
	f.Add("../../\xff\\x")
	f.Fuzz(func(t *testing.T, p string) {
		id := identify(p)
		for _, v := range []string{id.id, id.name, id.runtime, id.podUID} {
			if !utf8.ValidString(v) {
				t.Errorf("identify(%q) gave %q, which is no label value", p, v)
			}
		}
		if !strings.HasPrefix(id.id, "/") {
			t.Errorf("identify(%q) gave id %q", p, id.id)
		}
	})
}
