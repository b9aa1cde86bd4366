package container

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/arasul/arasul/pkg/config"
)

// Host is what the arguments depend on.
type Host struct {
	Podman   Version
	Image    string // the ID to run
	UID, GID int
	Groups   []int  // that own the devices of GPUs
	Secrets  string // folder with the application's secrets; empty: it has none
	GPU      GPU
	JetPack  int // 5 or 6 on a Jetson with that release; 0: something else
	Timezone string
	Config   *config.Config
}

// Version is podman's.
type Version struct{ Major, Minor int }

// AtLeast says whether v is that version or a later one.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// GPU says how a container gets at the GPUs.
type GPU string

// The ways.
const (
	NoGPU   GPU = ""
	CDI     GPU = "cdi"     // by the description that arasul-cdi.service makes; podman 4.1 and later
	Runtime GPU = "runtime" // by NVIDIA's container runtime
)

// CDIDevice is what our description of the GPUs calls all of them. It is not
// NVIDIA's own name, so that a description of somebody else's that podman cannot
// read does not stand in the way.
const CDIDevice = "arasul.local/gpu=all"

// NVIDIARuntime is NVIDIA's container runtime.
const NVIDIARuntime = "/usr/bin/nvidia-container-runtime"

// Where files of ours lie in containers of n8n.
const (
	nodesAt = "/opt/arasul/nodes"
	hooksAt = "/opt/arasul/hooks"
)

// Args are the arguments of podman that run the application.
func Args(a Application, h Host) []string {
	args := []string{
		"run", "--detach", "--name=arasul-" + a.Name, "--replace", "--rm",
		"--sdnotify=conmon", "--cgroups=split", // podman and what it starts stay in the unit's control group
		"--pull=never", "--label=de.arasul.application=" + a.Name,
		"--network=host",
		"--read-only", "--tmpfs=/tmp:rw,mode=1777",
		"--cap-drop=all", "--security-opt=no-new-privileges",
		"--pids-limit=-1", // the unit's TasksMax= counts
		fmt.Sprintf("--user=%d:%d", h.UID, h.GID),
		fmt.Sprintf("--stop-timeout=%d", int(a.Stop.Seconds())),
		"--log-driver=" + logDriver(h.Podman),
		"--volume=" + a.Data + ":" + a.DataAt + ":rw",
		"--env=HOME=" + a.DataAt,
	}
	if h.Timezone != "" {
		args = append(args, "--env=TZ="+h.Timezone)
	}
	if h.Secrets != "" {
		args = append(args, "--volume="+h.Secrets+":/run/secrets:ro")
	}
	if a.GPU {
		args = append(args, GPUArgs(h)...)
	}
	return append(args, own(a, h)...)
}

// logDriver: podman 3 cannot hand its standard output on.
func logDriver(v Version) string {
	if v.AtLeast(4, 0) {
		return "passthrough"
	}
	return "journald"
}

// GPUArgs are the arguments that give a container the GPUs; none without a way.
func GPUArgs(h Host) (args []string) {
	switch h.GPU {
	case CDI:
		args = []string{"--device=" + CDIDevice, "--security-opt=label=disable"}
	case Runtime:
		args = []string{"--runtime=" + NVIDIARuntime, "--env=NVIDIA_VISIBLE_DEVICES=all", "--env=NVIDIA_DRIVER_CAPABILITIES=compute,utility", "--security-opt=label=disable"}
	default:
		return nil
	}
	for _, g := range h.Groups {
		args = append(args, "--group-add="+strconv.Itoa(g))
	}
	// Ollama looks for the release of L4T in a file that its container lacks, and
	// would go on without a GPU, without a word.
	if h.JetPack > 0 {
		args = append(args, "--env=JETSON_JETPACK="+strconv.Itoa(h.JetPack))
	}
	return args
}

// own are the arguments that only this application has, the image and what
// follows it.
func own(a Application, h Host) []string {
	switch a.Name {
	case "llm":
		return append(ollama(h.Config.Proxy.LLM, h.Config.LLM), h.Image)
	case "embeddings":
		return append(ollama(h.Config.Proxy.Embeddings, h.Config.Embeddings), h.Image)
	case "minio":
		return append(environment(
			"MINIO_ROOT_USER_FILE=/run/secrets/minio-root-user",
			"MINIO_ROOT_PASSWORD_FILE=/run/secrets/minio-root-password",
			"MINIO_BROWSER_REDIRECT_URL=https://"+h.Config.MDNS.Name+".local/minio/",
			"MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off",
		), h.Image, "server", "--address="+h.Config.Proxy.MinIO, "--console-address="+h.Config.Proxy.MinIOConsole, a.DataAt)
	}
	return append(append(n8n(h), "--volume=/run/arasul/postgres:/run/arasul/postgres", "--volume=/run/arasul/n8n:/run/arasul/n8n",
		"--volume=/usr/share/arasul/n8n/nodes:"+nodesAt+":ro", "--volume=/usr/share/arasul/n8n/hooks:"+hooksAt+":ro"), h.Image)
}

func ollama(address string, e config.Engine) []string {
	return environment(
		"OLLAMA_HOST="+address,
		"OLLAMA_MODELS=/data/models",
		"OLLAMA_CONTEXT_LENGTH="+strconv.Itoa(e.Context), // its own choice takes all memory of a Jetson
		"OLLAMA_NUM_PARALLEL="+strconv.Itoa(e.Parallel),
		"OLLAMA_MAX_QUEUE="+strconv.Itoa(max(e.Queue, 1)),
		"OLLAMA_KEEP_ALIVE=30m",
		"OLLAMA_NOPRUNE=1",  // what has no manifest may be on its way in
		"OLLAMA_NO_CLOUD=1", // models stay here
		"GIN_MODE=release",
	)
}

func n8n(h Host) []string {
	name := h.Config.MDNS.Name + ".local"
	host, port, _ := strings.Cut(h.Config.Proxy.N8N, ":")
	return environment(
		"N8N_USER_FOLDER=/data", "N8N_LISTEN_ADDRESS="+host, "N8N_PORT="+port,
		"N8N_PATH=/n8n/", "N8N_EDITOR_BASE_URL=https://"+name+"/n8n/", "WEBHOOK_URL=https://"+name+"/n8n/",
		"N8N_PROXY_HOPS=1", "N8N_SECURE_COOKIE=true", "N8N_SAMESITE_COOKIE=lax",

		"DB_TYPE=postgresdb", "DB_POSTGRESDB_HOST=/run/arasul/postgres", "DB_POSTGRESDB_DATABASE=n8n",
		"DB_POSTGRESDB_USER=arasul-n8n", "DB_POSTGRESDB_POOL_SIZE=4",
		"N8N_ENCRYPTION_KEY_FILE=/run/secrets/n8n-encryption-key",
		"N8N_USER_MANAGEMENT_JWT_SECRET_FILE=/run/secrets/n8n-jwt-secret",

		"N8N_CUSTOM_EXTENSIONS="+nodesAt, "EXTERNAL_HOOK_FILES="+hooksAt+"/executions.js",
		"N8N_RUNNERS_BROKER_LISTEN_ADDRESS=127.0.0.1", "N8N_PYTHON_ENABLED=false",
		"N8N_BLOCK_ENV_ACCESS_IN_NODE=true", "N8N_RESTRICT_FILE_ACCESS_TO=/data/files",
		"N8N_DEFAULT_BINARY_DATA_MODE=filesystem", "N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS=true",

		// Nothing of this machine's is told to anybody.
		"N8N_DIAGNOSTICS_ENABLED=false", "N8N_VERSION_NOTIFICATIONS_ENABLED=false", "N8N_VERSION_NOTIFICATIONS_WHATS_NEW_ENABLED=false",
		"N8N_TEMPLATES_ENABLED=false", "N8N_HIRING_BANNER_ENABLED=false", "N8N_PERSONALIZATION_ENABLED=false",
		"N8N_DYNAMIC_BANNERS_ENABLED=false", "N8N_LICENSE_AUTO_RENEW_ENABLED=false", "N8N_COMMUNITY_PACKAGES_ENABLED=false",

		// A week of runs, as of figures; one that hangs ends after an hour.
		"EXECUTIONS_DATA_PRUNE=true", "EXECUTIONS_DATA_MAX_AGE=168", "EXECUTIONS_DATA_PRUNE_MAX_COUNT=10000",
		"EXECUTIONS_TIMEOUT=3600", "GENERIC_TIMEZONE="+orUTC(h.Timezone), "NODE_ENV=production",
	)
}

func orUTC(zone string) string {
	if zone == "" {
		return "UTC"
	}
	return zone
}

func environment(variables ...string) []string {
	args := make([]string, len(variables))
	for i, v := range variables {
		args[i] = "--env=" + v
	}
	return args
}
