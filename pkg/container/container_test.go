package container

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

var id = "sha256:" + strings.Repeat("ab", 32)

func called(t *testing.T, name string) Application {
	t.Helper()
	a, ok := Called(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return a
}

// Proves PKG-5 and PKG-6 for the applications: whatever the machine, a container
// has no capability, cannot write to its root, listens on loopback and is run by ID.
func TestEveryContainerIsClosed(t *testing.T) {
	for _, a := range Applications {
		for _, v := range []Version{{3, 4}, {4, 3}, {5, 7}} {
			args := Args(a, Host{Podman: v, Image: id, UID: 900, GID: 901, Secrets: "/run/x", Config: config.Defaults()})
			for _, want := range []string{"--cap-drop=all", "--security-opt=no-new-privileges", "--read-only", "--pull=never", "--user=900:901", "--cgroups=split", "--sdnotify=conmon", id} {
				if !slices.Contains(args, want) {
					t.Errorf("%s on podman %v lacks %s: %q", a.Name, v, want, args)
				}
			}
			if text := strings.Join(args, " "); strings.Contains(text, "0.0.0.0") || !strings.Contains(text, "127.0.0.1") || strings.Contains(text, "--privileged") {
				t.Errorf("%s listens elsewhere: %s", a.Name, text)
			}
		}
	}
}

// How the GPU gets into a container, by podman and machine.
func TestGPUAccess(t *testing.T) {
	llm := called(t, "llm")
	for _, tt := range []struct {
		host      Host
		want, not string
	}{
		{Host{Podman: Version{4, 3}, GPU: CDI, Groups: []int{44}}, "--device=arasul.local/gpu=all --security-opt=label=disable --group-add=44", "JETSON"},
		{Host{Podman: Version{4, 9}, GPU: CDI, JetPack: 6}, "--env=JETSON_JETPACK=6", "--runtime"},
		{Host{Podman: Version{3, 4}, GPU: Runtime, JetPack: 6}, "--runtime=/usr/bin/nvidia-container-runtime --env=NVIDIA_VISIBLE_DEVICES=all", "--device"},
		{Host{Podman: Version{5, 4}}, "--log-driver=passthrough", "--device"},
		{Host{Podman: Version{3, 4}}, "--log-driver=journald", "passthrough"},
	} {
		tt.host.Config, tt.host.Image = config.Defaults(), id
		if got := strings.Join(Args(llm, tt.host), " "); !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) {
			t.Errorf("%+v: %s", tt.host, got)
		}
	}
	if got := strings.Join(Args(called(t, "minio"), Host{GPU: CDI, Config: config.Defaults(), Image: id}), " "); strings.Contains(got, "gpu") {
		t.Errorf("the object store gets a GPU: %s", got)
	}
}

// Proves PKG-5: limits follow the machine.
func TestLimitsFollowTheMachine(t *testing.T) {
	for _, tt := range []struct {
		cores      int
		memory     uint64
		unit, want string
	}{
		{12, 64 << 30, "arasul-llm.service", "CPUQuota=600%\nMemoryMax=34359738368\n"},
		{12, 64 << 30, "arasul-embeddings.service", "CPUQuota=360%\nMemoryMax=8589934592\n"},
		{4, 8 << 30, "arasul-llm.service", "CPUQuota=200%\nMemoryMax=4294967296\n"},
		{4, 8 << 30, "arasul-n8n.service", "MemoryMax=2147483648\n"},
		{1, 1 << 30, "arasul-minio.service", "MemoryMax=536870912\n"},
	} {
		if got := DropIns(tt.cores, tt.memory)[tt.unit]; !strings.Contains(got, tt.want) {
			t.Errorf("%d cores, %d bytes: %s is limited to %q, want %q", tt.cores, tt.memory, tt.unit, got, tt.want)
		}
	}
}

func TestChoosingAnImageLeavesTheOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images.env")
	other := "sha256:" + strings.Repeat("cd", 32)
	for _, c := range [][2]string{{"LLM", id}, {"N8N", other}, {"LLM", other}} {
		if err := Choose(path, c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Chosen(path)
	if err != nil || len(got) != 2 || got["LLM"] != other || got["N8N"] != other {
		t.Errorf("%v, %v", got, err)
	}
	if err := Choose(path, "LLM", "latest"); err == nil {
		t.Error("a name was taken for an ID")
	}
	if err := os.WriteFile(path, []byte("LLM=latest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Chosen(path); err == nil || !strings.Contains(err.Error(), "images.env:1") {
		t.Errorf("%v", err)
	}
}

// shelf is a podman made for tests: images by ID, and archives that hold one.
type shelf struct {
	images map[string]bool
	holds  map[string]string // by content of the archive
	err    error
}

func (s *shelf) Version(context.Context) (string, error) { return "4.3.1", s.err }

func (s *shelf) Size(_ context.Context, id string) (int64, bool, error) { return 7, s.images[id], nil }

func (s *shelf) Tag(context.Context, string, string) error { return nil }

func (s *shelf) Load(_ context.Context, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	loaded := s.holds[string(data)]
	if loaded == "" {
		return "", errors.New("it is no image")
	}
	s.images[loaded] = true
	return loaded, nil
}

func (s *shelf) Pull(context.Context, string, io.Writer) (string, error) {
	return "", errors.New("no network")
}

// An image that was removed comes back from the archive that is kept; one without
// says what to do.
func TestALostImageIsRestored(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "x.oci")
	if err := os.WriteFile(archive, []byte("minio"), 0o600); err != nil {
		t.Fatal(err)
	}
	podman := &shelf{images: map[string]bool{}, holds: map[string]string{"minio": id}}
	s := &Store{Podman: podman, Source: podman, Images: config.Defaults().Images, Env: dir + "/images.env", Kept: dir + "/kept", State: dir + "/state.json"}
	ready := func() api.Image {
		t.Helper()
		i, err := s.Ready(t.Context(), "minio")
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if i := ready(); !strings.Contains(i.Fix, "arasul images load FILE --as minio") {
		t.Errorf("got %+v", i)
	}
	if i, err := s.Load(t.Context(), "minio", archive, true); err != nil || i.Reason != "" || !i.Kept {
		t.Fatalf("%+v, %v", i, err)
	}
	delete(podman.images, id)
	if i := ready(); i.Reason != "" || !i.Present {
		t.Errorf("not restored: %+v", i)
	}
	delete(podman.images, id)
	if err := os.RemoveAll(dir + "/kept"); err != nil {
		t.Fatal(err)
	}
	if i := ready(); i.Reason == "" || i.Fix == "" {
		t.Errorf("got %+v", i)
	}
	podman.err = errors.New("none")
	if i := ready(); i.Reason != "podman is not installed" {
		t.Errorf("got %+v", i)
	}
	if _, err := s.Load(t.Context(), "mini", archive, true); !errors.Is(err, errUnknown) {
		t.Errorf("%v", err)
	}
}
